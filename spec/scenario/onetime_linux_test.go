package scenario

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tirl/internal/counter"
	"tirl/internal/knock"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// oneTimePolicy has a door to which users are added. What arrives fast is heard, so that
// recordings can be played at once.
const oneTimePolicy = `[knocking]
per_source = "10000/second"

[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/911", "udp/47", "udp/2001", "udp/666"]
open_for = "1s"
`

// grantEnds is when what a knock has opened is closed again.
const grantEnds = 1200 * time.Millisecond

// oneTimeWorld is a server with a user, whose entry the client has. What is behind the door is
// up to the test.
func oneTimeWorld(t *testing.T, binary, kind, text string, opts lab.PairOptions) *world {
	t.Helper()
	w := &world{Pair: labtest.Pair(t, opts), t: t, tirl: binary, dir: t.TempDir()}
	w.write("policy.toml", text)
	w.tirlOnServer("user", "add", "alice", "--one-time", kind, "-c", filepath.Join(w.dir, "policy.toml"))
	w.write("hosts.toml", w.tirlOnServer("export", "--name", "web", "alice", "-c", filepath.Join(w.dir, "policy.toml")))
	return w
}

// hidden is a service behind the door.
func (w *world) hidden() { w.listen(22, func(net.Conn) {}) }

func (w *world) tirlOnServer(args ...string) string {
	w.t.Helper()
	return w.must(w.Server, "", w.tirl, append([]string{"--root", w.dir}, args...)...)
}

// load proves the policy and loads it.
func (w *world) load() {
	w.t.Helper()
	w.tirlOnServer("apply", "--no-confirm", "-c", filepath.Join(w.dir, "policy.toml"), "--backend", "nftables")
}

// tirlOnClient runs tirl as a client; each run has turns of its own, so that it does not
// come in by the knock of the one before.
func (w *world) tirlOnClient(args ...string) (string, error) {
	return w.patient("env", append([]string{"XDG_STATE_HOME=" + filepath.Join(w.dir, "state"), "XDG_RUNTIME_DIR=" + w.t.TempDir(), w.tirl}, args...)...)
}

// knockOnce knocks, and says whether the door is open.
func (w *world) knockOnce(options ...string) error {
	_, err := w.tirlOnClient(append([]string{"knock", "-q", "--hosts", filepath.Join(w.dir, "hosts.toml"), "web", "ssh"}, options...)...)
	return err
}

// TestOneTime is what users of values that work once are promised, with a binary and a kernel.
func TestOneTime(t *testing.T) {
	labtest.Require(t)
	binary := build(t)
	for name, test := range map[string]func(*testing.T, string){
		"replay":     oneTimeReplay,
		"control":    oneTimeRecordingOpensWhatWasNotUsed,
		"in vain":    oneTimeTenThousandInVain,
		"lossy path": oneTimeOnALossyPath,
		"ssh":        oneTimeSSH,
		"in Python":  oneTimeClientInPython,
	} {
		t.Run(name, func(t *testing.T) { test(t, binary) })
	}
}

// record has tcpdump write down what UDP packets pass a device, and gives a function
// that ends it.
func (w *world) record(n *lab.Namespace, device, file string) (stop func()) {
	w.t.Helper()
	cmd := exec.Command(tool.Find("tcpdump"), "-i", device, "-Z", "root", "--immediate-mode", "-U", "-n", "-w", file, "udp")
	var messages strings.Builder
	cmd.Stderr = &messages
	if err := n.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("tcpdump listens", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 0 // the header, when the socket is there
	})
	return func() {
		w.t.Helper()
		time.Sleep(50 * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			w.t.Fatalf("tcpdump: %v: %s", err, messages.String())
		}
	}
}

