package verify

import (
	"slices"

	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// match cuts a path by whether a match holds.
func (m *machine) match(line int, st ruleset.Match, p *path, out *outcome) {
	switch st.Attr {
	case ruleset.NFProto:
		in := slices.ContainsFunc(st.Ranges, func(r ruleset.Range) bool { return r.First <= m.nfproto() && m.nfproto() <= r.Last })
		out.decide(p, in)
	case ruleset.Iface:
		yes, no := p.b.splitIfaces(m.sp.ifaceSet(func(name string) bool {
			return slices.ContainsFunc(st.Names, func(pattern string) bool { return matchesName(pattern, name) })
		}))
		out.put(p, yes, no)
	case ruleset.Src:
		out.add(p, p.b.splitSources)(m.sp.sources(st.Prefixes))
	case ruleset.Conn:
		yes, no := p.b.splitConns(st.Conns)
		out.put(p, yes, no)
	case ruleset.Dest:
		yes, no := p.b.splitDests(st.Dests)
		out.put(p, yes, no)
	case ruleset.Proto, ruleset.DPort:
		out.add(p, p.b.splitPorts)(m.portRanges(st))
	case ruleset.SPort:
		var in uint64
		for _, r := range st.Ranges {
			in |= m.sp.sportSet(r.First, r.Last)
		}
		yes, no := p.b.splitSPorts(in)
		out.put(p, yes, no)
	case ruleset.TCPFlags:
		if (st.Mask|st.Value)&^(allFlags-1) != 0 {
			m.fail(line, "TCP flags other than fin, syn, rst, psh, ack and urg")
		}
		yes, no := p.b.splitFlags(flagSet(st.Mask, st.Value))
		out.put(p, yes, no)
	case ruleset.ICMPType:
		var in [4]uint64
		for _, r := range st.Ranges {
			for t := r.First; t <= min(r.Last, 255); t++ {
				in[t/64] |= 1 << (t % 64)
			}
		}
		yes, no := p.b.splitICMP(in)
		out.put(p, yes, no)
	case ruleset.UDPLength:
		m.matchLength(line, st, p, out)
	case ruleset.Register:
		m.matchRegister(line, st, p, out)
	default:
		m.fail(line, "a match of this kind")
	}
}

func (o *outcome) decide(p *path, yes bool) {
	if yes {
		o.yes = append(o.yes, p)
	} else {
		o.no = append(o.no, p)
	}
}

// portRanges gives the atoms that a match of protocols or ports takes. It is
// asked again and again, for the same rules.
func (m *machine) portRanges(st ruleset.Match) bitset {
	key := portKey{st.Attr, &st.Ranges[0], len(st.Ranges)}
	if b := m.ranges[key]; b != nil {
		return b
	}
	b := newBitset(len(m.sp.atoms))
	for _, r := range st.Ranges {
		if st.Attr == ruleset.Proto {
			b = b.or(m.sp.protos(r.First, r.Last))
		} else {
			b = b.or(m.sp.dports(r.First, r.Last))
		}
	}
	m.ranges[key] = b
	return b
}

type portKey struct {
	attr  ruleset.Attr
	first *ruleset.Range
	n     int
}

// settled answers for statements that hold for all packets of a path or for none, and change
// nothing: most of what there is, and this is quicker than to cut.
func (m *machine) settled(n *node, st ruleset.Statement, p *path) (holds, ok bool) {
	match, ok := st.(ruleset.Match)
	if !ok {
		return m.absent(n, st, p)
	}
	all, some := false, true
	switch match.Attr {
	case ruleset.Proto, ruleset.DPort:
		in := m.portRanges(match)
		if some = p.b.ports.meets(in); some {
			all = p.b.ports.within(in)
		}
	case ruleset.Conn:
		all, some = p.b.conns&^match.Conns == 0, p.b.conns&match.Conns != 0
	case ruleset.Dest:
		all, some = p.b.dests&^match.Dests == 0, p.b.dests&match.Dests != 0
	default:
		return false, false
	}
	return all != match.Not, all || !some
}

func (m *machine) matchRegister(line int, st ruleset.Match, p *path, out *outcome) {
	in := func(v uint32) bool {
		return slices.ContainsFunc(st.Ranges, func(r ruleset.Range) bool { return r.First <= v && v <= r.Last })
	}
	switch p.reg.kind {
	case foreign:
		m.fail(line, "meta priority is read before it is written")
	case number:
		out.decide(p, in(p.reg.v))
	case byPort:
		key := &st.Ranges[0]
		hits, ok := p.reg.fn.hits[key]
		if !ok {
			hits = newBitset(len(m.sp.atoms))
			for a, v := range p.reg.fn.value {
				if in(v) {
					hits.add(a)
				}
			}
			p.reg.fn.hits[key] = hits
		}
		out.add(p, p.b.splitPorts)(hits)
	}
}

// tokenLength is what a UDP header says of a datagram with a token.
const tokenLength = 8 + policy.TokenBytes

// matchLength knows the length of a datagram with a token, and no other.
func (m *machine) matchLength(line int, st ruleset.Match, p *path, out *outcome) {
	if len(st.Ranges) != 1 || st.Ranges[0] != number32(tokenLength) || !p.b.ports.within(m.sp.protos(uint32(port.UDP), uint32(port.UDP))) {
		m.fail(line, "match of another length than that of a token")
		return
	}
	no, yes := p.b.splitData(m.sp.noData())
	out.put(p, yes, no)
}
