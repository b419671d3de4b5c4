package knock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/port"
)

// texts is for comparison.
func texts(packets []packet) []string {
	var s []string
	for _, p := range packets {
		s = append(s, p.String())
	}
	return s
}

// The ports are closed: each knock is answered by ICMP port unreachable, which
// must not become an error of the next.
func TestUDPOnTheWire(t *testing.T) {
	pair := newPair(t)
	knocks := []port.Port{udp(12345), udp(12345), udp(23456), udp(34567)}
	const delay = 60 * time.Millisecond
	for _, payload := range []string{"", "x"} {
		c := newCapture(t, pair.Server)
		err := sendFrom(t, pair.Client, []netip.Addr{server4, server6}, knocks, Options{Delay: delay, Payload: []byte(payload)})
		if err != nil {
			t.Fatal(err)
		}
		got := c.received(t)
		var want []string
		for _, k := range knocks {
			want = append(want, fmt.Sprintf("%s %s %q", server4, k, payload), fmt.Sprintf("%s %s %q", server6, k, payload))
		}
		if !slices.Equal(texts(got), want) {
			t.Fatalf("payload %q: the server received\n%s\nwant\n%s", payload,
				strings.Join(texts(got), "\n"), strings.Join(want, "\n"))
		}
		for i := 2; i < len(got); i++ {
			if gap := got[i].at.Sub(got[i-2].at); gap < delay-time.Millisecond || gap > delay+200*time.Millisecond {
				t.Errorf("%v after the one before, want %v: %v", gap, delay, got[i])
			}
		}
	}
}

