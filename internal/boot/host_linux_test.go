package boot_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/boot"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// The client's second address of each family is trusted.
const guard = `
trust = ["10.9.0.3", "2001:db8:9::3"]

[door.ssh]
opens  = ["tcp/2222"]
knocks = ["udp/27719", "udp/8816", "udp/15302"]
`

var knocks = regexp.MustCompile(`\b(27719|8816|15302)\b`)

func compile(t *testing.T, text string) *automaton.Program {
	t.Helper()
	p, found := policy.Parse("policy.toml", []byte(text))
	if p == nil {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func newNft(r tool.Runner) backend.Backend      { return nftables.New(r) }
func newIptables(r tool.Runner) backend.Backend { return iptables.New(r) }

// input is for a policy that the named backend holds. Nothing is tried.
func input(t *testing.T, root, text, name string) boot.Input {
	t.Helper()
	first, other := newNft, newIptables
	if name == policy.BackendIptables {
		first, other = other, first
	}
	g := compile(t, text)
	rules, err := first(nil).Render(g)
	if err != nil {
		t.Fatal(err)
	}
	return boot.Input{Root: root, Program: g, Rules: rules, Others: []func(tool.Runner) backend.Backend{other}}
}

// host is a server with saved rules, a client, and a service on two ports.
type host struct {
	*lab.Pair
	t       *testing.T
	root    string
	current string   // the directory of the saved set
	shell   []string // that runs the script
	path    string   // "" for the script's own
	log     string   // what the script said
}

func newHost(t *testing.T, in func(root string) boot.Input) *host {
	t.Helper()
	h := &host{Pair: labtest.Pair(t, lab.PairOptions{ClientAddrs: 2}), t: t, root: t.TempDir(), shell: []string{"sh"}}
	if in != nil {
		if err := boot.Save(t.Context(), in(h.root)); err != nil {
			t.Fatal(err)
		}
	}
	h.current = filepath.Join(h.root, "var/lib/tirl/boot/current")
	for _, p := range []uint16{2222, 8080} {
		h.serve(lab.Server4(), p)
		h.serve(lab.Server6(), p)
	}
	return h
}

// serve echoes.
func (h *host) serve(addr netip.Addr, port uint16) {
	h.t.Helper()
	err := h.Server.Do(func() error {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if err != nil {
			return err
		}
		h.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					b := make([]byte, 1)
					for {
						if _, err := c.Read(b); err != nil {
							return
						}
						if _, err := c.Write(b); err != nil {
							return
						}
					}
				}()
			}
		}()
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) load(want int, args ...string) {
	h.t.Helper()
	script, err := filepath.Abs("../../dist/load")
	if err != nil {
		h.t.Fatal(err)
	}
	env := []string{"env", "-u", "JOURNAL_STREAM"}
	if h.path != "" {
		env = append(env, "TIRL_LOAD_PATH="+h.path)
	}
	args = append(append(append(env, h.shell...), script, "--root", h.root), args...)
	h.log, err = h.Server.Run(h.t.Context(), "", "sh", append([]string{"-c", `"$@" 2>&1`, "sh"}, args...)...)
	code := 0
	if err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			h.t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		h.t.Fatalf("exit status %d, want %d:\n%s", code, want, h.log)
	}
	if knocks.MatchString(h.log) {
		h.t.Errorf("the log tells a knock:\n%s", h.log)
	}
}

func (h *host) said(want string) {
	h.t.Helper()
	if !strings.Contains(h.log, want) {
		h.t.Errorf("the log does not say %q:\n%s", want, h.log)
	}
}

