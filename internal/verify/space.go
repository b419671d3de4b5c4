package verify

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// space cuts the packets of one family into the smallest pieces that the policy
// or the ruleset can tell apart. A port or an address that only one of them
// names is a piece of its own.
type space struct {
	family  ruleset.Family
	atoms   []portAtom
	from    map[port.Proto]int // index of the first atom of TCP and UDP
	srcs    []srcAtom
	inside  map[netip.Prefix][2]int // of a prefix that was cut at: the first of the sources in it, and the one behind
	members [][]int                 // the sources of one identity
	same    map[setKey]bitset       // what sameSources has worked out
	ifaces  []string
	sports  []uint16 // first port of each piece
	datas   int      // classes of what a datagram carries
}

// portAtom is a run of ports of TCP or UDP, or a run of other protocols.
type portAtom struct {
	proto, lastProto port.Proto
	first, last      uint16
}

// srcAtom is a set of addresses: a prefix without those inside it.
type srcAtom struct {
	prefix   netip.Prefix
	addr     netip.Addr // one of them
	identity int        // atoms of one identity may be one source
}

func hasPorts(p port.Proto) bool { return p == port.TCP || p == port.UDP }

// cuts collects where pieces begin.
type cuts struct {
	ports    map[port.Proto]map[int]bool
	protos   map[int]bool
	sports   map[int]bool
	prefixes map[netip.Prefix]bool
	names    map[string]bool
}

func (c *cuts) port(p port.Proto, first, last uint32) {
	if m := c.ports[p]; m != nil {
		m[int(first)] = true
		m[int(last)+1] = true
	}
}

func (c *cuts) anyPort(first, last uint32) {
	c.port(port.TCP, first, last)
	c.port(port.UDP, first, last)
}

func (c *cuts) proto(first, last uint32) {
	c.protos[int(first)] = true
	c.protos[int(last)+1] = true
}

func (c *cuts) sport(first, last uint32) {
	c.sports[int(first)] = true
	c.sports[int(last)+1] = true
}

func (c *cuts) prefix(p netip.Prefix) {
	if p.IsValid() {
		c.prefixes[p.Masked()] = true
	}
}

func newSpace(family ruleset.Family, g *automaton.Program, rs *ruleset.Ruleset, pl *pool) (*space, error) {
	c := &cuts{
		ports:    map[port.Proto]map[int]bool{port.TCP: {0: true}, port.UDP: {0: true}},
		protos:   map[int]bool{0: true, 1: true, 2: true, 6: true, 7: true, 17: true, 18: true, 58: true, 59: true},
		sports:   map[int]bool{0: true, 67: true, 68: true},
		prefixes: make(map[netip.Prefix]bool),
		names:    map[string]bool{"lo": true},
	}
	c.ofPolicy(g)
	c.ofRuleset(rs)
	for _, sample := range pl.paths {
		for _, k := range sample.knocks {
			c.port(k.Proto, uint32(k.Number), uint32(k.Number))
		}
	}
	s := &space{family: family, from: make(map[port.Proto]int), same: make(map[setKey]bitset), datas: pl.classes()}
	s.cutPorts(c)
	s.cutSources(c, g)
	s.ifaces = devices(c.names)
	for _, at := range sortedKeys(c.sports) {
		if at <= 65535 {
			s.sports = append(s.sports, uint16(at))
		}
	}
	if len(s.sports) > 64 || len(s.ifaces) > 64 {
		return nil, &ruleset.UnknownError{What: "more than 64 source ports or devices"}
	}
	return s, nil
}

func (c *cuts) ofPolicy(g *automaton.Program) {
	services := slices.Clone(g.Public)
	for _, class := range g.Classes {
		services = append(services, class.Services...)
	}
	for _, r := range services {
		c.port(r.Proto, uint32(r.First), uint32(r.Last))
	}
	for _, d := range g.Doors {
		for _, k := range d.Knocks {
			c.port(k.Proto, uint32(k.Number), uint32(k.Number))
		}
		for _, p := range d.From {
			c.prefix(p)
		}
	}
	for _, u := range g.Users {
		c.port(u.First.Proto, uint32(u.First.Number), uint32(u.First.Number))
	}
	for _, p := range g.Protos {
		c.proto(uint32(p), uint32(p))
	}
	for _, p := range g.Trust {
		c.prefix(p)
	}
	for _, name := range g.Ifaces {
		c.names[name] = true
	}
	if g.Firewall && g.DHCP {
		c.prefix(netip.MustParsePrefix("fe80::/10"))
		c.port(port.UDP, 68, 68)
		c.port(port.UDP, 546, 546)
	}
}

