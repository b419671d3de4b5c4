package adopt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

const reference = `version = 1
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

func program(t *testing.T, text string) *automaton.Program {
	t.Helper()
	p, diags := policy.Parse("policy.toml", []byte(text))
	if p == nil {
		t.Fatal(diags)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func firewall() string { return reference }

// resetting answers what it refuses: the first segment that meets it without an
// entry ends its connection.
func resetting() string { return strings.Replace(reference, "mode ", "refuse = \"reset\"\nmode ", 1) }

func guard() string { return strings.Replace(reference, `"firewall"`, `"guard"`, 1) }

// connection is an open one; remote is the client's end of those that the
// client has opened.
type connection struct {
	name          string
	local, remote net.Conn
}

// world is a server and a client, and the connections between them.
type world struct {
	*lab.Pair
	t     *testing.T
	conns []*connection
}

func newWorld(t *testing.T) *world { return &world{Pair: labtest.Pair(t, lab.PairOptions{}), t: t} }

// connect opens a connection from one side to the other.
func (w *world) connect(name string, from, to *lab.Namespace, network string, listen, dial netip.AddrPort) *connection {
	w.t.Helper()
	var l net.Listener
	var near, far net.Conn
	err := to.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), network, listen.String())
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	err = from.Do(func() (err error) {
		near, err = net.Dial("tcp", dial.String())
		return err
	})
	if err == nil {
		far, err = l.Accept()
	}
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	w.t.Cleanup(func() { near.Close(); far.Close() })
	c := &connection{name, far, near}
	if from == w.Server {
		c.local, c.remote = near, far
	}
	w.conns = append(w.conns, c)
	return c
}

// populate opens twelve connections to the server: over IPv4, IPv6, and IPv4 to a
// dual-stack socket; idle ones and such that have carried data, which the
// client or the server sent first. And two that the server opens.
func (w *world) populate() {
	w.t.Helper()
	number := uint16(22)
	for _, kind := range []struct {
		name, network string
		listen, dial  netip.Addr
	}{
		{"IPv4", "tcp4", lab.Server4(), lab.Server4()},
		{"IPv6", "tcp6", lab.Server6(), lab.Server6()},
		{"dual", "tcp", netip.IPv6Unspecified(), lab.Server4()},
	} {
		for _, history := range []string{"idle", "idle again", "client first", "server first"} {
			c := w.connect(kind.name+", "+history, w.Client, w.Server, kind.network,
				netip.AddrPortFrom(kind.listen, number), netip.AddrPortFrom(kind.dial, number))
			switch history {
			case "client first":
				w.check(c, talk(c.remote, c.local))
			case "server first":
				w.check(c, talk(c.local, c.remote))
			}
			if number++; number == 23 {
				number = 2200 // one is to the hidden service, the others to closed ports
			}
		}
	}
	for _, to := range []netip.Addr{lab.Client4(0), lab.Client6(0)} {
		w.connect("outbound to "+to.String(), w.Server, w.Client, "tcp",
			netip.AddrPortFrom(to, 9000), netip.AddrPortFrom(to, 9000))
	}
}

func (w *world) check(c *connection, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Errorf("%s: %v", c.name, err)
	}
}

// Retransmissions come after about 0.2, 0.6 and 1.4 s (RFC 6298, with Linux's minimum).
const hearing = 1200 * time.Millisecond

// talk says a word one way, then the other.
func talk(from, to net.Conn) error {
	if err := say(from, to); err != nil {
		return err
	}
	return say(to, from)
}

func say(from, to net.Conn) error {
	const word = "hello, is anybody there?"
	to.SetReadDeadline(time.Now().Add(hearing))
	if _, err := from.Write([]byte(word)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := to.Read(make([]byte, 256)); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// alive gives the names of the connections that work when the client speaks first.
func (w *world) alive() []string {
	var mu sync.Mutex
	var all sync.WaitGroup
	var names []string
	for _, c := range w.conns {
		all.Go(func() {
			if talk(c.remote, c.local) == nil {
				mu.Lock()
				defer mu.Unlock()
				names = append(names, c.name)
			}
		})
	}
	all.Wait()
	return names
}

func (w *world) allAlive(when string) {
	w.t.Helper()
	alive := w.alive()
	for _, c := range w.conns {
		if !slices.Contains(alive, c.name) {
			w.t.Errorf("%s: dead: %s", when, c.name)
		}
	}
}

func (w *world) allDead(when string) {
	w.t.Helper()
	if alive := w.alive(); len(alive) > 0 {
		w.t.Errorf("%s: alive: %v", when, alive)
	}
}

// adopt wants so many connections to be adopted.
func (w *world) adopt(when string, want int) {
	w.t.Helper()
	var n int
	err := w.Server.Do(func() (err error) {
		n, err = Adopt(context.Background())
		return err
	})
	if err != nil || n != want {
		w.t.Errorf("%s: adopted %d, want %d (%v)", when, n, want, err)
	}
}

func (w *world) load(mk backendtest.Maker, text string) {
	w.t.Helper()
	if err := mk(w.Server).Load(context.Background(), program(w.t, text)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) nft(n *lab.Namespace, text string) {
	w.t.Helper()
	if _, err := n.Run(context.Background(), text, "nft", "-f", "-"); err != nil {
		w.t.Fatal(err)
	}
}

// eachVariant runs f with every kind of kernel program, side by side.
func eachVariant(t *testing.T, f func(t *testing.T, mk backendtest.Maker)) {
	labtest.Require(t)
	for _, v := range kinds.All() {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			f(t, v.Make)
		})
	}
}

func TestOpenConnectionsSurvive(t *testing.T) {
	for _, policyText := range []string{firewall(), resetting()} {
		eachVariant(t, func(t *testing.T, mk backendtest.Maker) {
			w := newWorld(t)
			w.populate()
			w.adopt("before the load", len(w.conns))
			w.load(mk, policyText)
			w.adopt("after the load", 0)
			w.allAlive("after the load")
			w.allAlive("once more")
			w.adopt("at the end", 0)
		})
	}
}

// Without adoption all are cut: the test above can fail.
func TestWithoutAdoption(t *testing.T) {
	eachVariant(t, func(t *testing.T, mk backendtest.Maker) {
		w := newWorld(t)
		w.populate()
		w.load(mk, firewall())
		w.allDead("after the load")
		// What the clients have sent is sent again.
		w.adopt("after the load", len(w.conns))
		w.allAlive("adopted late")
	})
}

// With refuse = "reset" it is too late after the load.
func TestResetLeavesNoTime(t *testing.T) {
	w := newWorld(t)
	w.populate()
	w.load(kinds.All()[0].Make, resetting())
	w.allDead("after the load")
	w.adopt("after the load", len(w.conns)) // the server does not know that the clients have given up
	w.allDead("adopted late")
}

// A connection that began between the first adoption and the load needs the second.
func TestBetween(t *testing.T) {
	w := newWorld(t)
	w.populate()
	w.adopt("before the load", len(w.conns))
	w.connect("late", w.Client, w.Server, "tcp4", netip.AddrPortFrom(lab.Server4(), 2300), netip.AddrPortFrom(lab.Server4(), 2300))
	w.load(kinds.All()[0].Make, firewall())
	w.adopt("after the load", 1)
	w.allAlive("after the load")
}

// Guard mode refuses nothing but a SYN.
func TestGuardNeedsNoAdoption(t *testing.T) {
	eachVariant(t, func(t *testing.T, mk backendtest.Maker) {
		w := newWorld(t)
		w.populate()
		w.load(mk, guard())
		w.allAlive("after the load")
		w.flush()
		w.allAlive("after conntrack -F")
	})
}

func (w *world) flush() {
	w.t.Helper()
	err := w.Server.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// In firewall mode a flush cuts them, and adoption brings them back.
func TestFlush(t *testing.T) {
	w := newWorld(t)
	w.populate()
	w.load(kinds.All()[0].Make, firewall())
	w.adopt("after the load", len(w.conns))
	w.allAlive("after the load")
	w.flush()
	w.adopt("after conntrack -F", len(w.conns))
	w.allAlive("after conntrack -F")
}

// TestStrict: a kernel that picks up no flows half-way.
func TestStrict(t *testing.T) {
	w := newWorld(t)
	err := w.Server.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", []byte("0"), 0)
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.populate()
	w.adopt("before the load", len(w.conns))
	w.load(kinds.All()[0].Make, firewall())
	w.allAlive("after the load")
}

// TestHalfKnown: conntrack has seen what the client said, but no answer.
func TestHalfKnown(t *testing.T) {
	const tracking = "table inet t {\nchain c {\ntype filter hook input priority 0\nct state new counter\n}\n}\n"
	const silence = "table inet s {\nchain c {\ntype filter hook output priority -301\nmeta l4proto tcp drop\n}\n}\n"
	for _, adopted := range []bool{false, true} {
		w := newWorld(t)
		w.connect("half", w.Client, w.Server, "tcp4", netip.AddrPortFrom(lab.Server4(), 22), netip.AddrPortFrom(lab.Server4(), 22))
		w.nft(w.Server, tracking)
		w.nft(w.Server, silence)
		// The server hears it, and what it acknowledges is lost.
		w.check(w.conns[0], say(w.conns[0].remote, w.conns[0].local))
		w.load(kinds.All()[0].Make, firewall())
		if adopted {
			w.adopt("half known", 1)
			w.adopt("known", 0)
		}
		w.nft(w.Server, "delete table inet s\n")
		conn := w.conns[0]
		err := talk(conn.remote, conn.local)
		if got := err == nil; got != adopted {
			t.Errorf("adopted is %v, alive is %v: %v", adopted, got, err)
		}
	}
}

// TestKnownUnderNAT: conntrack knows the connection by other ports than its socket.
func TestKnownUnderNAT(t *testing.T) {
	w := newWorld(t)
	w.nft(w.Server, "table ip n {\nchain c {\ntype nat hook prerouting priority -100\ntcp dport 2222 redirect to :22\n}\n}\n")
	w.connect("redirected", w.Client, w.Server, "tcp4", netip.AddrPortFrom(lab.Server4(), 22), netip.AddrPortFrom(lab.Server4(), 2222))
	w.adopt("known", 0)
	w.load(kinds.All()[0].Make, firewall())
	w.allAlive("after the load")
}

// TestClosing: the half-closed ones still carry data, and new ones are still refused.
func TestClosing(t *testing.T) {
	w := newWorld(t)
	c := w.connect("half-closed", w.Client, w.Server, "tcp4", netip.AddrPortFrom(lab.Server4(), 22), netip.AddrPortFrom(lab.Server4(), 22))
	if err := c.local.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	w.adopt("before the load", 1)
	w.load(kinds.All()[0].Make, firewall())
	c.local.SetReadDeadline(time.Now().Add(hearing))
	if _, err := c.remote.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := c.local.Read(make([]byte, 1)); err != nil {
		t.Errorf("half-closed: %v", err)
	}
	err := w.Client.Do(func() error {
		again, err := net.DialTimeout("tcp", netip.AddrPortFrom(lab.Server4(), 22).String(), 300*time.Millisecond)
		if err == nil {
			again.Close()
		}
		return err
	})
	if err == nil {
		t.Error("a new connection was let in")
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	w.populate()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := w.Server.Do(func() error {
		n, err := Adopt(ctx)
		if n != 0 {
			t.Errorf("adopted %d", n)
		}
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