// replay sends a recording from the client's device as it is, or with another source.
func (w *world) replay(file string, from, as netip.Addr) {
	w.t.Helper()
	if from != as {
		other := file + ".other"
		bits := strconv.Itoa(from.BitLen())
		args := []string{"-i", file, "-o", other, "--fixcsum"}
		if from.Is4() {
			args = append(args, "--srcipmap="+from.String()+"/"+bits+":"+as.String()+"/"+bits)
		} else {
			args = append(args, "--srcipmap=["+from.String()+"/"+bits+"]:["+as.String()+"/"+bits+"]")
		}
		w.must(w.Client, "", "tcprewrite", args...)
		file = other
	}
	out := w.must(w.Client, "", "tcpreplay", "--topspeed", "-i", lab.ClientDevice, file)
	if !strings.Contains(out, "Successful packets") || strings.Contains(out, "Actual: 0 packets") {
		w.t.Fatalf("tcpreplay sent nothing: %s", out)
	}
}

// sources are the client's address that talks to a server unless another is asked for, and
// another.
func (w *world) sources(server netip.Addr) (usual, other netip.Addr) {
	w.t.Helper()
	err := w.Client.Do(func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(server, 9).String())
		if err == nil {
			usual = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
			c.Close()
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range 2 {
		for _, a := range []netip.Addr{lab.Client4(i), lab.Client6(i)} {
			if a.Is4() == server.Is4() && a != usual {
				other = a
			}
		}
	}
	return usual, other
}

// oneTimeReplay: what tcpdump has recorded of a knock opens nothing when it is sent again, by the
// same address or another; the next value does.
func oneTimeReplay(t *testing.T, binary string) {
	t.Parallel()
	for _, kind := range []string{"token", "sequence"} {
		for i, end := range ends {
			t.Run(kind+"/"+end.name, func(t *testing.T) {
				t.Parallel()
				w := oneTimeWorld(t, binary, kind, oneTimePolicy, lab.PairOptions{ClientAddrs: 2})
				w.hidden()
				w.load()
				family := []string{"-4", "-6"}[i]
				file := filepath.Join(w.dir, "knock.pcap")
				from, other := w.sources(end.server)
				if w.open(from, end.server, 22) {
					t.Fatal("open before any knock")
				}
				stop := w.record(w.Server, lab.ServerDevice, file)
				if err := w.knockOnce(family); err != nil {
					t.Fatal(err)
				}
				stop()
				for _, as := range []netip.Addr{other, from} {
					time.Sleep(grantEnds)
					w.replay(file, from, as)
					for _, source := range []netip.Addr{as, from} {
						if w.open(source, end.server, 22) {
							t.Errorf("the recording, sent by %s, has opened the door to %s", as, source)
						}
					}
				}
				if err := w.knockOnce(family); err != nil {
					t.Errorf("the next value: %v", err)
				}
			})
		}
	}
}

// oneTimeRecordingOpensWhatWasNotUsed: that replay does what it should is seen by a knock that
// the host has not heard.
func oneTimeRecordingOpensWhatWasNotUsed(t *testing.T, binary string) {
	t.Parallel()
	w := oneTimeWorld(t, binary, "token", oneTimePolicy, lab.PairOptions{ClientAddrs: 2})
	w.hidden()
	w.load()
	w.must(w.Server, "table inet lost {\nchain c {\ntype filter hook prerouting priority -450\nmeta l4proto udp drop\n}\n}\n", "nft", "-f", "-")
	file := filepath.Join(w.dir, "knock.pcap")
	stop := w.record(w.Client, lab.ClientDevice, file)
	if _, err := w.tirlOnClient("connect", "-4", "--timeout", "700ms", "--hosts", filepath.Join(w.dir, "hosts.toml"), "web", "22"); err == nil {
		t.Fatal("a knock that was lost has opened the door")
	}
	stop()
	w.must(w.Server, "delete table inet lost\n", "nft", "-f", "-")
	w.replay(file, lab.Client4(0), lab.Client4(1))
	if !w.open(lab.Client4(1), lab.Server4(), 22) {
		t.Error("the recording of a knock that did not arrive opens nothing: a test with it shows nothing")
	}
}

// oneTimeTenThousandInVain: after ten thousand attempts at a host that does not hear them, the first at
// one that does opens.
func oneTimeTenThousandInVain(t *testing.T, binary string) {
	t.Parallel()
	for _, kind := range []string{"token", "sequence"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := oneTimeWorld(t, binary, kind, oneTimePolicy, lab.PairOptions{})
			w.hidden()
			text, err := os.ReadFile(filepath.Join(w.dir, "hosts.toml"))
			if err != nil {
				t.Fatal(err)
			}
			hosts, found := policy.ParseHosts("hosts.toml", text)
			if found.HasErrors() {
				t.Fatal(found)
			}
			ticket := counter.TicketOf(*hosts[0].Doors[0].Credential)
			const tries, attempts = 100, 100
			for range tries {
				c, err := counter.Open(t.Context(), filepath.Join(w.dir, "state", "tirl", "one-time"), ticket, nil)
				if err != nil {
					t.Fatal(err)
				}
				for n := range attempts {
					v, err := c.Another()
					if err != nil {
						t.Fatal(err)
					}
					if full := os.Getenv(measureEnv) != ""; !full && len(v.Knocks) > 1 && n%10 > 0 {
						continue // it is on the wire seldom, where that takes long
					}
					// Nothing is loaded there yet.
					if err := w.Client.Do(func() error { return v.Send(t.Context(), []netip.Addr{lab.Server4()}, knock.Options{Delay: -1}) }); err != nil {
						t.Fatal(err)
					}
				}
				c.Close()
			}
			w.load()
			out, err := w.tirlOnClient("knock", "-4", "-v", "--hosts", filepath.Join(w.dir, "hosts.toml"), "web", "ssh")
			if err != nil {
				t.Errorf("%d attempts in vain, and one more: %v", tries*attempts, err)
			}
			if strings.Contains(out, "attempt 2") {
				t.Errorf("it took more than one:\n%s", out)
			}
		})
	}
}

