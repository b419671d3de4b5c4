package automatontest

import (
	"net/netip"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// Trace draws packets that often lead somewhere: each source mostly follows
// some door's knocks to its service, and errs now and then.
func Trace(t *rapid.T, g *automaton.Program, o Options) []automaton.Packet {
	w := &walker{t: t, g: g, o: o, plans: make(map[netip.Addr][]port.Port)}
	var packets []automaton.Packet
	for range rapid.IntRange(1, 60).Draw(t, "packets") {
		packets = append(packets, w.packet())
	}
	return packets
}

// walker remembers what each source means to send next.
type walker struct {
	t     *rapid.T
	g     *automaton.Program
	o     Options
	now   time.Duration
	plans map[netip.Addr][]port.Port
}

func (w *walker) packet() automaton.Packet {
	w.now += w.gap()
	p := automaton.Packet{
		Time: w.now,
		Src:  rapid.SampledFrom(Sources()).Draw(w.t, "source"),
		TTL:  pick(w.t, "ttl", uint8(64), 64, 64, 63),
	}
	switch p.To = w.target(p.Src); p.To.Proto {
	case port.TCP:
		p.Flags = automaton.SYN
	case port.ICMP:
		p.ICMP = 8
	case port.ICMPv6:
		p.ICMP = 128
	}
	if pick(w.t, "odd", false, false, false, false, false, true) {
		w.odd(&p)
	}
	return p
}

func (w *walker) gap() time.Duration {
	few := []time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}
	if !w.o.Laboratory {
		few = append(few, time.Second-1, time.Second, 2*time.Second, 2*time.Second-1, time.Hour)
	}
	return rapid.SampledFrom(few).Draw(w.t, "gap")
}

// target is the next port of a source's plan, or any port.
func (w *walker) target(src netip.Addr) port.Port {
	if pick(w.t, "astray", false, false, false, false, true) {
		return w.anything(src)
	}
	plan := w.plans[src]
	if len(plan) == 0 {
		d := rapid.SampledFrom(w.g.Doors).Draw(w.t, "door")
		service := rapid.SampledFrom(w.g.Classes[d.Class].Services).Draw(w.t, "service")
		to := port.Port{Proto: service.Proto, Number: rapid.Uint16Range(service.First, service.Last).Draw(w.t, "port")}
		plan = append(append([]port.Port{}, d.Knocks...), to)
	}
	if again := pick(w.t, "again", false, false, false, false, true); again {
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
	return rapid.SampledFrom(few).Draw(w.t, "port")
}

// odd makes a packet unusual in one way.
func (w *walker) odd(p *automaton.Packet) {
	switch pick(w.t, "how", "flags", "conn", "dest", "iface", "type", "dhcp") {
	case "flags":
		if p.To.Proto == port.TCP {
			p.Flags = pick(w.t, "flags", automaton.ACK, automaton.PSH|automaton.ACK)
			if !w.o.Laboratory {
				p.Flags = rapid.Uint8Range(0, 63).Draw(w.t, "flags")
			}
		}
	case "conn":
		if w.o.Laboratory && p.To.Proto != port.TCP && p.To.Proto != port.UDP {
			return
		}
		states := []automaton.Conn{automaton.Invalid, automaton.Untracked}
		if !w.o.Laboratory {
			states = append(states, automaton.Established, automaton.Related)
		}
		p.Conn = rapid.SampledFrom(states).Draw(w.t, "conn")
	case "dest":
		dests := []automaton.Dest{automaton.ToMulticast}
		if p.Src.Is4() {
			dests = append(dests, automaton.ToBroadcast)
		}
		if !w.o.Laboratory {
			dests = append(dests, automaton.ToAnycast, automaton.ToElsewhere)
		}
		p.Dest = rapid.SampledFrom(dests).Draw(w.t, "dest")
	case "iface":
		if !w.o.Laboratory {
			p.Iface = pick(w.t, "iface", "lo", "wg0", "eth0")
		}
	case "type":
		// Requests and neighbour discovery: conntrack finds answers that nobody
		// asked for invalid.
		switch p.To.Proto {
		case port.ICMP:
			p.ICMP = pick(w.t, "type", uint8(8), 13)
		case port.ICMPv6:
			p.ICMP = pick(w.t, "type", uint8(128), 135, 136)
		}
	case "dhcp":
		if p.To == (port.Port{Proto: port.UDP, Number: 68}) {
			p.SrcPort = 67
		}
		if !w.o.Laboratory && p.Src.Is6() {
			p.Src = netip.MustParseAddr("fe80::1")
		}
	}
}