func TestTCPKnockIsOneSYN(t *testing.T) {
	// Multipath TCP for every Go dialer of this process: the knock must not follow.
	t.Setenv("GODEBUG", "multipathtcp=1")
	pair := newPair(t)
	dropped, rejected, prohibited, closed, open := tcp(1001), tcp(1002), tcp(1003), tcp(1004), tcp(1005)
	filter(t, pair.Server, "input", `
		tcp dport 1001 drop
		tcp dport 1002 reject with icmpx type port-unreachable
		tcp dport 1003 reject with icmpx type admin-prohibited`)
	for _, network := range []string{"tcp4", "tcp6"} {
		err := pair.Server.Do(func() error {
			l, err := net.Listen(network, ":1005")
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	c := newCapture(t, pair.Server)
	const delay = 80 * time.Millisecond
	knocks := []port.Port{dropped, rejected, dropped, prohibited, closed, open}
	if err := sendFrom(t, pair.Client, []netip.Addr{server4, server6}, knocks, Options{Delay: delay}); err != nil {
		t.Error(err)
	}
	time.Sleep(3 * time.Second) // the first retransmissions are due after 1 s and 3 s

	var want []string
	for _, k := range knocks {
		for _, addr := range []netip.Addr{server4, server6} {
			want = append(want, fmt.Sprintf("%s %s flags %#02x", addr, k, flagSYN))
			if k == open {
				want = append(want,
					fmt.Sprintf("%s %s flags %#02x", addr, k, flagACK),
					fmt.Sprintf("%s %s flags %#02x", addr, k, flagRST|flagACK))
			}
		}
	}
	got := c.received(t)
	if !slices.Equal(texts(got), want) {
		t.Errorf("the server received\n%s\nwant\n%s", strings.Join(texts(got), "\n"), strings.Join(want, "\n"))
	}
	sources := map[uint16]bool{}
	last := map[netip.Addr]time.Time{}
	for _, p := range got {
		if p.flags != flagSYN {
			continue
		}
		if sources[p.srcPort] {
			t.Errorf("source port %d is used again by %v", p.srcPort, p)
		}
		sources[p.srcPort] = true
		if slices.Contains(optionKinds(p.options), optionMPTCP) {
			t.Errorf("%v asks for Multipath TCP", p)
		}
		// The clock starts just before the system call that sends the SYN.
		const slack = 10 * time.Millisecond
		if gap := p.at.Sub(last[p.dst]); gap < delay-slack {
			t.Errorf("%v after the one before, want %v: %v", gap, delay, p)
		} else if !last[p.dst].IsZero() && gap > delay+200*time.Millisecond {
			t.Errorf("%v after the one before, want %v: the wait for an answer is not inside the delay: %v", gap, delay, p)
		}
		last[p.dst] = p.at
	}
	answers := map[byte]int{}
	for _, p := range c.sent(t) {
		answers[p.flags]++
	}
	if answers[flagRST|flagACK] != 2 || answers[flagSYN|flagACK] != 2 || len(answers) != 2 {
		t.Errorf("the server answered %v (TCP flags: packets), want 2 resets and 2 SYN-ACKs", answers)
	}
}

// optionMPTCP is the kind of TCP option that Multipath TCP uses (RFC 8684, section 3).
const optionMPTCP = 30

// optionKinds lists the kinds of TCP options (RFC 9293, section 3.1).
func optionKinds(b []byte) []int {
	var kinds []int
	for len(b) > 0 && b[0] != 0 /* end of list */ {
		kinds = append(kinds, int(b[0]))
		if b[0] == 1 /* no operation */ {
			b = b[1:]
		} else {
			b = b[b[1]:]
		}
	}
	return kinds
}

func TestOneAddressMayFail(t *testing.T) {
	pair := newPair(t)
	noRoute6, noRoute4 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	for _, k := range []func(uint16) port.Port{udp, tcp} {
		knocks := []port.Port{k(2001), k(2002)}
		c := newCapture(t, pair.Server)
		failures := map[netip.Addr]int{}
		opts := Options{Delay: 20 * time.Millisecond, Progress: func(a netip.Addr, i int, _ port.Port, err error) {
			if err != nil {
				failures[a]++
			}
		}}
		if err := sendFrom(t, pair.Client, []netip.Addr{noRoute6, server4}, knocks, opts); err != nil {
			t.Errorf("%v: one address of two has no route: %v", knocks, err)
		}
		if len(failures) != 1 || failures[noRoute6] != 1 {
			t.Errorf("%v: failures %v, want one of %v", knocks, failures, noRoute6)
		}
		if got := c.received(t); len(got) != 2 || got[0].port != knocks[0] || got[1].port != knocks[1] {
			t.Errorf("the server received %v, want %v", got, knocks)
		}

		err := sendFrom(t, pair.Client, []netip.Addr{noRoute6, noRoute4}, knocks, Options{})
		want := fmt.Sprintf("knock 1 of 2 (%[1]s) to 2001:db8::1: connect: network is unreachable; "+
			"knock 1 of 2 (%[1]s) to 192.0.2.1: connect: network is unreachable", knocks[0])
		if err == nil || err.Error() != want || !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("no address has a route: got error\n%v\nwant\n%s", err, want)
		}
	}
}

// A datagram that the client's own firewall stops is not sent, and is said to be so.
func TestUnsentDatagramIsAnError(t *testing.T) {
	pair := newPair(t)
	filter(t, pair.Client, "output", "udp dport 2002 drop")
	err := sendFrom(t, pair.Client, []netip.Addr{server4, server6}, []port.Port{udp(2001), udp(2002)}, Options{Delay: 20 * time.Millisecond})
	if !errors.Is(err, syscall.EPERM) || !strings.HasPrefix(err.Error(), "knock 2 of 2 (udp/2002) to "+server4.String()+": ") {
		t.Errorf("got error %v", err)
	}
}

func TestFamilyOnTheWire(t *testing.T) {
	pair := newPair(t)
	resolver := names{"server.example": {server6.String(), server4.String()}}
	on4, on6 := server4.String()+` udp/9 ""`, server6.String()+` udp/9 ""`
	tests := []struct {
		network Family
		want    []string
	}{
		{AnyFamily, []string{on4, on6}},
		{IPv4, []string{on4}},
		{IPv6, []string{on6}},
	}
	for _, tt := range tests {
		c := newCapture(t, pair.Server)
		opts := Options{Network: tt.network, Resolver: resolver}
		addrs, err := Resolve(t.Context(), "server.example", opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := sendFrom(t, pair.Client, addrs, []port.Port{udp(9)}, opts); err != nil {
			t.Error(err)
		}
		if got := texts(c.received(t)); !slices.Equal(got, tt.want) {
			t.Errorf("%v: the server received %q, want %q", tt.network, got, tt.want)
		}
	}
}

// A link-local address needs its zone to be sent to.
func TestZone(t *testing.T) {
	pair := newPair(t)
	there := linkLocal(t, pair.Server, lab.ServerDevice)
	c := newCapture(t, pair.Server)
	for _, k := range []port.Port{udp(9), tcp(9)} {
		addrs, err := Resolve(t.Context(), there.String()+"%"+lab.ClientDevice, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := sendFrom(t, pair.Client, addrs, []port.Port{k}, Options{}); err != nil {
			t.Error(err)
		}
	}
	here := linkLocal(t, pair.Client, lab.ClientDevice)
	got := c.from(t, here, here)
	want := []string{there.String() + ` udp/9 ""`, there.String() + " tcp/9 flags 0x02"}
	if !slices.Equal(texts(got), want) {
		t.Errorf("the server received %q, want %q", texts(got), want)
	}
}

// linkLocal gives the link-local address of a host's device.
func linkLocal(t *testing.T, h *lab.Namespace, device string) (found netip.Addr) {
	t.Helper()
	err := h.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		addrs, err := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsLinkLocalUnicast() {
				found = p.Addr()
			}
		}
		return err
	})
	if err != nil || !found.IsValid() {
		t.Fatalf("no link-local address of %s: %v", device, err)
	}
	return found
}
