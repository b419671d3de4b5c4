package knock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

var (
	server4, server6 = lab.Server4(), lab.Server6()
	client4, client6 = lab.Client4(0), lab.Client6(0)
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// newPair makes a client and a server whose ports are closed.
func newPair(t *testing.T) *lab.Pair {
	t.Helper()
	p := labtest.Pair(t, lab.PairOptions{})
	// The client looks for its neighbour now, which would delay a first knock.
	if err := sendFrom(t, p.Client, []netip.Addr{server4, server6}, []port.Port{tcp(9)}, Options{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// sendFrom runs Send on a host.
func sendFrom(t *testing.T, h *lab.Namespace, addrs []netip.Addr, knocks []port.Port, opts Options) error {
	t.Helper()
	return h.Do(func() error { return Send(t.Context(), addrs, knocks, opts) })
}

// filter loads a chain of rules on a host.
func filter(t *testing.T, h *lab.Namespace, hook, rules string) {
	t.Helper()
	text := fmt.Sprintf("table inet filter {\nchain c {\ntype filter hook %s priority 0\n%s\n}\n}\n", hook, rules)
	if _, err := h.Run(t.Context(), text, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
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
func newCapture(t *testing.T, server *lab.Namespace) *capture {
	t.Helper()
	var fd int
	err := server.Do(func() error {
		var err error
		// SOCK_DGRAM: without the link's header. Bound to no interface, since
		// nothing uses the loopback interface.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}))
	})
	if err != nil {
		t.Fatalf("open a packet socket: %v", err)
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
