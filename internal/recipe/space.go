package recipe

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// vocabulary is what the rules tell apart.
type vocabulary struct {
	cuts     []uint32 // ports at which a range begins, or that are behind its end
	named    map[uint16]bool
	protos   []port.Proto
	prefixes []netip.Prefix
	ifaces   []string
	times    []time.Duration
	hits     []int // by set: how many marks a rule counts
	sameTTL  bool
}

// maxTold bounds how many sources and interfaces are tried one by one.
const maxTold = 32

func read(rs *ruleset.Ruleset, family ruleset.Family) *vocabulary {
	v := &vocabulary{cuts: []uint32{1, 65536}, named: make(map[uint16]bool), hits: make([]int, len(rs.Sets))}
	for _, c := range rs.Chains {
		for _, r := range c.Rules {
			for _, st := range r.Statements {
				v.statement(rs, st)
			}
		}
	}
	slices.Sort(v.cuts)
	v.cuts = slices.Compact(v.cuts)
	slices.Sort(v.times)
	v.times = slices.Compact(v.times)
	slices.Sort(v.protos)
	v.protos = slices.Compact(v.protos)
	slices.Sort(v.ifaces)
	v.ifaces = slices.Compact(v.ifaces)
	v.prefixes = slices.DeleteFunc(v.prefixes, func(p netip.Prefix) bool {
		return p.Addr().Is4() != (family == ruleset.IPv4) || p.Addr().IsLoopback() || p.Bits() == 0
	})
	slices.SortFunc(v.prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	v.prefixes = slices.Compact(v.prefixes)
	return v
}

func (v *vocabulary) statement(rs *ruleset.Ruleset, st ruleset.Statement) {
	switch st := st.(type) {
	case ruleset.Match:
		v.match(st)
	case ruleset.Lookup:
		v.key(rs, st.Set, st.Key)
		v.times = append(v.times, st.Within)
		v.hits[st.Set] = max(v.hits[st.Set], st.Hits)
		v.sameTTL = v.sameTTL || st.SameTTL
	case ruleset.Write:
		v.key(rs, st.Set, st.Key)
		v.times = append(v.times, st.Timeout)
	case ruleset.Load:
		v.key(rs, st.Set, st.Key)
	case ruleset.VerdictMap:
		v.key(rs, st.Set, st.Key)
	}
}

func (v *vocabulary) match(m ruleset.Match) {
	switch m.Attr {
	case ruleset.DPort:
		for _, r := range m.Ranges {
			v.ports(r)
		}
	case ruleset.Proto:
		for _, r := range m.Ranges {
			for n := r.First; n <= min(r.Last, 255) && r.Last-r.First < 8; n++ {
				switch p := port.Proto(n); p {
				case port.TCP, port.UDP, port.ICMP, port.ICMPv6:
				default:
					v.protos = append(v.protos, p)
				}
			}
		}
	case ruleset.Src:
		v.prefixes = append(v.prefixes, m.Prefixes...)
	case ruleset.Iface:
		for _, n := range m.Names {
			if n = strings.TrimSuffix(n, "*"); n != "lo" && n != "" {
				v.ifaces = append(v.ifaces, n)
			}
		}
	}
}

// key reads the elements of a set, and constants that stand for a port in a key.
func (v *vocabulary) key(rs *ruleset.Ruleset, set int, key []ruleset.Field) {
	for i, f := range key {
		switch f.Kind {
		case ruleset.FieldConst:
			if f.Const <= 65535 {
				v.ports(ruleset.Range{First: f.Const, Last: f.Const})
			}
		case ruleset.FieldDPort:
			for _, e := range rs.Sets[set].Elements {
				v.ports(e.Key[i])
			}
		case ruleset.FieldSrc:
			for _, e := range rs.Sets[set].Elements {
				if e.Key[i].Prefix.IsValid() {
					v.prefixes = append(v.prefixes, e.Key[i].Prefix)
				}
			}
		}
	}
}

func (v *vocabulary) ports(r ruleset.Range) {
	if r.First > 65535 || r.Last > 65535 || r.Last == 0 {
		return
	}
	v.cuts = append(v.cuts, max(r.First, 1), r.Last+1)
	v.named[uint16(max(r.First, 1))] = true
}

// atoms are the ports of both protocols, cut where some rule cuts.
func (v *vocabulary) atoms() []port.Range {
	var out []port.Range
	for _, proto := range []port.Proto{port.TCP, port.UDP} {
		for i := 0; i+1 < len(v.cuts); i++ {
			out = append(out, port.Range{Proto: proto, First: uint16(v.cuts[i]), Last: uint16(v.cuts[i+1] - 1)})
		}
	}
	return out
}

// merge joins ranges that touch.
func merge(all []port.Range) []port.Range {
	slices.SortFunc(all, port.Range.Compare)
	var out []port.Range
	for _, r := range all {
		if n := len(out); n > 0 && out[n-1].Proto == r.Proto && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// covered says whether merged ranges hold all ports of others.
func covered(ranges, by []port.Range) bool {
	for _, r := range ranges {
		if !slices.ContainsFunc(by, func(b port.Range) bool { return b.Proto == r.Proto && b.First <= r.First && r.Last <= b.Last }) {
			return false
		}
	}
	return true
}

// outside is an address that no rule names.
func (v *vocabulary) outside(family ruleset.Family) netip.Addr {
	candidates := []string{"192.0.2.7", "198.51.100.7", "203.0.113.7", "8.8.4.4", "100.64.9.9", "10.11.12.13"}
	if family == ruleset.IPv6 {
		candidates = []string{"2001:db8::7", "2001:db8:7::7", "2a00::7", "fd00:7::7"}
	}
	for _, c := range candidates {
		a := netip.MustParseAddr(c)
		if !slices.ContainsFunc(v.prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return a
		}
	}
	return netip.MustParseAddr(candidates[0])
}

// inside is an address of a prefix that no longer prefix has.
func (v *vocabulary) inside(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr()
	for range 64 {
		next := slices.IndexFunc(v.prefixes, func(q netip.Prefix) bool { return q.Bits() > p.Bits() && q.Contains(a) })
		if next < 0 {
			break
		}
		b := behind(v.prefixes[next])
		if !p.Contains(b) {
			break
		}
		a = b
	}
	return a
}

// behind is the first address after a prefix.
func behind(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits() - 1; bit >= 0; bit-- {
		if b[bit/8] ^= 0x80 >> (bit % 8); b[bit/8]&(0x80>>(bit%8)) != 0 {
			break
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