func (h *host) run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Server.Run(h.t.Context(), "", name, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// dial connects the client's address i, counted from 0, to a port.
func (h *host) dial(i int, v6 bool, port uint16) (net.Conn, error) {
	from, to := lab.Client4(i), lab.Server4()
	if v6 {
		from, to = lab.Client6(i), lab.Server6()
	}
	var c net.Conn
	err := h.Client.Do(func() error {
		d := net.Dialer{Timeout: 250 * time.Millisecond, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		var err error
		c, err = d.Dial("tcp", netip.AddrPortFrom(to, port).String())
		return err
	})
	return c, err
}

// reaches says whether the client gets through, with both families alike.
func (h *host) reaches(i int, port uint16, want bool) {
	h.t.Helper()
	var both sync.WaitGroup
	for _, v6 := range []bool{false, true} {
		both.Go(func() {
			c, err := h.dial(i, v6, port)
			if err == nil {
				c.Close()
			}
			if got := err == nil; got != want {
				h.t.Errorf("client %d, IPv6 %v, port %d: open is %v, want %v", i, v6, port, got, want)
			}
		})
	}
	both.Wait()
}

func (h *host) knock() {
	h.t.Helper()
	for from, to := range map[netip.Addr]netip.Addr{lab.Client4(0): lab.Server4(), lab.Client6(0): lab.Server6()} {
		for _, port := range []uint16{27719, 8816, 15302} {
			err := h.Client.Do(func() error {
				c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("x"))
				return err
			})
			if err != nil {
				h.t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// guarded says that the policy is in force: closed, then knocked at and open.
func (h *host) guarded() {
	h.t.Helper()
	h.reaches(0, 2222, false)
	h.knock()
	h.reaches(0, 2222, true)
}

// shut says that the last resort is in force: no knock opens.
func (h *host) shut() {
	h.t.Helper()
	h.knock()
	h.reaches(0, 2222, false)
	h.reaches(1, 2222, true)
}

// session is open before the rules are loaded.
func (h *host) session(v6 bool) net.Conn {
	h.t.Helper()
	c, err := h.dial(0, v6, 2222)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

func (h *host) lives(c net.Conn) {
	h.t.Helper()
	b := []byte("x")
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		h.t.Fatal(err)
	}
	_, err := c.Write(b)
	if err == nil {
		_, err = c.Read(b)
	}
	if err != nil {
		h.t.Errorf("an open session does not go on: %v", err)
	}
}

// spoil changes a saved file. With sums it is as if it had been saved so.
func (h *host) spoil(name, text string, sums bool) {
	h.t.Helper()
	path := filepath.Join(h.current, name)
	if _, err := os.Stat(path); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if sums {
		out, err := exec.Command("sh", "-c", `cd "$0" && rm SHA256SUMS && sha256sum * > /tmp/sums.$$ && mv /tmp/sums.$$ SHA256SUMS`, h.current).CombinedOutput()
		if err != nil {
			h.t.Fatalf("%v: %s", err, out)
		}
	}
}

// without gives a PATH that lacks some programs. Links may give others a name.
func (h *host) without(links map[string]string, names ...string) {
	h.t.Helper()
	dir := h.t.TempDir()
	for _, from := range []string{"/usr/sbin", "/usr/bin"} {
		entries, err := os.ReadDir(from)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, e := range entries {
			skip := false
			for _, n := range names {
				skip = skip || e.Name() == n
			}
			to := filepath.Join(from, e.Name())
			if other, ok := links[e.Name()]; ok {
				to = other
			}
			if !skip {
				if err := os.Symlink(to, filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrExist) {
					h.t.Fatal(err)
				}
			}
		}
	}
	h.path = dir
}

func (h *host) rules() string {
	return h.run("sh", "-c", "nft -s list table inet tirl; iptables-save; ip6tables-save")
}

func (h *host) jumps() string {
	return strings.TrimSpace(h.run("sh", "-c", "{ iptables-save; ip6tables-save; } | grep -c -- '-j TIRL$' || true"))
}

func (h *host) read(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.current, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// cut leaves the part of a ruleset that comes before its elements.
func (h *host) cut(name string) {
	h.t.Helper()
	text, _, ok := strings.Cut(h.read(name), "add element")
	if !ok {
		h.t.Fatal("no elements")
	}
	h.spoil(name, text, false)
}

// limitFileSize makes writes of this process fail as on a full disk, until the
// test ends: setrlimit(2), RLIMIT_FSIZE. Go ignores SIGXFSZ only if told so.
func limitFileSize(t *testing.T, size uint64) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	})
}
