package verify

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

func addrFrom(b [16]byte) netip.Addr { return netip.AddrFrom16(b) }

// search looks for a difference by trying packet sequences one after the other: for
// what the exploration cannot say, such as lists that many sources share, or a limit
// of another rate.
func (e *explorer) search() []Difference {
	var found []Difference
	try := func(packets []automaton.Packet) {
		if e.one && len(found) > 0 {
			return
		}
		if d, ok := e.trial(spread(packets)); ok {
			found = addDifference(found, e.shrink(d))
		}
	}
	if e.uneven != nil {
		for _, packets := range e.countings(*e.uneven) {
			try(packets)
		}
	}
	for i := 0; i < min(len(e.g.Doors), maxSearchDoors) && len(found) == 0; i++ {
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
	randomTrials   = 50
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
	if srcs.empty() || len(d.Knocks) == 0 {
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

// drains empty the bucket on the way to a door, and go on at once or once some tokens
// have come in again.
func (e *explorer) drains(d *automaton.Door, whole []port.Port, srcs bitset) [][]automaton.Packet {
	var out [][]automaton.Packet
	for _, rest := range e.emptied(d, srcs) {
		out = append(out, append([]automaton.Packet{e.plain(whole[0], srcs, 0)}, rest...))
	}
	return out
}

// countings go on from a packet that only one of two buckets has counted, until it
// shows.
func (e *explorer) countings(s suspect) [][]automaton.Packet {
	way, src := e.way(s)
	var out [][]automaton.Packet
	for i := range min(len(e.g.Doors), maxSearchDoors) {
		if !e.s.admits[i].meets(src) || len(e.g.Doors[i].Knocks) == 0 {
			continue
		}
		for _, rest := range e.emptied(&e.g.Doors[i], src) {
			last := way[len(way)-1].Time
			packets := append(slices.Clone(way), e.plain(e.g.Doors[i].Knocks[0], src, last))
			for _, p := range rest {
				p.Time += last
				packets = append(packets, p)
			}
			out = append(out, packets)
		}
	}
	return out
}

// emptied repeats a door's first knock about as often as a bucket has tokens, and then
// does the rest.
func (e *explorer) emptied(d *automaton.Door, srcs bitset) [][]automaton.Packet {
	depth := e.g.PerSource * automaton.BucketDepth
	if depth > maxDrain/8 {
		return nil
	}
	r := e.g.Classes[d.Class].Services[0]
	rest := append(slices.Clone(d.Knocks[1:]), port.Port{Proto: r.Proto, Number: r.First})
	// Bursts of packets, each with how long after the first it comes. In between an
	// element of a set may end whose time was not set anew.
	type burst struct {
		at time.Duration
		n  int
	}
	var plans [][]burst
	for n := depth - 6; n <= depth+2; n++ {
		plans = append(plans, []burst{{0, n}}, []burst{{0, depth + 1}, {time.Second, depth / 2}, {automaton.BucketLife + time.Millisecond, n - depth/2 + 2}})
	}
	for _, n := range []int{depth / 4, depth / 2, 2 * depth, 4 * depth, 12 * depth} {
		plans = append(plans, []burst{{0, n}})
	}
	var out [][]automaton.Packet
	for _, plan := range plans {
		for _, pause := range []time.Duration{0, time.Second / time.Duration(e.g.PerSource)} {
			var packets []automaton.Packet
			at := time.Duration(0)
			for _, b := range plan {
				at = b.at
				for range max(b.n, 0) {
					packets = append(packets, e.plain(d.Knocks[0], srcs, at))
				}
			}
			for _, k := range rest {
				packets = append(packets, e.plain(k, srcs, at))
				at += pause
			}
			out = append(out, packets)
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

// maxSweeps is how many plain sweeps Sweeps tries one after the other.
const maxSweeps = 4

// sweepGap is from one packet of a sweep to the next: what a fast scanner does.
const sweepGap = 5 * time.Microsecond

// Sweeps says how many plain sweeps over all ports of a protocol, one after the other,
// a ruleset needs to let a stranger in to the service of some door, and at which: an
// attack that knows nothing. 0: that many and more do not.
func Sweeps(g *automaton.Program, rs *ruleset.Ruleset) (n int, proto port.Proto, service port.Port) {
	for n := 1; n <= maxSweeps; n++ {
		for _, proto := range []port.Proto{port.TCP, port.UDP} {
			for _, r := range g.Hidden() {
				service := port.Port{Proto: r.Proto, Number: r.First}
				if swept(rs, n, proto, service) {
					return n, proto, service
				}
			}
		}
	}
	return 0, 0, port.Port{}
}

func swept(rs *ruleset.Ruleset, n int, proto port.Proto, service port.Port) bool {
	sim := NewSimulator(rs)
	p := automaton.Packet{Src: netip.MustParseAddr("192.0.2.7"), TTL: 64}
	send := func(to port.Port) bool {
		p.To, p.Flags = to, 0
		if to.Proto == port.TCP {
			p.Flags = automaton.SYN
		}
		got, err := sim.Packet(p)
		p.Time += sweepGap
		return err == nil && got.Verdict == automaton.Accept.String()
	}
	if send(service) {
		return false // it is open to everybody
	}
	for range n {
		for i := 1; i <= 65535; i++ {
			send(port.Port{Proto: proto, Number: uint16(i)})
		}
	}
	return send(service)
}
