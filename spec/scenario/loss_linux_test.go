package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// measureEnv is the environment variable that asks for the figures in
// docs/client.md: how many sessions of each kind there are to be.
const measureEnv = "TIRL_MEASURE"

// sessionTimeout bounds one session: ssh itself takes long where every fifth
// packet is lost.
const sessionTimeout = 3 * time.Minute

// path is what lies between client and server.
type path struct {
	name   string        // ssh_config gives a percent sign in a directory's name a meaning
	loss   int           // percent of the packets of each direction
	jitter time.Duration // each packet is on its way for up to this long
}

// paths are those of docs/client.md.
func paths() []path {
	return []path{
		{"clean", 0, 0},
		{"loss 5", 5, 0},
		{"loss 20", 20, 0},
		{"jitter 50", 0, 50 * time.Millisecond},
		{"jitter 250", 0, 250 * time.Millisecond},
		{"loss 5 jitter 50", 5, 50 * time.Millisecond},
	}
}

// method is a way to come in by ssh.
type method struct {
	name string
	in   func(w *world) error
}

// sequential knocks by a shell line, and then runs plain ssh.
func sequential(line string) func(w *world) error {
	return func(w *world) error {
		if _, err := w.patient("sh", "-c", strings.NewReplacer("TIRL", w.tirl, "HOSTS", filepath.Join(w.dir, "hosts.toml"),
			"SERVER", lab.Server4().String()).Replace(line)); err != nil {
			return err
		}
		out, err := w.patient("ssh", "-F", "/dev/null", "-i", w.key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", "root@"+lab.Server4().String(), "echo in")
		return in(out, err)
	}
}

func in(out string, err error) error {
	if err == nil && out != "in\n" {
		return fmt.Errorf("ssh printed %q", out)
	}
	return err
}

var byConnect = method{"ssh by tirl connect", func(w *world) error {
	return in(w.patient("ssh", "-F", filepath.Join(w.dir, "ssh_config"), "web", "echo in"))
}}

// methods are those of docs/client.md: each knocks once but the first.
func methods() []method {
	return []method{
		byConnect,
		{"tirl knock, ssh", sequential("TIRL knock -q -4 --hosts HOSTS web ssh")},
		{"knock, ssh", sequential("knock -u SERVER 12345 23456 34567")},
		{"nc, ssh", sequential("for p in 12345 23456 34567; do echo | nc.openbsd -u -w 1 SERVER $p; done")},
	}
}

func (w *world) patient(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sessionTimeout)
	defer cancel()
	return w.Client.Run(ctx, "", name, args...)
}

// roughWorld is a server with the reference policy at the end of a path.
func roughWorld(t *testing.T, binary string, p path) *world {
	t.Helper()
	opts := lab.PairOptions{}
	if p.jitter > 0 {
		opts.Path = func([]byte) lab.Fate { return lab.Fate{Delay: rand.N(p.jitter)} }
	}
	w := newWorldOf(t, binary, opts)
	w.apply("nftables")
	w.client("")
	if p.loss > 0 {
		// Where packets come in, before all else: what is lost as it goes out is an error
		// to its sender.
		rules := fmt.Sprintf("table inet path {\nchain c {\ntype filter hook prerouting priority -450\n"+
			"meta l4proto { tcp, udp } numgen random mod 100 < %d drop\n}\n}\n", p.loss)
		w.must(w.Server, rules, "nft", "-f", "-")
		w.must(w.Client, rules, "nft", "-f", "-")
	}
	return w
}

// outcome is what came of a number of sessions.
type outcome struct {
	ok, all  int
	times    []time.Duration // of those that came in
	failures []string
}

func (o outcome) String() string {
	if len(o.times) == 0 {
		return fmt.Sprintf("%d of %d", o.ok, o.all)
	}
	slices.Sort(o.times)
	at := func(q float64) time.Duration {
		return o.times[int(q*float64(len(o.times)-1))].Round(100 * time.Millisecond)
	}
	return fmt.Sprintf("%d of %d, median %v, 9 of 10 within %v", o.ok, o.all, at(0.5), at(0.9))
}

// sessions begins a number of them, one after another in each of some worlds.
func sessions(t *testing.T, binary string, p path, m method, count, worlds int) outcome {
	t.Helper()
	worlds = min(worlds, count)
	var mu sync.Mutex
	var all sync.WaitGroup
	o := outcome{all: count}
	for i := range worlds {
		w := roughWorld(t, binary, p)
		all.Go(func() {
			for range (count + i) / worlds {
				start := time.Now()
				err := m.in(w)
				mu.Lock()
				if err == nil {
					o.ok++
					o.times = append(o.times, time.Since(start))
				} else {
					o.failures = append(o.failures, err.Error())
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return o
}

// TestConnectOnARoughPath: tirl connect comes in where one of twenty packets is
// lost, and where they arrive in another order.
func TestConnectOnARoughPath(t *testing.T) {
	t.Parallel()
	labtest.Require(t)
	binary := build(t)
	for _, tt := range []struct {
		path  path
		count int
	}{
		{path{"loss 5", 5, 0}, 8},
		{path{"loss 5 jitter 50", 5, 50 * time.Millisecond}, 4},
	} {
		o := sessions(t, binary, tt.path, byConnect, tt.count, 4)
		t.Logf("%s: %v", tt.path.name, o)
		if o.ok < o.all {
			t.Errorf("%s: %v\n%s", tt.path.name, o, strings.Join(o.failures, "\n"))
		}
	}
}

// TestMeasure fills the table of docs/client.md. It asserts only what is promised.
func TestMeasure(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv(measureEnv))
	if err != nil {
		t.Skipf("%s=100 measures how many of 100 sessions come in; see docs/client.md", measureEnv)
	}
	labtest.Require(t)
	binary := build(t)
	for _, p := range paths() {
		for _, m := range methods() {
			t.Run(p.name+"/"+m.name, func(t *testing.T) {
				o := sessions(t, binary, p, m, count, 12)
				fmt.Printf("%-22s %-20s %v\n", p.name, m.name, o)
				if m.name == byConnect.name && p.loss <= 5 && o.ok*100 < o.all*99 {
					t.Errorf("%v\n%s", o, strings.Join(o.failures, "\n"))
				}
			})
		}
	}
}