func (c *cuts) ofRuleset(rs *ruleset.Ruleset) {
	for _, ch := range rs.Chains {
		for _, r := range ch.Rules {
			for _, s := range r.Statements {
				c.ofStatement(rs, s)
			}
		}
	}
}

func (c *cuts) ofStatement(rs *ruleset.Ruleset, s ruleset.Statement) {
	switch s := s.(type) {
	case ruleset.Match:
		c.ofMatch(s)
	case ruleset.Lookup:
		c.ofKey(rs, s.Set, s.Key)
	case ruleset.Load:
		c.ofKey(rs, s.Set, s.Key)
	case ruleset.VerdictMap:
		c.ofKey(rs, s.Set, s.Key)
	case ruleset.Write:
		// A constant in a key may be a port that another rule looks up.
		for _, f := range s.Key {
			if f.Kind == ruleset.FieldConst && f.Const <= 65535 {
				c.anyPort(f.Const, f.Const)
			}
		}
	}
}

func (c *cuts) ofMatch(m ruleset.Match) {
	for _, p := range m.Prefixes {
		c.prefix(p)
	}
	for _, n := range m.Names {
		c.names[n] = true
	}
	for _, r := range m.Ranges {
		switch m.Attr {
		case ruleset.DPort:
			c.anyPort(r.First, r.Last)
		case ruleset.SPort:
			c.sport(r.First, r.Last)
		case ruleset.Proto:
			c.proto(r.First, r.Last)
		}
	}
}

// ofKey cuts at the elements of a set as a key reads them.
func (c *cuts) ofKey(rs *ruleset.Ruleset, set int, key []ruleset.Field) {
	for _, e := range rs.Sets[set].Elements {
		for i, f := range key {
			if i >= len(e.Key) {
				break
			}
			r := e.Key[i]
			switch f.Kind {
			case ruleset.FieldSrc:
				c.prefix(r.Prefix)
			case ruleset.FieldProto:
				c.proto(r.First, r.Last)
			case ruleset.FieldDPort:
				c.anyPort(r.First, r.Last)
			}
		}
	}
}

func (s *space) cutPorts(c *cuts) {
	for _, p := range []port.Proto{port.TCP, port.UDP} {
		s.from[p] = len(s.atoms)
		starts := sortedKeys(c.ports[p])
		for i, at := range starts {
			end := 65535
			if i+1 < len(starts) {
				end = starts[i+1] - 1
			}
			if at <= 65535 {
				s.atoms = append(s.atoms, portAtom{p, p, uint16(at), uint16(end)})
			}
		}
	}
	s.from[0] = len(s.atoms)
	starts := sortedKeys(c.protos)
	for i, at := range starts {
		end := 255
		if i+1 < len(starts) {
			end = starts[i+1] - 1
		}
		if at <= 255 && !hasPorts(port.Proto(at)) {
			s.atoms = append(s.atoms, portAtom{proto: port.Proto(at), lastProto: port.Proto(end)})
		}
	}
}

// span gives the atoms of a protocol's ports from first to last, as half-open
// indexes. Both are cuts.
func (s *space) span(p port.Proto, first, last uint16) (int, int) {
	from, to := s.from[p], s.from[port.UDP]
	if p == port.UDP {
		to = s.from[0]
	}
	at := func(n uint16) int {
		i, _ := slices.BinarySearchFunc(s.atoms[from:to], n, func(a portAtom, n uint16) int { return cmp.Compare(a.last, n) })
		return from + i
	}
	return at(first), at(last) + 1
}

func (s *space) atomOf(p port.Port) int {
	lo, _ := s.span(p.Proto, p.Number, p.Number)
	return lo
}

// ports gives the atoms of ranges of services.
func (s *space) ports(ranges []port.Range) bitset {
	b := newBitset(len(s.atoms))
	for _, r := range ranges {
		lo, hi := s.span(r.Proto, r.First, r.Last)
		for i := lo; i < hi; i++ {
			b.add(i)
		}
	}
	return b
}

