// Package scenario acts the reference scenario out with programs that nobody of
// tirl wrote: nc, hping3, knock, ssh. The server is a network namespace with the
// reference policy, loaded by the tirl binary; no process of tirl is left there.
package scenario

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/tool"
)

const policyText = `version = 1
mode    = "firewall"
public  = ["tcp/80"]

[knocking]
step_timeout = "none"
duplicates   = "reset"

[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/12345", "udp/23456", "udp/34567"]
open_for = "once"
`

var sequence = []string{"12345", "23456", "34567"}

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// world is a server with the reference policy, and a client.
type world struct {
	*lab.Pair
	t    *testing.T
	tirl string // the binary
	dir  string
	key  string // the client's ssh key
}

// variants are the kernel programs that carry the policy. PATH decides which
// iptables is run.
var variants = []struct{ name, backend, multi string }{
	{"nftables", "nftables", ""},
	{"iptables-nft", "iptables", "xtables-nft-multi"},
	{"iptables-legacy", "iptables", "xtables-legacy-multi"},
}

// eachVariant runs f with every kernel program. The client has so many addresses
// of each family.
func eachVariant(t *testing.T, addrs int, f func(t *testing.T, w *world)) {
	labtest.Require(t)
	binary := build(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			if v.multi != "" {
				useVariant(t, v.multi)
			}
			w := newWorld(t, binary, addrs)
			w.apply(v.backend)
			f(t, w)
		})
	}
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tirl")
	cmd := exec.Command("go", "build", "-o", binary, "tirl/cmd/tirl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tirl: %v\n%s", err, out)
	}
	return binary
}

// useVariant puts symbolic links to one variant of the iptables programs in
// front of PATH, as update-alternatives does for a whole host.
func useVariant(t *testing.T, multi string) {
	t.Helper()
	target := tool.Find(multi)
	if _, err := os.Stat(target); err != nil {
		t.Fatalf("%s is not installed: %v", multi, err)
	}
	dir := t.TempDir()
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func newWorld(t *testing.T, binary string, addrs int) *world {
	t.Helper()
	return newWorldOf(t, binary, lab.PairOptions{ClientAddrs: addrs})
}

func newWorldOf(t *testing.T, binary string, opts lab.PairOptions) *world {
	t.Helper()
	w := &world{Pair: labtest.Pair(t, opts), t: t, tirl: binary, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(w.dir, "policy.toml"), []byte(policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	w.web()
	w.sshd()
	return w
}

// apply loads the policy.
func (w *world) apply(backend string) {
	w.t.Helper()
	w.must(w.Server, "", w.tirl, "--root", w.dir, "apply", "--no-confirm", "-c", filepath.Join(w.dir, "policy.toml"), "--backend", backend)
}

// must runs a program that has to succeed.
func (w *world) must(n *lab.Namespace, stdin, name string, args ...string) string {
	w.t.Helper()
	out, err := w.run(n, stdin, name, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) run(n *lab.Namespace, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return n.Run(ctx, stdin, name, args...)
}

// web serves tcp/80.
func (w *world) web() {
	w.listen(80, func(c net.Conn) { io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nhello\n") })
}

func (w *world) listen(number int, serve func(net.Conn)) {
	w.t.Helper()
	err := w.Server.Do(func() error {
		l, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", number))
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); serve(c) }()
			}
		}()
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// sshd runs OpenSSH's server on tcp/22 with keys of this test only.
func (w *world) sshd() {
	w.t.Helper()
	for _, name := range []string{"host", "client"} {
		w.must(w.Server, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(w.dir, name))
	}
	w.key = filepath.Join(w.dir, "client")
	// sshd(8) wants a directory that nobody else can write to.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		w.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(w.dir, "sshd.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(tool.Find("sshd"), "-D", "-e", "-f", "/dev/null",
		"-o", "HostKey="+filepath.Join(w.dir, "host"),
		"-o", "AuthorizedKeysFile="+w.key+".pub",
		"-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none",
		"-o", "PermitRootLogin=prohibit-password", "-o", "Port=22")
	cmd.Stderr = log
	if err := w.Server.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && w.t.Failed() {
			w.t.Logf("sshd said:\n%s", text)
		}
	})
	w.eventually("sshd listens", func() bool {
		out, err := w.run(w.Server, "", "ss", "-Hltn", "sport = :22")
		return err == nil && out != ""
	})
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not in 5 s: %s", what)
		}
	}
}

