package verify

import (
	"cmp"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// Difference is a sequence of packets to whose last one the ruleset does something else
// than the policy says.
type Difference struct {
	Packets []automaton.Packet
	Want    automaton.Outcome // of the last packet
	Got     Judgement
}

// trial sends packets at both sides and gives the first difference.
func (e *explorer) trial(packets []automaton.Packet) (Difference, bool) {
	in, sim := automaton.NewInterpreter(e.g), NewSimulator(e.m.pool.plain)
	for i, p := range packets {
		want := in.Packet(p)
		got, err := sim.Packet(p)
		if err != nil {
			return Difference{}, false
		}
		if got.Verdict != want.Verdict.String() && !e.scope.ignores(e.g, p.To) {
			return Difference{packets[:i+1], want, got}, true
		}
	}
	return Difference{}, false
}

// shrink leaves packets out as long as a difference of the same kind stays.
func (e *explorer) shrink(d Difference) Difference {
	for size := len(d.Packets) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(d.Packets); {
			less := slices.Delete(slices.Clone(d.Packets), at, at+size)
			if n, ok := e.trial(less); ok && n.Got.Verdict == d.Got.Verdict && n.Want.Verdict == d.Want.Verdict {
				d = n
			} else {
				at += size
			}
		}
	}
	return d
}

// maxDifferences is how many differences to tell of, each of another kind.
const maxDifferences = 8

// confirm tries the suspects on the interpreter and the simulator, and gives those
// that are real, the shortest of each kind.
func (e *explorer) confirm() []Difference {
	var found []Difference
	for _, s := range e.suspects {
		if d, ok := e.realize(s); ok {
			found = addDifference(found, d)
			if e.one {
				break
			}
		}
	}
	return found
}

// addDifference keeps one difference of a kind: that of the fewest packets, the plainest
// if there are several.
func addDifference(found []Difference, d Difference) []Difference {
	for i, o := range found {
		if o.Want.Verdict == d.Want.Verdict && o.Want.Reason == d.Want.Reason && o.Got == d.Got {
			if cmp.Or(cmp.Compare(len(d.Packets), len(o.Packets)), cmp.Compare(d.odd(), o.odd())) < 0 {
				found[i] = d
			}
			return found
		}
	}
	if len(found) >= maxDifferences {
		return found
	}
	return append(found, d)
}

// odd counts what is unusual about the packets.
func (d Difference) odd() int {
	n := 0
	for _, p := range d.Packets {
		for _, odd := range []bool{p.Conn != automaton.New, p.Dest != automaton.ToHost, p.Iface != "", p.SrcPort != 0, p.Flags&^automaton.SYN != 0} {
			if odd {
				n++
			}
		}
	}
	return n
}

// realize makes packets of the way to a suspect.
func (e *explorer) realize(s suspect) (Difference, bool) {
	packets, _ := e.way(s)
	d, ok := e.trial(spread(packets))
	if !ok {
		return d, false
	}
	return e.shrink(d), true
}

// way makes packets of the way to a suspect, and of its last packet.
func (e *explorer) way(s suspect) (packets []automaton.Packet, src bitset) {
	events := []event{s.event}
	path := []int{s.node}
	for i := s.node; e.nodes[i].parent >= 0; i = e.nodes[i].parent {
		events = append(events, e.nodes[i].event)
		path = append(path, e.nodes[i].parent)
	}
	slices.Reverse(events)
	slices.Reverse(path)
	src = newBitset(len(e.sp.srcs))
	src.add(e.sourceFor(events, s.event.b.srcs.and(e.nodes[s.node].srcs)))
	same := e.sp.sameSources(src)
	for i, ev := range events {
		at := e.nodes[path[i]].at + packetGap
		switch {
		case ev.packet:
			ev.b.ports = e.s.single(ev.atom)
			p := e.sp.packet(ev.b, same)
			p.Time = at
			if ev.limit == isEmpty {
				packets = append(packets, e.drain(&e.nodes[path[i]], p)...)
			}
			packets = append(packets, p)
		case ev.bucket:
			packets = append(packets, e.fromNeighbour(src, at))
		}
	}
	return append(e.grantsFirst(events, src), packets...), src
}

