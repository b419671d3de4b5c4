package automatontest

import (
	"net/netip"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/sample"
)

// Sources are the addresses that most random packets come from: two of IPv4, two of
// one /64 and one of another.
func Sources() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("10.9.0.20"), netip.MustParseAddr("198.18.0.1"),
		netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:a::2"), netip.MustParseAddr("2001:db8:a:1::1"),
	}
}

// crowd is how many other sources there are, of each family.
const crowd = 20

func (w *walker) source() netip.Addr {
	if !pick(w.roll, "stranger", false, false, false, false, true) {
		return pick(w.roll, "source", Sources()...)
	}
	i := byte(1 + w.roll("stranger", crowd))
	if pick(w.roll, "ipv4", false, true) {
		return netip.AddrFrom4([4]byte{198, 18, 7, i})
	}
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x0a, 0, 2 + i/4, 15: i})
}

// Trace draws packets that often lead somewhere: each source mostly follows
// some door's knocks to its service, and errs now and then.
func Trace(t *rapid.T, g *automaton.Program, o Options) []automaton.Packet {
	return o.trace(rolls(t), g)
}

const most = 80 // packets

func (o Options) trace(roll dice, g *automaton.Program) []automaton.Packet {
	w := &walker{roll: roll, g: g, o: o, plans: make(map[netip.Addr][]planned), in: automaton.NewInterpreter(g)}
	if o.Users {
		w.values = sample.Values(g, sample.Live)
	}
	for _, v := range w.values {
		w.in.Load(v)
	}
	n := most
	if !o.Laboratory {
		n = 1 + roll("packets", most)
	}
	packets := make([]automaton.Packet, n)
	for i := range packets {
		packets[i] = w.packet()
	}
	return packets
}

// walker remembers what each source means to send next, and which flows there are.
type walker struct {
	roll  dice
	g     *automaton.Program
	o     Options
	now   time.Duration
	plans map[netip.Addr][]planned
	in    *automaton.Interpreter
	flows []automaton.Packet // their first packets

	values []automaton.Value // of users
}

// planned is a packet that a source means to send.
type planned struct {
	to   port.Port
	data string
}

func (w *walker) packet() automaton.Packet {
	w.now += w.gap()
	p := automaton.Packet{
		Time: w.now,
		Src:  w.source(),
		TTL:  pick(w.roll, "ttl", uint8(64), 64, 64, 64, 63, 63, 1, 255),
	}
	next := w.target(p.Src)
	p.To, p.Data = next.to, next.data
	if len(w.flows) > 0 && pick(w.roll, "of a flow", false, false, false, false, false, true) {
		w.ofFlow(&p)
	}
	if p.Conn == automaton.New {
		w.fresh(&p)
	}
	w.wire(&p)
	w.begins(p)
	return p
}

// begins takes note of the first packet of a flow that a listening service
// answers. Linux itself loses fragments behind some headers.
func (w *walker) begins(p automaton.Packet) {
	lost := p.Cut != automaton.Uncut && p.With&(automaton.Routing|automaton.Destinations) != 0
	answered := p.To.Proto == port.UDP || p.To.Proto == port.TCP && p.Flags&(automaton.SYN|automaton.ACK) == automaton.SYN
	if w.in.Packet(p).Verdict == automaton.Accept && answered && p.Conn == automaton.New &&
		p.Dest == automaton.ToHost && p.SrcPort == 0 && p.Iface == "" && !lost {
		w.flows = append(w.flows, p)
	}
}

// gap is the time since the packet before.
func (w *walker) gap() time.Duration {
	few := []time.Duration{0, 0, 0, 0, 0, 0, 10 * time.Millisecond, 350 * time.Millisecond, 1100 * time.Millisecond, 2200 * time.Millisecond}
	if !w.o.Laboratory {
		few = []time.Duration{
			0, 10 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
			time.Second - 1, time.Second, 2 * time.Second, 2*time.Second - 1, time.Hour,
		}
	}
	d := pick(w.roll, "gap", few...)
	if w.o.Laboratory && w.now+d > w.o.Span {
		return 0
	}
	return d
}

// target is the next port of a source's plan, or any port.
func (w *walker) target(src netip.Addr) planned {
	if pick(w.roll, "astray", false, false, false, false, true) {
		return planned{to: w.anything(src)}
	}
	plan := w.plans[src]
	if len(plan) == 0 {
		d := pick(w.roll, "door", w.g.Doors...)
		for _, k := range d.Knocks {
			plan = append(plan, planned{to: k})
		}
		if len(w.values) > 0 && pick(w.roll, "a value", false, true) {
			d, plan = w.value()
		}
		service := pick(w.roll, "service", w.g.Classes[d.Class].Services...)
		to := port.Port{Proto: service.Proto, Number: service.First + uint16(w.roll("port", int(service.Last-service.First)+1))}
		plan = append(plan, planned{to: to})
	}
	if again := pick(w.roll, "again", false, false, false, false, true); again {
		w.plans[src] = plan // the packet comes twice
	} else {
		w.plans[src] = plan[1:]
	}
	return plan[0]
}

func (w *walker) anything(src netip.Addr) port.Port {
	few := knocks()
	for _, r := range append(services(), publics()...) {
		few = append(few, port.Port{Proto: r.Proto, Number: r.First}, port.Port{Proto: r.Proto, Number: r.Last})
	}
	// 47 may be public, 99 never is; connection tracking finds nothing wrong with either.
	few = append(few, port.Port{Proto: port.UDP, Number: 9}, port.Port{Proto: port.TCP, Number: 9},
		port.Port{Proto: 47}, port.Port{Proto: 99})
	if src.Is4() {
		few = append(few, port.Port{Proto: port.ICMP}, port.Port{Proto: port.UDP, Number: 68})
	} else {
		few = append(few, port.Port{Proto: port.ICMPv6}, port.Port{Proto: port.UDP, Number: 546})
	}
	return pick(w.roll, "port", few...)
}

// fresh makes a packet of no flow.
func (w *walker) fresh(p *automaton.Packet) {
	switch p.To.Proto {
	case port.TCP:
		p.Flags = automaton.SYN
	case port.ICMP:
		p.ICMP = 8
	case port.ICMPv6:
		p.ICMP = 128
	}
	if pick(w.roll, "odd", false, false, false, false, false, true) {
		w.odd(p)
	}
}

// ofFlow makes a packet part of a flow, or an error message about one.
func (w *walker) ofFlow(p *automaton.Packet) {
	flow := pick(w.roll, "flow", w.flows...)
	p.Src, p.To, p.Conn, p.Data = flow.Src, flow.To, automaton.Established, ""
	switch {
	case pick(w.roll, "an error", false, false, true):
		p.Conn, p.To, p.ICMP = automaton.Related, port.Port{Proto: port.ICMP}, 3
		if p.Src.Is6() {
			p.To.Proto, p.ICMP = port.ICMPv6, 1
		}
	case p.To.Proto == port.TCP:
		p.Flags = pick(w.roll, "flags", automaton.ACK, automaton.ACK|automaton.PSH, automaton.ACK|automaton.URG|automaton.ECE)
	}
}
