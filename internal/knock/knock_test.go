package knock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/port"
)

var loopback = parse("127.0.0.1")

func udp(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }
func tcp(n uint16) port.Port { return port.Port{Proto: port.TCP, Number: n} }

// listenUDP opens a UDP port of 127.0.0.1.
func listenUDP(t *testing.T) (*net.UDPConn, port.Port) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, udp(c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

func TestDatagramsCarryThePayload(t *testing.T) {
	for _, payload := range []string{"", "x"} {
		c, p := listenUDP(t)
		knocks := []port.Port{p, p, p}
		if err := Send(t.Context(), loopback, knocks, Options{Delay: time.Millisecond, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		sources := map[netip.AddrPort]bool{}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		for range knocks {
			buf := make([]byte, 16)
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil || string(buf[:n]) != payload {
				t.Fatalf("payload %q: got %q, %v", payload, buf[:n], err)
			}
			sources[from] = true
		}
		if len(sources) < 2 {
			t.Errorf("payload %q: three knocks came from one socket %v", payload, sources)
		}
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, from, err := c.ReadFromUDPAddrPort(make([]byte, 16)); err == nil {
			t.Errorf("payload %q: a fourth datagram, from %v", payload, from)
		}
	}
}

func TestTCPKnockLeavesNoConnection(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	open := tcp(l.Addr().(*net.TCPAddr).AddrPort().Port())
	if err := Send(t.Context(), loopback, []port.Port{open}, Options{}); err != nil {
		t.Fatal(err)
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Skipf("this system takes the reset connection back from the queue: %v", err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 1))
	if runtime.GOOS != "windows" && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server's side of the connection reads %v, want a reset", err)
	}
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the server's side of the connection reads %v", err)
	}
}

// Closed ports answer with a reset or with ICMP port unreachable. Neither is an
// error, and the same port can be knocked on again at once.
func TestClosedPortsAreNoError(t *testing.T) {
	c, u := listenUDP(t)
	c.Close()
	s := tcp(u.Number)
	knocks := []port.Port{u, u, s, s, u, s}
	if err := Send(t.Context(), loopback, knocks, Options{Delay: time.Millisecond}); err != nil {
		t.Error(err)
	}
}

// What a remote firewall answers to a SYN is no error either. The kernel reports
// it as it reports that there is no route.
func TestAnswered(t *testing.T) {
	routed, notRouted := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("[fe80::1]:9")
	if runtime.GOOS != "linux" {
		notRouted = netip.AddrPort{} // elsewhere a link-local address may have a default zone
	}
	tests := []struct {
		err                 error
		ifRouted, ifNoRoute bool
	}{
		{syscall.ECONNREFUSED, true, true},
		{syscall.ECONNRESET, true, true},
		{syscall.ETIMEDOUT, true, true},
		{syscall.EHOSTUNREACH, true, false},
		{syscall.ENETUNREACH, true, false},
		{syscall.EACCES, true, false},
		{syscall.EPERM, false, false},
		{syscall.EADDRNOTAVAIL, false, false},
		{syscall.EMFILE, false, false},
		{errors.New("other"), false, false},
	}
	for _, tt := range tests {
		err := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", tt.err)}
		if got := answered(err, routed); got != tt.ifRouted {
			t.Errorf("%v, with a route: %v", tt.err, got)
		}
		if got := answered(err, notRouted); notRouted.IsValid() && got != tt.ifNoRoute {
			t.Errorf("%v, without a route: %v", tt.err, got)
		}
	}
}

func TestDelay(t *testing.T) {
	closed := tcp(1)
	_, open := listenUDP(t)
	knocks := []port.Port{open, closed, open, closed}
	tests := []struct {
		delay, least, most time.Duration
	}{
		{-1, 0, 90 * time.Millisecond},
		{40 * time.Millisecond, 120 * time.Millisecond, 250 * time.Millisecond},
		{0, 3 * DefaultDelay, 3*DefaultDelay + 250*time.Millisecond},
	}
	for _, tt := range tests {
		start := time.Now()
		if err := Send(t.Context(), loopback, knocks, Options{Delay: tt.delay}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < tt.least || d > tt.most {
			t.Errorf("delay %v: four knocks took %v, want %v to %v", tt.delay, d, tt.least, tt.most)
		}
	}
}

func TestProgress(t *testing.T) {
	_, a := listenUDP(t)
	_, b := listenUDP(t)
	addrs := parse("127.0.0.1", "127.0.0.2")
	if runtime.GOOS != "linux" && runtime.GOOS != "windows" {
		addrs = loopback // elsewhere the loopback interface has one IPv4 address
	}
	var got, want []string
	for i, k := range []port.Port{a, b, a} {
		for _, addr := range addrs {
			want = append(want, fmt.Sprint(addr, i, k, nil))
		}
	}
	err := Send(t.Context(), addrs, []port.Port{a, b, a}, Options{
		Delay:    time.Millisecond,
		Progress: func(addr netip.Addr, i int, k port.Port, err error) { got = append(got, fmt.Sprint(addr, i, k, err)) },
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("error %v, progress\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, p := listenUDP(t)
	start := time.Now()
	err := Send(ctx, loopback, []port.Port{p, p, p}, Options{
		Delay:    time.Hour,
		Progress: func(netip.Addr, int, port.Port, error) { time.AfterFunc(20*time.Millisecond, cancel) },
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "before knock 2 of 3") {
		t.Errorf("got error %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("stopped after %v", d)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for n := 0; ; n++ {
		if _, _, err := c.ReadFromUDPAddrPort(make([]byte, 1)); err != nil {
			if n != 1 {
				t.Errorf("%d knocks arrived, want 1", n)
			}
			break
		}
	}

	if err := Send(ctx, loopback, []port.Port{tcp(1), p}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: got error %v", err)
	}
}

func TestSendRefusesWhatIsNoKnock(t *testing.T) {
	good := []port.Port{udp(9)}
	tests := []struct {
		addrs   []netip.Addr
		knocks  []port.Port
		payload string
		want    string
	}{
		{nil, good, "", "no address"},
		{loopback, nil, "", "no knocks"},
		{loopback, []port.Port{udp(9), udp(0)}, "", "udp/0 is not a knock"},
		{loopback, []port.Port{{Proto: port.ICMP}}, "", "icmp is not a knock"},
		{loopback, good, "seventeen bytes.!", "at most 16 bytes, not 17"},
	}
	for _, tt := range tests {
		sent := 0
		err := Send(t.Context(), tt.addrs, tt.knocks, Options{
			Payload:  []byte(tt.payload),
			Progress: func(netip.Addr, int, port.Port, error) { sent++ },
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) || sent > 0 {
			t.Errorf("error %v after %d packets, want %q", err, sent, tt.want)
		}
	}
}
