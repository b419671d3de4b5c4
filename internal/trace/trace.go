// Package trace reads and writes packets as people do: one packet a line, with
// defaults for whatever does not matter. It is pure.
//
//	# a comment
//	udp/12345 from 192.0.2.7
//	+1.5s tcp/22                    # 1.5 s after the packet before; the source stays
//	@10s udp/5 from 2001:db8::7     # 10 s after the start of the trace
//	udp/1-65535                     # a sweep; udp/65535-1 goes down
//	wait 3s
//
// A packet is what it is addressed to, followed by words in any order:
//
//	from ADDRESS   the source; later packets keep it       (192.0.2.7)
//	sport PORT     source port                             (left open)
//	ttl N          TTL or hop limit                        (64)
//	flags F,F...   TCP: fin syn rst psh ack urg ece cwr, or none  (syn; ack if established)
//	type N         type of icmp and icmpv6                 (echo request: 8, 128)
//	state STATE    new, established, related, invalid or untracked  (new)
//	to DEST        host, broadcast, multicast, anycast or elsewhere (host)
//	via NAME       the interface that it comes in by       (left open)
//	with H,H...    headers in front: priority, a VLAN tag that names none; of IPv4
//	               nop record timestamp alert, of IPv6 hop routing destination
//	as CUT         whole, or in pieces: fragments reversed tiny atomic; in pieces
//	               that make no packet: first later overlapping (whole)
//	data HEX       of udp: what the datagram carries       (nothing that matters)
//	gap TIME       of a sweep: from one packet to the next (1ms)
//
// In brackets stands what holds without the word. A packet is addressed to
// tcp/PORT, udp/PORT, icmp, icmpv6 or proto/N. Without a time it comes 100 ms
// after the packet before, and the first at 0. After "wait TIME" it is as if the
// packet before had come later by that time.
package trace

import (
	"iter"
	"net/netip"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// Gap is the time from one packet to the next, SweepGap that within a sweep,
// unless a trace says otherwise.
const (
	Gap      = 100 * time.Millisecond
	SweepGap = time.Millisecond
)

// DefaultTTL is what Linux sends with (net.ipv4.ip_default_ttl).
const DefaultTTL = 64

// Bounds of what a trace may ask for.
const (
	MaxPackets = 1 << 20
	MaxTime    = 10 * 365 * 24 * time.Hour
)

// DefaultSource is the source of packets before any is named (TEST-NET-1, RFC 5737).
func DefaultSource() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 7}) }

// Trace is a list of packets in the order of their time.
type Trace struct {
	Steps []Step
	End   time.Duration // not before the last packet
}

// Step is one line of a trace: a packet, or a sweep over ports.
type Step struct {
	Line   int              // where it stands, counted from 1
	Packet automaton.Packet // the first
	Last   uint16           // the port of the last packet; that of Packet if it is no sweep
	Gap    time.Duration    // of a sweep, from one packet to the next
}

// Len is the number of packets.
func (s Step) Len() int {
	return max(int(s.Last)-int(s.Packet.To.Number), int(s.Packet.To.Number)-int(s.Last)) + 1
}

// Packets are the packets of a step.
func (s Step) Packets() iter.Seq[automaton.Packet] {
	return func(yield func(automaton.Packet) bool) {
		p := s.Packet
		for range s.Len() {
			if !yield(p) {
				return
			}
			p.Time += s.Gap
			if s.Last < p.To.Number {
				p.To.Number--
			} else {
				p.To.Number++
			}
		}
	}
}

// end is the time of the last packet.
func (s Step) end() time.Duration { return s.Packet.Time + time.Duration(s.Len()-1)*s.Gap }

// Packets are all packets of a trace.
func (t *Trace) Packets() iter.Seq[automaton.Packet] {
	return func(yield func(automaton.Packet) bool) {
		for _, s := range t.Steps {
			for p := range s.Packets() {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// New makes a trace of single packets.
func New(packets []automaton.Packet) *Trace {
	t := &Trace{}
	for i, p := range packets {
		t.Steps = append(t.Steps, Step{Line: i + 1, Packet: p, Last: p.To.Number})
		t.End = p.Time
	}
	return t
}

// defaultFlags are those of a TCP packet that says nothing of flags.
func defaultFlags(p automaton.Packet) uint8 {
	switch {
	case p.To.Proto != port.TCP:
		return 0
	case p.Conn == automaton.Established:
		return automaton.ACK
	}
	return automaton.SYN
}

// defaultType is the type of an ICMP packet that says nothing of it: an echo
// request (RFC 792, RFC 4443).
func defaultType(p port.Proto) uint8 {
	switch p {
	case port.ICMP:
		return 8
	case port.ICMPv6:
		return 128
	}
	return 0
}
