package knock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/port"
)

// The two hosts of the tests, on one link. The client has no other route.
var (
	server4, server6 = netip.MustParseAddr("10.71.0.2"), netip.MustParseAddr("fd71::2")
	client4, client6 = netip.MustParseAddr("10.71.0.1"), netip.MustParseAddr("fd71::1")
)

// host is a network namespace: a goroutine locked to a thread that is in it.
type host struct {
	calls chan func()
	path  string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread, and with it the namespace, ends with the goroutine.
		runtime.LockOSThread()
		h.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		err := unix.Unshare(unix.CLONE_NEWNET)
		ready <- err
		if err != nil {
			return
		}
		for f := range h.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		cannot(t, "make a network namespace", err)
	}
	t.Cleanup(func() { close(h.calls) })
	return h
}

// cannot skips a test that needs what this machine does not give, unless
// TIRL_REQUIRE_KERNEL=1 demands it.
func cannot(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("TIRL_REQUIRE_KERNEL") == "1" {
		t.Fatalf("cannot %s: %v", what, err)
	}
	t.Skipf("cannot %s: %v", what, err)
}

// do runs f in the namespace.
func (h *host) do(f func() error) error {
	result := make(chan error)
	h.calls <- func() { result <- f() }
	return <-result
}

// run runs commands in the namespace, one a line.
func (h *host) run(t *testing.T, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		err := h.do(func() error {
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", strings.TrimSpace(line), err, out)
			}
			return nil
		})
		if err != nil {
			cannot(t, "set up the namespace", err)
		}
	}
}

// newLink makes a client and a server with a link between them, whose ports
// are closed.
func newLink(t *testing.T) (client, server *host) {
	t.Helper()
	client, server = newHost(t), newHost(t)
	// Known neighbours: no resolution delays a first packet.
	client.run(t, `
		ip link add link0 address 02:00:00:00:00:01 type veth peer name link0 address 02:00:00:00:00:02 netns `+server.path+`
		ip address add 10.71.0.1/24 dev link0
		ip address add fd71::1/64 dev link0 nodad
		ip link set link0 up
		ip neighbour add 10.71.0.2 lladdr 02:00:00:00:00:02 dev link0
		ip neighbour add fd71::2 lladdr 02:00:00:00:00:02 dev link0`)
	server.run(t, `
		ip address add 10.71.0.2/24 dev link0
		ip address add fd71::2/64 dev link0 nodad
		ip link set link0 up
		ip neighbour add 10.71.0.1 lladdr 02:00:00:00:00:01 dev link0
		ip neighbour add fd71::1 lladdr 02:00:00:00:00:01 dev link0`)
	// The kernel begins to use a link some time after it is up. Until then it
	// drops what is sent.
	err := client.do(func() error {
		d := net.Dialer{Timeout: 20 * time.Millisecond}
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			if _, err := d.Dial("tcp", "10.71.0.2:9"); errors.Is(err, syscall.ECONNREFUSED) {
				return nil
			}
		}
		return errors.New("no answer in 10 s")
	})
	if err != nil {
		t.Fatalf("the link between the namespaces: %v", err)
	}
	return client, server
}

// packet is a TCP or UDP packet that the server received or sent.
type packet struct {
	at       time.Time // from the kernel
	src, dst netip.Addr
	srcPort  uint16
	port     port.Port // destination
	flags    byte      // of TCP
	options  []byte    // of TCP
	payload  []byte    // of UDP
}

const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// String gives what is common to all runs.
func (p packet) String() string {
	if p.port.Proto == port.UDP {
		return fmt.Sprintf("%s %s %q", p.dst, p.port, p.payload)
	}
	return fmt.Sprintf("%s %s flags %#02x", p.dst, p.port, p.flags)
}

// capture is a running record of what passes the server's link.
type capture struct {
	mu      sync.Mutex
	packets []packet
	err     error
}

// newCapture begins to record, before any filter sees a packet.
func newCapture(t *testing.T, server *host) *capture {
	t.Helper()
	var fd int
	err := server.do(func() error {
		var err error
		// SOCK_DGRAM: without the link's header. Bound to no interface, since
		// this namespace has only one.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}))
	})
	if err != nil {
		cannot(t, "open a packet socket", err)
	}
	c := &capture{}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				c.read(fd)
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		unix.Close(fd)
	})
	return c
}

func htons(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// read waits a moment for one packet.
func (c *capture) read(fd int) {
	buf, oob := make([]byte, 2048), make([]byte, 128)
	n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, 0)
	if err != nil {
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN) {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
		}
		return
	}
	p, ok := decode(buf[:n])
	if !ok {
		return
	}
	messages, _ := syscall.ParseSocketControlMessage(oob[:oobn])
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS {
			p.at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	c.mu.Lock()
	c.packets = append(c.packets, p)
	c.mu.Unlock()
}

// decode reads an IP packet that carries TCP or UDP.
func decode(b []byte) (packet, bool) {
	var p packet
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		p.src, p.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		p.port.Proto = port.Proto(b[9])
		b = b[int(b[0]&15)*4 : binary.BigEndian.Uint16(b[2:])]
	case len(b) >= 40 && b[0]>>4 == 6:
		p.src, p.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		p.port.Proto = port.Proto(b[6])
		b = b[40 : 40+int(binary.BigEndian.Uint16(b[4:]))]
	default:
		return p, false
	}
	if p.port.Proto != port.TCP && p.port.Proto != port.UDP {
		return p, false
	}
	p.srcPort, p.port.Number = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if p.port.Proto == port.UDP {
		p.payload = b[8:]
	} else {
		p.flags, p.options = b[13], b[20:int(b[12]>>4)*4]
	}
	return p, true
}

// received gives what came from the client up to now, in order.
func (c *capture) received(t *testing.T) []packet {
	t.Helper()
	return c.from(t, client4, client6)
}

// sent gives what the server answered up to now, in order.
func (c *capture) sent(t *testing.T) []packet {
	t.Helper()
	return c.from(t, server4, server6)
}

func (c *capture) from(t *testing.T, a4, a6 netip.Addr) []packet {
	t.Helper()
	time.Sleep(50 * time.Millisecond) // for the reader
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		t.Fatalf("capture: %v", c.err)
	}
	var got []packet
	for _, p := range c.packets {
		if p.src == a4 || p.src == a6 {
			got = append(got, p)
		}
	}
	return got
}