// sourceFor picks a source to which the doors open that the way has chosen to be open.
func (e *explorer) sourceFor(events []event, srcs bitset) int {
	for _, ev := range events {
		for _, h := range ev.g {
			if !h.yes {
				continue
			}
			admitted := newBitset(len(e.sp.srcs))
			for i, d := range e.g.Doors {
				if d.Class == h.class {
					admitted = admitted.or(e.s.admits[i])
				}
			}
			if srcs.meets(admitted) {
				srcs = srcs.and(admitted)
			}
		}
	}
	return srcs.first()
}

// spread sees to it that time never goes back.
func spread(packets []automaton.Packet) []automaton.Packet {
	shift := time.Duration(0)
	for i := range packets {
		packets[i].Time += shift
		if i > 0 && packets[i].Time < packets[i-1].Time {
			more := packets[i-1].Time + packetGap - packets[i].Time
			shift += more
			packets[i].Time += more
		}
	}
	return packets
}

// grantsFirst opens the doors that the way has chosen to be open.
func (e *explorer) grantsFirst(events []event, src bitset) []automaton.Packet {
	open := make(map[int]bool)
	for _, ev := range events {
		for _, h := range ev.g {
			if h.yes {
				open[h.class] = true
			}
		}
	}
	var packets []automaton.Packet
	for _, class := range sortedKeys(open) {
		for i, d := range e.g.Doors {
			if d.Class != class || !e.s.admits[i].meets(src) {
				continue
			}
			for _, k := range d.Knocks {
				packets = append(packets, e.plain(k, src, time.Duration(len(packets))*packetGap))
			}
			break
		}
	}
	return packets
}

// plain is a packet that begins something.
func (e *explorer) plain(to port.Port, src bitset, at time.Duration) automaton.Packet {
	p := automaton.Packet{Time: at, Src: e.sp.srcs[src.first()].addr, To: to, TTL: 64}
	if to.Proto == port.TCP {
		p.Flags = automaton.SYN
	}
	return p
}

// maxDrain bounds how many packets a counterexample may take to empty a bucket.
const maxDrain = 50_000

// drain empties the bucket of a source without moving it, if that can be done.
func (e *explorer) drain(v *visit, before automaton.Packet) []automaton.Packet {
	to := e.wrong()
	if v.state.place != automaton.Root {
		to = e.s.places[v.state.place].Knock
	}
	n := min(e.g.PerSource*automaton.BucketDepth+1, maxDrain)
	p := e.plain(to, fullBitset(len(e.sp.srcs)), before.Time)
	p.Src = before.Src
	return slices.Repeat([]automaton.Packet{p}, n)
}

// wrong is a port that is heard, and neither a knock nor a service.
func (e *explorer) wrong() port.Port {
	known := e.s.service.or(e.s.public)
	for s := 1; s < len(e.s.places); s++ {
		known.add(e.s.knock(automaton.State(s)))
	}
	free := e.s.heard.and(e.s.answered).without(known)
	if free.empty() {
		return port.Port{Proto: port.UDP, Number: 9}
	}
	a := e.sp.atoms[free.first()]
	return port.Port{Proto: a.proto, Number: plainPort(a)}
}

// fromNeighbour is a first knock of another address of an IPv6 source's network.
func (e *explorer) fromNeighbour(src bitset, at time.Duration) automaton.Packet {
	first := port.Port{Proto: port.UDP, Number: 9}
	if firsts := otherFirsts(e.g); len(firsts) > 0 {
		first = firsts[0]
	}
	p := e.plain(first, src, at)
	b := p.Src.As16()
	b[15] ^= 0x55
	p.Src = addrFrom(b)
	return p
}