// oneTimeOnALossyPath: where one of twenty packets is lost every knock opens, and nothing that
// ever was on the wire opens anything afterwards. TIRL_MEASURE=100 makes a thousand knocks of it.
func oneTimeOnALossyPath(t *testing.T, binary string) {
	t.Parallel()
	for kind, knocks := range map[string]int{"token": 8, "sequence": 5} {
		if n, err := strconv.Atoi(os.Getenv(measureEnv)); err == nil {
			knocks = 10 * n
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			// A SYN that is lost comes a second later.
			w := oneTimeWorld(t, binary, kind, strings.Replace(oneTimePolicy, `"1s"`, `"3s"`, 1), lab.PairOptions{ClientAddrs: 2})
			w.hidden()
			w.load()
			lose := "table inet path {\nchain c {\ntype filter hook prerouting priority -450\n" +
				"meta l4proto { tcp, udp } numgen random mod 100 < 5 drop\n}\n}\n"
			w.must(w.Server, lose, "nft", "-f", "-")
			w.must(w.Client, lose, "nft", "-f", "-")
			file := filepath.Join(w.dir, "all.pcap")
			stop := w.record(w.Client, lab.ClientDevice, file) // before anything is lost
			failed := 0
			for n := range knocks {
				if err := w.knockOnce("-4", "--delay", "20ms"); err != nil {
					failed++
					t.Logf("knock %d: %v", n, err)
				}
				if n%5 == 0 { // as the timer does
					w.tirlOnServer("user", "refill")
				}
			}
			stop()
			// A knock tries five times, which may fail on such a path.
			if failed*100 > 2*knocks {
				t.Errorf("%d of %d knocks did not open", failed, knocks)
			}
			w.tirlOnServer("user", "refill")
			for _, n := range []*lab.Namespace{w.Server, w.Client} {
				w.must(n, "delete table inet path\n", "nft", "-f", "-")
			}
			for _, as := range []netip.Addr{lab.Client4(1), lab.Client4(0)} {
				time.Sleep(2*time.Second + grantEnds)
				w.replay(file, lab.Client4(0), as)
				if w.open(as, lab.Server4(), 22) {
					t.Errorf("something of %d knocks, sent again by %s, has opened the door", knocks, as)
				}
			}
			if err := w.knockOnce("-4"); err != nil {
				t.Errorf("the next value: %v", err)
			}
		})
	}
}

