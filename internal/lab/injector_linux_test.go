package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

const (
	syn = 0x02
	ack = 0x10

	openPort   = 80
	closedPort = 81
)

// bench is a pair with all instruments, and services of both families.
type bench struct {
	*lab.Pair
	*lab.Injector
	*lab.Observer
	server, forged netip.Addr
}

func (b *bench) Close() {} // of three; the cleanups do it

// eachFamily runs a test on a pair of its own with IPv4 and with IPv6 addresses.
func eachFamily(t *testing.T, f func(*testing.T, *bench)) {
	for _, family := range []struct {
		name           string
		server, forged netip.Addr
	}{
		{"IPv4", lab.Server4(), lab.Forged4(0)},
		{"IPv6", lab.Server6(), lab.Forged6(0)},
	} {
		t.Run(family.name, func(t *testing.T) {
			b := &bench{Pair: labtest.Pair(t, lab.PairOptions{}), server: family.server, forged: family.forged}
			var err error
			if b.Injector, err = lab.NewInjector(b.Pair); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Injector.Close() })
			if b.Observer, err = lab.NewObserver(t.Context(), b.Pair); err != nil {
				t.Fatal(err)
			}
			f(t, b)
		})
	}
}

func (b *bench) serve(t *testing.T, proto port.Proto) {
	t.Helper()
	r, err := lab.NewResponder(b.Server, proto, netip.AddrPortFrom(b.server, openPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (b *bench) packet(proto port.Proto, to uint16, tag uint32) lab.Packet {
	p := lab.Packet{Src: b.forged, Dst: b.server, Proto: proto, SrcPort: 40000, DstPort: to, Tag: tag}
	if proto == port.TCP {
		p.Flags = syn
	}
	return p
}

func (b *bench) icmp() (proto port.Proto, echo, portUnreachable uint8) {
	if b.server.Is4() {
		return port.ICMP, 8, lab.PortUnreachable4
	}
	return port.ICMPv6, 128, lab.PortUnreachable6
}

func (b *bench) send(t *testing.T, packets ...lab.Packet) {
	t.Helper()
	if err := b.Send(t.Context(), packets...); err != nil {
		t.Fatal(err)
	}
}

// answers maps the tags to what was answered.
func (b *bench) answers(t *testing.T) map[uint32]string {
	t.Helper()
	list, err := b.Answers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint32]string{}
	for _, a := range list {
		if a.Dst != b.forged && a.Tag == 0 {
			continue // the server's own chatter
		}
		got[a.Tag] = fmt.Sprintf("%s %s", a.Kind, port.Port{Proto: a.Proto, Number: a.SrcPort})
		if a.Kind == lab.Unreachable {
			got[a.Tag] += fmt.Sprintf(" code %d", a.Code)
		}
	}
	return got
}

func tags(list ...uint32) map[uint32]bool {
	m := map[uint32]bool{}
	for _, tag := range list {
		m[tag] = true
	}
	return m
}

// seen compares what was observed of the tags below 1000.
func (b *bench) seen(t *testing.T, list func(context.Context) (map[uint32]bool, error), want ...uint32) {
	t.Helper()
	all, err := list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint32]bool{}
	for tag := range all {
		if 0 < tag && tag < 1000 {
			got[tag] = true
		}
	}
	if diff := cmp.Diff(tags(want...), got); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// The kernel itself is the judge of what the injector makes: each answer here is one
// that it gives to a correct packet only.
func TestKernelAnswers(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bench) {
		b.serve(t, port.TCP)
		icmp, echo, portUnreachable := b.icmp()
		ping := b.packet(icmp, 0, 5)
		ping.ICMPType, ping.Payload = echo, []byte("odd")
		unheard := b.packet(port.TCP, openPort, 6)
		unheard.BadChecksum = true
		deaf := b.packet(port.UDP, closedPort, 7)
		deaf.BadChecksum = true
		mute := ping
		mute.Tag, mute.BadChecksum = 8, true
		tagged := b.packet(port.UDP, closedPort, 9)
		tagged.Tagged = true // VLAN 0: a priority, no network
		elsewhere := b.packet(port.UDP, closedPort, 10)
		elsewhere.Tagged, elsewhere.VLAN = true, 5
		options := b.packet(port.UDP, closedPort, 11)
		if b.server.Is4() {
			options.Options = []byte{1, 1, 1} // no operation
		} else {
			experiment := append([]byte{0x1e, 8}, make([]byte, 8)...) // RFC 4727, section 3.4
			options.Extensions = []lab.Extension{{Header: 0, Data: []byte{1, 2, 0, 0}}, {Header: 60, Data: experiment}}
		}
		b.send(t, b.packet(port.TCP, openPort, 1), b.packet(port.TCP, closedPort, 2), b.packet(port.UDP, closedPort, 3),
			b.packet(132, 0, 4), ping, unheard, deaf, mute, tagged, elsewhere, options)

		unreachable := fmt.Sprintf("unreachable udp/%d code %d", closedPort, portUnreachable)
		want := map[uint32]string{
			1:  fmt.Sprintf("syn-ack tcp/%d", openPort),
			2:  fmt.Sprintf("reset tcp/%d", closedPort),
			3:  unreachable,
			5:  "echo-reply " + icmp.String(),
			9:  unreachable,
			11: unreachable,
		}
		got := b.answers(t)
		if b.server.Is4() {
			want[4] = "unreachable proto/132 code 2"
		} else {
			want[4] = "icmp proto/132" // RFC 4443, section 3.4: parameter problem
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		// A wrong checksum is found by the receiver, behind all firewalls.
		b.seen(t, b.Arrived, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
		b.seen(t, b.Passed, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
		if again := b.answers(t); len(again) > 0 {
			t.Errorf("the answers come twice: %v", again)
		}
		if err := b.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.seen(t, b.Passed)
	})
}

func TestDatagramContent(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bench) {
		var c *net.UDPConn
		err := b.Server.Do(func() (err error) {
			c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.server, openPort)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		full := b.packet(port.UDP, openPort, 0x01020304)
		full.Payload = []byte("hello")
		empty := b.packet(port.UDP, openPort, 1)
		empty.Untagged = true
		corrupt := full
		corrupt.BadChecksum = true
		b.send(t, corrupt, full, empty)
		buffer := make([]byte, 100)
		for _, want := range []string{"\x01\x02\x03\x04hello", ""} {
			// Send has waited for the kernel: nothing may be on its way.
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			n, from, err := c.ReadFromUDPAddrPort(buffer)
			if err != nil || string(buffer[:n]) != want || from != netip.AddrPortFrom(b.forged, 40000) {
				t.Errorf("got %q from %s, %v", buffer[:n], from, err)
			}
		}
	})
}

// The observer must tell drop from accept, wherever the drop is, and without
// connection tracking.
func TestObserverSeesDrops(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bench) {
		rules := `table inet under_test {
	chain early { type filter hook prerouting priority -200; th dport 1001 drop; }
	chain late { type filter hook input priority 0; th dport 1002 drop; }
}
`
		if _, err := b.Server.Run(t.Context(), rules, "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		for n, proto := range []port.Proto{port.TCP, port.UDP} {
			tag := uint32(10 * n)
			b.send(t, b.packet(proto, 1001, tag+1), b.packet(proto, 1002, tag+2), b.packet(proto, 1003, tag+3))
		}
		b.seen(t, b.Arrived, 1, 2, 3, 11, 12, 13)
		b.seen(t, b.Passed, 3, 13)
		if got := b.answers(t); len(got) != 2 {
			t.Errorf("answers: %v", got)
		}
		if out, err := b.Server.Run(t.Context(), "", "cat", "/proc/sys/net/netfilter/nf_conntrack_count"); err == nil && out != "0\n" {
			t.Errorf("connection tracking is at work: %s entries", out)
		}
		if err := b.Observer.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := b.Passed(t.Context()); err == nil {
			t.Error("no error after close")
		}
	})
}

