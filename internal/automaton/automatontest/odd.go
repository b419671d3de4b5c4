package automatontest

import (
	"net/netip"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// odd makes a packet unusual in one way.
func (w *walker) odd(p *automaton.Packet) {
	switch pick(w.roll, "how", "flags", "flags", "conn", "conn", "dest", "iface", "type", "dhcp") {
	case "flags":
		w.flags(p)
	case "conn":
		w.conn(p)
	case "dest":
		dests := []automaton.Dest{automaton.ToMulticast}
		if p.Src.Is4() {
			dests = append(dests, automaton.ToBroadcast)
		}
		if !w.o.Laboratory {
			dests = append(dests, automaton.ToAnycast, automaton.ToElsewhere)
		}
		p.Dest = pick(w.roll, "dest", dests...)
	case "iface":
		p.Iface = Device
		if !w.o.Laboratory {
			p.Iface = pick(w.roll, "iface", "lo", Device, "eth0")
		}
	case "type":
		// Requests and neighbour discovery: conntrack finds answers that nobody
		// asked for invalid.
		switch p.To.Proto {
		case port.ICMP:
			p.ICMP = pick(w.roll, "type", uint8(8), 13)
		case port.ICMPv6:
			p.ICMP = pick(w.roll, "type", uint8(128), 135, 136)
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

// flags gives a TCP segment any flags. Of those that begin no connection
// connection tracking takes on segments with ACK alone, as of a flow that it has
// missed, and finds the others invalid; PSH, ECE and CWR make no difference to it.
func (w *walker) flags(p *automaton.Packet) {
	if p.To.Proto != port.TCP {
		return
	}
	if !w.o.Laboratory {
		p.Flags = uint8(w.roll("flags", 256))
		return
	}
	extra := pick(w.roll, "more flags", 0, automaton.PSH, automaton.ECE|automaton.CWR, automaton.PSH|automaton.CWR)
	if pick(w.roll, "flags of a flow", false, true) {
		p.Flags = extra | pick(w.roll, "flags", automaton.ACK, automaton.SYN, automaton.ACK|automaton.URG, automaton.SYN|automaton.URG)
		return
	}
	p.Conn = automaton.Invalid
	p.Flags = extra | pick(w.roll, "flags", 0, automaton.FIN, automaton.RST, automaton.SYN|automaton.FIN, automaton.SYN|automaton.RST,
		automaton.SYN|automaton.ACK, automaton.FIN|automaton.ACK, automaton.RST|automaton.ACK, automaton.FIN|automaton.URG,
		automaton.SYN|automaton.ACK|automaton.FIN, automaton.URG)
}

func (w *walker) conn(p *automaton.Packet) {
	if w.o.Laboratory && p.To.Proto != port.TCP && p.To.Proto != port.UDP {
		return
	}
	states := []automaton.Conn{automaton.Invalid, automaton.Untracked, automaton.Related}
	if !w.o.Laboratory {
		states = append(states, automaton.Established)
	}
	p.Conn = pick(w.roll, "conn", states...)
	if p.Conn == automaton.Related {
		p.Data = "" // a flow is expected that begins with any packet
	}
}

// wire says how a packet is written: most are plain.
func (w *walker) wire(p *automaton.Packet) {
	if pick(w.roll, "headers", false, false, false, false, true) {
		p.With = automaton.Headers(w.roll("headers", 256))
		if p.Src.Is4() {
			p.With &= automaton.PriorityTag | automaton.NoOperation | automaton.RecordRoute | automaton.Timestamp | automaton.RouterAlert
		} else {
			p.With &= automaton.PriorityTag | automaton.HopByHop | automaton.Routing | automaton.Destinations
		}
	}
	if p.Conn == automaton.Untracked && w.o.Laboratory && w.g.Firewall {
		// They may be refused without an answer, see docs/semantics.md.
		p.With &^= automaton.RecordRoute | automaton.Timestamp
	}
	if !pick(w.roll, "cut", false, false, false, false, true) {
		return
	}
	p.Cut = pick(w.roll, "cut", automaton.Fragments, automaton.Fragments, automaton.Reversed, automaton.Tiny, automaton.Atomic,
		automaton.First, automaton.Later, automaton.Overlapping)
	switch {
	case p.Cut == automaton.Atomic && p.Src.Is4():
		p.Cut = automaton.Uncut
	case p.Cut == automaton.Tiny && p.Src.Is6() && p.To.Proto == port.TCP:
		// Backends differ about these, see docs/semantics.md.
		if p.Conn = automaton.Invalid; w.o.Laboratory {
			p.Cut = automaton.Fragments
		}
	}
}