// dports gives the atoms of TCP and UDP whose port lies in a range.
func (s *space) dports(first, last uint32) bitset {
	if first > 65535 {
		return newBitset(len(s.atoms))
	}
	last = min(last, 65535)
	return s.ports([]port.Range{
		{Proto: port.TCP, First: uint16(first), Last: uint16(last)},
		{Proto: port.UDP, First: uint16(first), Last: uint16(last)},
	})
}

// protos gives the atoms of a range of protocols.
func (s *space) protos(first, last uint32) bitset {
	b := newBitset(len(s.atoms))
	for i, a := range s.atoms {
		if uint32(a.proto) >= first && uint32(a.lastProto) <= last {
			b.add(i)
		}
	}
	return b
}

func (s *space) cutSources(c *cuts, g *automaton.Program) {
	all, bits := netip.MustParsePrefix("0.0.0.0/0"), 32
	if s.family == ruleset.IPv6 {
		all, bits = netip.MustParsePrefix("::/0"), g.IPv6Prefix
	}
	set := map[netip.Prefix]bool{all: true}
	for p := range c.prefixes {
		if p.Addr().Is4() == all.Addr().Is4() {
			set[p] = true
			if p.Bits() > bits {
				set[netip.PrefixFrom(p.Addr(), bits).Masked()] = true
			}
		}
	}
	var list []netip.Prefix
	for p := range set {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	identities := make(map[netip.Prefix]int)
	s.inside = make(map[netip.Prefix][2]int)
	var around []netip.Prefix // those that p is in, the outermost first, and p
	close := func() {
		last := around[len(around)-1]
		s.inside[last] = [2]int{s.inside[last][0], len(s.srcs)}
		around = around[:len(around)-1]
	}
	for i, p := range list {
		for len(around) > 0 && !around[len(around)-1].Contains(p.Addr()) {
			close()
		}
		around = append(around, p)
		s.inside[p] = [2]int{len(s.srcs), 0}
		end := i + 1
		for end < len(list) && p.Contains(list[end].Addr()) {
			end++
		}
		addr, ok := outside(p, list[i+1:end])
		if !ok {
			continue
		}
		// The innermost prefix that is no longer than a source is.
		inner := all
		for _, q := range around {
			if q.Bits() <= bits {
				inner = q
			}
		}
		if _, ok := identities[inner]; !ok {
			identities[inner] = len(identities)
			s.members = append(s.members, nil)
		}
		a := srcAtom{prefix: p, addr: addr, identity: identities[inner]}
		s.members[a.identity] = append(s.members[a.identity], len(s.srcs))
		s.srcs = append(s.srcs, a)
	}
	for len(around) > 0 {
		close()
	}
}

// outside finds an address of p that is in none of the prefixes inside it. The one for
// everything else is a documentation address, if it can be.
func outside(p netip.Prefix, inner []netip.Prefix) (netip.Addr, bool) {
	try := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7"), p.Addr().Next(), p.Addr()}
	for _, q := range inner {
		// The first address after an inner prefix is outside it.
		try = append(try, lastAddr(q).Next())
	}
	for _, a := range try {
		if !a.IsValid() || !p.Contains(a) {
			continue
		}
		if !slices.ContainsFunc(inner, func(q netip.Prefix) bool { return q.Contains(a) }) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// sources gives the atoms inside any of the prefixes.
func (s *space) sources(prefixes []netip.Prefix) bitset {
	b := newBitset(len(s.srcs))
	for _, p := range prefixes {
		if in, ok := s.inside[p.Masked()]; ok {
			for i := in[0]; i < in[1]; i++ {
				b.add(i)
			}
			continue
		}
		for i, a := range s.srcs {
			if p.Contains(a.addr) {
				b.add(i)
			}
		}
	}
	return b
}

// devices gives names that every pattern can be told apart by, and one that none
// matches.
func devices(patterns map[string]bool) []string {
	var names []string
	for _, p := range sortedKeys(patterns) {
		if stem, wild := strings.CutSuffix(p, "*"); wild {
			p = stem + "0"
		}
		if !slices.Contains(names, p) {
			names = append(names, p)
		}
	}
	other := "ext0"
	for matchesAny(other, patterns) {
		other = "x" + other
	}
	return append(names, other)
}

func matchesAny(name string, patterns map[string]bool) bool {
	for p := range patterns {
		if p != "*" && matchesName(p, name) {
			return true
		}
	}
	return false
}

func matchesName(pattern, name string) bool {
	if stem, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(name, stem)
	}
	return pattern == name
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