// ssh logs in and runs a command; an error if the door is closed.
func (w *world) ssh(server netip.Addr) error {
	out, err := w.run(w.Client, "", "ssh", "-F", "/dev/null", "-i", w.key, "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "ConnectTimeout=2", "root@"+server.String(), "echo", "in")
	if err == nil && strings.TrimSpace(out) != "in" {
		return fmt.Errorf("ssh printed %q", out)
	}
	return err
}

// dial makes a TCP connection from a given source.
func (w *world) dial(from, server netip.Addr, number uint16) (net.Conn, error) {
	var conn net.Conn
	err := w.Client.Do(func() (err error) {
		d := net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err = d.Dial("tcp", netip.AddrPortFrom(server, number).String())
		return err
	})
	return conn, err
}

func (w *world) open(from, server netip.Addr, number uint16) bool {
	conn, err := w.dial(from, server, number)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// tirlProcesses counts the processes in the server's namespace besides sshd.
func (w *world) tirlProcesses() (n int) {
	w.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, link := range all {
		if exe, err := os.Readlink(link); err == nil && exe == w.tirl {
			n++
		}
	}
	return n
}

var ends = []struct {
	name           string
	server, client netip.Addr
}{
	{"IPv4", lab.Server4(), lab.Client4(0)},
	{"IPv6", lab.Server6(), lab.Client6(0)},
}

// knockers are the programs that send the knocks.
var knockers = []struct {
	name  string
	ipv6  bool
	knock func(w *world, server netip.Addr)
}{
	{"nc.openbsd", true, func(w *world, server netip.Addr) {
		for _, p := range sequence {
			w.must(w.Client, "x", "nc.openbsd", "-u", "-w", "1", "-q", "0", server.String(), p)
		}
	}},
	{"nc.traditional", false, func(w *world, server netip.Addr) {
		for _, p := range sequence {
			w.must(w.Client, "x", "nc.traditional", "-u", "-w", "1", "-q", "0", server.String(), p)
		}
	}},
	{"hping3", false, func(w *world, server netip.Addr) {
		for _, p := range sequence {
			// Nothing answers, which hping3 takes for a failure.
			w.run(w.Client, "", "hping3", "--udp", "-c", "1", "-i", "u1000", "-p", p, server.String())
		}
	}},
	{"knock", true, func(w *world, server netip.Addr) {
		family := map[bool]string{true: "-4", false: "-6"}[server.Is4()]
		w.must(w.Client, "", "knock", append([]string{family, "-u", "-d", "20", server.String()}, sequence...)...)
	}},
	{"tirl", true, func(w *world, server netip.Addr) {
		w.must(w.Client, "", w.tirl, "knock", "--delay", "20ms", server.String(), "udp/12345", "udp/23456", "udp/34567")
	}},
	{"tirl with a policy", true, func(w *world, server netip.Addr) {
		w.must(w.Client, "", w.tirl, "knock", server.String(), "-c", filepath.Join(w.dir, "policy.toml"), "ssh")
	}},
}

func TestReferenceScenario(t *testing.T) {
	eachVariant(t, 1, func(t *testing.T, w *world) {
		if n := w.tirlProcesses(); n != 0 {
			t.Errorf("%d processes of tirl are left", n)
		}
		for _, end := range ends {
			for _, k := range knockers {
				if end.server.Is6() && !k.ipv6 {
					continue
				}
				t.Run(end.name+"/"+k.name, func(t *testing.T) {
					w := &world{Pair: w.Pair, t: t, tirl: w.tirl, dir: w.dir, key: w.key}
					w.oneDoor(end.server, end.client, func() { k.knock(w, end.server) })
				})
			}
		}
	})
}

// oneDoor: closed, open once, closed again, HTTP always.
func (w *world) oneDoor(server, client netip.Addr, knock func()) {
	w.t.Helper()
	check := func(number uint16, want bool, when string) {
		w.t.Helper()
		if got := w.open(client, server, number); got != want {
			w.t.Errorf("tcp/%d %s: open is %v", number, when, got)
		}
	}
	check(80, true, "before the knock")
	check(22, false, "before the knock")
	knock()
	check(80, true, "after the knock") // a public service is never heard
	if err := w.ssh(server); err != nil {
		w.t.Errorf("ssh after the knock: %v", err)
	}
	check(22, false, "after the one connection")
}

func TestAnEstablishedConnectionLivesOn(t *testing.T) {
	eachVariant(t, 1, func(t *testing.T, w *world) {
		for _, end := range ends {
			w.must(w.Client, "", w.tirl, "knock", "--delay", "20ms", end.server.String(), "udp/12345", "udp/23456", "udp/34567")
			conn, err := w.dial(end.client, end.server, 22)
			if err != nil {
				t.Fatalf("%s: %v", end.name, err)
			}
			defer conn.Close()
			banner := make([]byte, 64)
			conn.SetDeadline(time.Now().Add(3 * time.Second))
			if n, err := conn.Read(banner); err != nil || !strings.HasPrefix(string(banner[:n]), "SSH-2.0-") {
				t.Fatalf("%s: %q, %v", end.name, banner[:n], err)
			}
			// Wrong packets and the same policy again do not disturb it.
			w.must(w.Client, "", w.tirl, "knock", "--delay", "5ms", end.server.String(), "udp/1", "udp/2")
			w.must(w.Server, "", w.tirl, "--root", w.dir, "apply", "--no-confirm", "-c", filepath.Join(w.dir, "policy.toml"))
			if _, err := io.WriteString(conn, "SSH-2.0-test\r\n"); err != nil {
				t.Errorf("%s: %v", end.name, err)
			}
			if n, err := conn.Read(banner); err != nil || n == 0 {
				t.Errorf("%s: the connection is dead: %v", end.name, err)
			}
		}
	})
}

// TestSweepsOpenNothing sends three full sweeps of all UDP ports, ascending,
// descending and in random order, and looks at the door after each.
func TestSweepsOpenNothing(t *testing.T) {
	orders := map[string]func(i int) int{
		"ascending":  func(i int) int { return i },
		"descending": func(i int) int { return 65534 - i },
	}
	eachVariant(t, 1, func(t *testing.T, w *world) {
		shuffled := rand.New(rand.NewPCG(1, 2)).Perm(65535)
		orders["random"] = func(i int) int { return shuffled[i] }
		for _, end := range ends {
			for name, order := range orders {
				w.sweep(end.client, end.server, order)
				if w.open(end.client, end.server, 22) {
					t.Errorf("%s: a sweep, %s, opened tcp/22", end.name, name)
				}
				if !w.open(end.client, end.server, 80) {
					t.Errorf("%s: a sweep, %s, closed tcp/80", end.name, name)
				}
			}
			// Whoever swept can still knock, once the limit has forgotten it.
			time.Sleep(2200 * time.Millisecond)
			w.must(w.Client, "", w.tirl, "knock", "--delay", "20ms", end.server.String(), "udp/12345", "udp/23456", "udp/34567")
			if !w.open(end.client, end.server, 22) {
				t.Errorf("%s: an honest knock after the sweeps did not open", end.name)
			}
		}
	})
}

// sweep sends one datagram to each of 65,535 ports from one socket.
func (w *world) sweep(client, server netip.Addr, order func(int) int) {
	w.t.Helper()
	err := w.Client.Do(func() error {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0)))
		if err != nil {
			return err
		}
		defer conn.Close()
		for i := range 65535 {
			to := netip.AddrPortFrom(server, uint16(1+order(i)))
			for {
				_, err = conn.WriteToUDPAddrPort([]byte{0}, to)
				if err != unix.ENOBUFS {
					break
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestSourcesAreApart: what one address does is nothing to another.
func TestSourcesAreApart(t *testing.T) {
	eachVariant(t, 2, func(t *testing.T, w *world) {
		server := lab.Server4()
		w.must(w.Client, "", w.tirl, "knock", "--delay", "20ms", server.String(), "udp/12345", "udp/23456", "udp/34567")
		if w.open(lab.Client4(1), server, 22) {
			t.Error("another address of the client walked in")
		}
		if !w.open(lab.Client4(0), server, 22) {
			t.Error("the one that knocked did not get in")
		}
	})
}

// TestRemoveOpensEverything: after tirl remove the host is as it was.
func TestRemoveOpensEverything(t *testing.T) {
	eachVariant(t, 1, func(t *testing.T, w *world) {
		if w.open(lab.Client4(0), lab.Server4(), 22) {
			t.Fatal("tcp/22 is open with the policy loaded")
		}
		w.must(w.Server, "", w.tirl, "--root", w.dir, "remove")
		if !w.open(lab.Client4(0), lab.Server4(), 22) || !w.open(lab.Client6(0), lab.Server6(), 22) {
			t.Error("tcp/22 is closed after removal")
		}
	})
}