func TestBroadcastAndMulticast(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	b := &bench{Pair: p}
	var err error
	if b.Injector, err = lab.NewInjector(p); err != nil {
		t.Fatal(err)
	}
	defer b.Injector.Close()
	if b.Observer, err = lab.NewObserver(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	// Sockets bound to any address hear what is sent to all.
	var tag uint32
	for _, network := range []string{"udp4", "udp6"} {
		var c *net.UDPConn
		err := p.Server.Do(func() (err error) {
			c, err = net.ListenUDP(network, &net.UDPAddr{Port: openPort})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		src, dsts := lab.Forged4(0), []string{"10.9.0.255", "255.255.255.255", "224.0.0.1"}
		if network == "udp6" {
			src, dsts = lab.Forged6(0), []string{"ff02::1", "fe80::ff:fe00:901"}
		}
		for _, dst := range dsts {
			tag++
			b.send(t, lab.Packet{Src: src, Dst: netip.MustParseAddr(dst), Proto: port.UDP, SrcPort: 1, DstPort: openPort, Tag: tag})
			buffer := make([]byte, 100)
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if n, _, err := c.ReadFromUDPAddrPort(buffer); n != 4 || err != nil {
				t.Errorf("to %s: %d bytes, %v", dst, n, err)
			}
		}
	}
	// Not for this host: it arrives and goes no further.
	b.send(t, lab.Packet{Src: lab.Forged4(0), Dst: netip.MustParseAddr("192.0.2.1"), Proto: port.UDP, DstPort: openPort, Tag: 100})
	b.seen(t, b.Arrived, 1, 2, 3, 4, 5, 100)
	b.seen(t, b.Passed, 1, 2, 3, 4, 5)
}

// A closed port answers each packet of a sweep, and none of the answers is lost.
func TestSweep(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bench) {
		var sweep []lab.Packet
		for number := 1; number < 1<<16; number++ {
			p := b.packet(port.UDP, uint16(number), uint32(number))
			p.SrcPort = uint16(number)
			sweep = append(sweep, p)
		}
		start := time.Now()
		// A set grows in the background (lib/rhashtable.c); while it lags behind, the
		// kernel adds nothing, and the observer would miss packets.
		for part := range slices.Chunk(sweep, 1024) {
			b.send(t, part...)
			time.Sleep(2 * time.Millisecond)
		}
		t.Logf("%d packets in %v", len(sweep), time.Since(start))
		got := b.answers(t)
		for _, p := range sweep {
			if want := "unreachable " + (port.Port{Proto: port.UDP, Number: p.DstPort}).String(); len(got[p.Tag]) < len(want) || got[p.Tag][:len(want)] != want {
				t.Fatalf("port %d: %q", p.DstPort, got[p.Tag])
			}
		}
		passed, err := b.Passed(t.Context())
		if err != nil || len(passed) < len(sweep) {
			t.Errorf("%d of %d passed, %v", len(passed), len(sweep), err)
		}
	})
}

// Programs of the client send from any CPU; Settle waits for all of them.
func TestSettle(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bench) {
		var c net.Conn
		err := b.Client.Do(func() (err error) {
			c, err = net.Dial("udp", netip.AddrPortFrom(b.server, closedPort).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for n := range uint32(500) {
			tag := n + 1
			// The answers to earlier packets make an error, and they are sent nevertheless.
			for range 3 {
				if _, err = c.Write([]byte{0, 0, byte(tag >> 8), byte(tag)}); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			list, err := b.Answers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, a := range list {
				found = found || a.Tag == tag && a.Kind == lab.Unreachable
			}
			if !found {
				t.Fatalf("packet %d: the answer is not there: %v", tag, list)
			}
		}
	})
}

const conntrackRules = `table inet under_test {
	chain input {
		type filter hook input priority 0;
		ct state established accept
		tcp dport 80 tcp flags & (syn | ack) == syn accept
		udp dport 80 udp length 15 accept
		meta l4proto { tcp, udp } drop
	}
}
`

func TestFlow(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bench) {
		b.serve(t, port.TCP)
		if _, err := b.Server.Run(t.Context(), conntrackRules, "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		src, dst := netip.AddrPortFrom(b.forged, 40001), netip.AddrPortFrom(b.server, openPort)
		flow, err := b.Connect(t.Context(), src, dst, 1)
		if err != nil {
			t.Fatal(err)
		}
		// Only what connection tracking calls established gets past the rules.
		hello, stranger := flow.Next([]byte("hello")), b.packet(port.TCP, openPort, 100)
		stranger.Flags, stranger.Ack = ack, 1
		b.send(t, hello, stranger)
		b.seen(t, b.Arrived, 1, 2, 100) // the ACK of the handshake has the number of the data
		b.seen(t, b.Passed, 1, 2)
		echo, err := b.AwaitAnswer(t.Context(), func(a lab.Answer) bool {
			return a.Kind == lab.Segment && a.Ack == hello.Tag+5 && a.DstPort == src.Port()
		})
		if err != nil {
			t.Fatal(err)
		}
		flow.Acknowledge(echo, 5)
		last := flow.Next([]byte("bye"))
		b.send(t, last, flow.Finish(), flow.Abort())
		b.seen(t, b.Passed, 1, 2, 7, 10, 11)
		if _, err := b.Connect(t.Context(), src, netip.AddrPortFrom(b.server, closedPort), 200); !errors.Is(err, lab.ErrRefused) {
			t.Errorf("connected to a closed port: %v", err)
		}
	})
}

func TestDatagramFlow(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bench) {
		b.serve(t, port.UDP)
		if _, err := b.Server.Run(t.Context(), conntrackRules, "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		hello, later := b.packet(port.UDP, openPort, 1), b.packet(port.UDP, openPort, 2)
		hello.Payload = []byte("abc") // the length that the rules ask of a first datagram
		stranger := b.packet(port.UDP, openPort, 3)
		stranger.SrcPort++
		b.send(t, later) // not yet
		b.seen(t, b.Passed)
		if err := b.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.send(t, hello)
		if _, err := b.AwaitAnswer(t.Context(), func(a lab.Answer) bool { return a.Kind == lab.Datagram && a.Tag == 1 }); err != nil {
			t.Fatal(err)
		}
		b.send(t, later, stranger)
		b.seen(t, b.Arrived, 1, 2, 3)
		b.seen(t, b.Passed, 1, 2)
	})
}

func TestInjectorErrors(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	i, err := lab.NewInjector(p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := i.AwaitAnswer(ctx, func(lab.Answer) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an answer that does not come: %v", err)
	}
	if err := i.Send(t.Context(), lab.Packet{}); err == nil {
		t.Error("an empty packet was sent")
	}
	if out, err := p.Server.Run(t.Context(), "", "ip", "-4", "address", "flush", "dev", lab.ServerDevice); err != nil {
		t.Fatal(out, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := i.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a server without an address: %v", err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if i.Close() == nil || i.Settle(t.Context()) == nil {
		t.Error("no error after close")
	}
}