// oneTimeSSH: "ssh web" works with values that are used once, sessions that begin together share
// a knock, and after a boot, which loses the pool, it works again.
func oneTimeSSH(t *testing.T, binary string) {
	t.Parallel()
	w := oneTimeWorld(t, binary, "token", strings.Replace(oneTimePolicy, `"1s"`, `"9s"`, 1), lab.PairOptions{})
	w.sshd()
	w.load()
	w.sshConfig("XDG_STATE_HOME="+filepath.Join(w.dir, "state"), "")
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if out, err := w.sshWeb("echo in"); err != nil || out != "in\n" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	all.Wait()
	if n, _ := w.knocked(); n != 1 {
		t.Errorf("three sessions knocked %d times", n)
	}
	w.boot()
	if err := os.RemoveAll(filepath.Join(w.dir, "tirl")); err != nil { // who takes turns
		t.Fatal(err)
	}
	if out, err := w.sshWeb("echo in"); err != nil || out != "in\n" {
		t.Errorf("after a boot: %q, %v", out, err)
	}
}

// boot has the server lose what is in its kernel, and load the policy again.
func (w *world) boot() {
	w.t.Helper()
	w.must(w.Server, "delete table inet tirl\n", "nft", "-f", "-")
	w.load()
}

// oneTimeClientInPython: the client in docs, which shares no line with tirl, opens the door, again and
// again, by IPv4 and IPv6, and after its host has lost its pool; and agrees with the
// test vectors.
func oneTimeClientInPython(t *testing.T, binary string) {
	t.Parallel()
	program, err := filepath.Abs("../../docs/one-time-client.py")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n >= 60 {
		t.Errorf("%s has %d lines: it is to be short", program, n)
	}
	for _, kind := range []string{"token", "sequence"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := oneTimeWorld(t, binary, kind, oneTimePolicy, lab.PairOptions{})
			w.hidden()
			w.load()
			run := func() (string, error) {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				return w.Client.Run(ctx, "", "python3", program, filepath.Join(w.dir, "hosts.toml"), "web", "ssh")
			}
			for i, want := range []string{"0\n", "1\n", "256\n"} {
				if i == 2 {
					if kind == "sequence" {
						break // a boot takes it as long as tokens
					}
					w.boot()
				}
				if w.open(lab.Client4(0), lab.Server4(), 22) {
					t.Errorf("open before knock %d", i+1)
				}
				if out, err := run(); err != nil || out != want {
					t.Errorf("knock %d: %q, %v; want %q", i+1, out, err, want)
				}
				if i == 0 {
					time.Sleep(grantEnds)
				}
			}
		})
	}
	for _, kind := range []string{"token", "sequence"} {
		out, err := exec.Command("python3", "-c", vectorsInPython, program, "../one-time/"+kind+".json").CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "agree\n") {
			t.Errorf("%s: %v: %s", kind, err, out)
		}
	}
}

// vectorsInPython holds the client against a file of test vectors.
const vectorsInPython = `
import base64, importlib.util, json, sys
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("client", sys.argv[1])
client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)
n = 0
for v in json.load(open(sys.argv[2]))["vectors"]:
    i, o = v["inputs"], v["outputs"]
    door = i | {"secret": base64.b64encode(bytes.fromhex(i["secret_hex"])), "ports": "%d-%d" % tuple(i["ports"])}
    got = client.packets(door, int(i["number"]))
    if i["one_time"] == "token":
        assert got == [("udp", o["port"], bytes.fromhex(o["token_hex"]))], (v, got)
    else:
        assert [f"{p}/{number}" for p, number, _ in got] == o["knocks"], (v, got)
    n += 1
assert n > 10
print(n, "agree")
`
