package verify

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

func addrFrom(b [16]byte) netip.Addr { return netip.AddrFrom16(b) }

// search looks for a difference by trying packet sequences one after the other: for
// what the exploration cannot say, such as lists that many sources share, or a limit
// of another rate.
func (e *explorer) search() []Difference {
	var found []Difference
	try := func(packets []automaton.Packet) {
		if d, ok := trial(e.g, e.m.rs, spread(packets)); ok {
			found = addDifference(found, shrink(e.g, e.m.rs, d))
		}
	}
	for i := range min(len(e.g.Doors), maxSearchDoors) {
		for _, packets := range e.likely(i) {
			try(packets)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < randomTrials && len(found) == 0; i++ {
		try(e.random(rng))
	}
	return found
}

const (
	maxSearchDoors = 4
	randomTrials   = 3000
)

// company are addresses that stand near a source, or far from it.
func (e *explorer) company(src netip.Addr) []netip.Addr {
	near := func(bit int) netip.Addr {
		b := src.AsSlice()
		b[bit/8] ^= 0x80 >> (bit % 8)
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	if src.Is4() {
		return []netip.Addr{near(31), near(23), near(15), near(7)}
	}
	return []netip.Addr{near(127), near(63), near(47), near(31)}
}

// likely are sequences around one door.
func (e *explorer) likely(door int) [][]automaton.Packet {
	d := &e.g.Doors[door]
	srcs := e.s.admits[door].without(e.s.trusted)
	if srcs.empty() {
		return nil
	}
	r := e.g.Classes[d.Class].Services[0]
	service := port.Port{Proto: r.Proto, Number: r.First}
	var out [][]automaton.Packet
	whole := append(slices.Clone(d.Knocks), service, service)
	add := func(change func(i int, p *automaton.Packet)) {
		var packets []automaton.Packet
		for i, k := range whole {
			p := e.plain(k, srcs, time.Duration(i)*packetGap)
			change(i, &p)
			packets = append(packets, p)
		}
		out = append(out, packets)
	}
	add(func(int, *automaton.Packet) {})
	src := e.sp.srcs[srcs.first()].addr
	for _, other := range e.company(src) {
		for cut := range whole {
			// From here on somebody else goes on; or somebody else did this one packet.
			add(func(i int, p *automaton.Packet) {
				if i >= cut {
					p.Src = other
				}
			})
			out = append(out, e.interrupted(whole, srcs, cut, func(p *automaton.Packet) { p.Src = other }))
		}
	}
	for cut := range whole {
		add(func(i int, p *automaton.Packet) {
			if i >= cut {
				p.TTL = 63
			}
		})
		out = append(out, e.interrupted(whole, srcs, cut, func(p *automaton.Packet) { p.TTL = 63 }))
		for _, wait := range e.waits(d) {
			add(func(i int, p *automaton.Packet) {
				if i >= cut {
					p.Time += wait
				}
			})
		}
	}
	return append(out, e.drains(d, whole, srcs)...)
}

// interrupted puts a wrong packet, and the door's knocks, of another source into a
// sequence.
func (e *explorer) interrupted(whole []port.Port, srcs bitset, cut int, change func(*automaton.Packet)) []automaton.Packet {
	var packets []automaton.Packet
	put := func(k port.Port, other bool) {
		p := e.plain(k, srcs, time.Duration(len(packets))*packetGap)
		if other {
			change(&p)
		}
		packets = append(packets, p)
	}
	for i, k := range whole {
		if i == cut {
			put(e.wrong(), true)
			put(whole[0], true)
		}
		put(k, false)
	}
	return packets
}

func (e *explorer) waits(d *automaton.Door) []time.Duration {
	var out []time.Duration
	for _, t := range []time.Duration{e.g.StepTimeout, e.g.Classes[d.Class].OpenFor, automaton.BucketLife} {
		for _, f := range []time.Duration{t / 2, t * 3 / 4, t + time.Second, 2 * t} {
			if f > 0 {
				out = append(out, f)
			}
		}
	}
	return out
}

// drains empty the bucket at some place of a sequence, and go on at once or after
// some tokens have come in again.
func (e *explorer) drains(d *automaton.Door, whole []port.Port, srcs bitset) [][]automaton.Packet {
	var out [][]automaton.Packet
	depth := e.g.PerSource * automaton.BucketDepth
	if depth > maxDrain/8 {
		return nil
	}
	for cut := 1; cut < len(whole); cut++ {
		for _, n := range []int{depth / 2, depth - cut, depth, depth + 1, 2 * depth, 4 * depth} {
			for _, pause := range []time.Duration{0, time.Second / time.Duration(e.g.PerSource), time.Second} {
				var packets []automaton.Packet
				at := time.Duration(0)
				for i, k := range whole {
					if i == cut {
						for range max(n, 0) {
							packets = append(packets, e.plain(whole[cut-1], srcs, at))
						}
					}
					packets = append(packets, e.plain(k, srcs, at))
					if i >= cut {
						at += pause
					}
				}
				out = append(out, packets)
			}
		}
	}
	return out
}

// random is a sequence around the doors' knocks.
func (e *explorer) random(rng *rand.Rand) []automaton.Packet {
	var packets []automaton.Packet
	first := e.s.admits[rng.IntN(len(e.g.Doors))]
	if first.empty() {
		first = fullBitset(len(e.sp.srcs))
	}
	src := e.sp.srcs[first.first()].addr
	sources := append(e.company(src), src, src, src)
	at := time.Duration(0)
	for len(packets) < 40 {
		d := &e.g.Doors[rng.IntN(len(e.g.Doors))]
		r := e.g.Classes[d.Class].Services[0]
		from := sources[rng.IntN(len(sources))]
		for _, k := range append(slices.Clone(d.Knocks), port.Port{Proto: r.Proto, Number: r.First}) {
			if rng.IntN(6) == 0 {
				k = e.wrong()
			}
			if rng.IntN(10) == 0 {
				from = sources[rng.IntN(len(sources))]
			}
			p := e.plain(k, fullBitset(len(e.sp.srcs)), at)
			p.Src = from
			if rng.IntN(12) == 0 {
				p.TTL = 63
			}
			if rng.IntN(12) == 0 {
				p.Conn = []automaton.Conn{automaton.Related, automaton.Invalid, automaton.Untracked}[rng.IntN(3)]
			}
			packets = append(packets, p)
			at += []time.Duration{packetGap, packetGap, packetGap, time.Second, e.g.StepTimeout}[rng.IntN(5)]
		}
	}
	return packets
}
