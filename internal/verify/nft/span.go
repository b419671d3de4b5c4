package nft

import (
	"cmp"
	"net/netip"
	"slices"

	"tirl/internal/verify/ruleset"
)

// span is a range of addresses.
type span struct{ first, last netip.Addr }

func spanOf(p netip.Prefix) span {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return span{p.Addr(), last}
}

// prefixes appends the fewest networks that are the span together.
func (s span) prefixes(dst []netip.Prefix) []netip.Prefix {
	for first := s.first; first.IsValid() && !s.last.Less(first); {
		bits := first.BitLen()
		best := span{first, first}
		for bits > 0 {
			p := netip.PrefixFrom(first, bits-1)
			if p.Masked() != p || s.last.Less(spanOf(p).last) {
				break
			}
			bits--
			best = spanOf(p)
		}
		dst = append(dst, netip.PrefixFrom(first, bits))
		first = best.last.Next()
	}
	return dst
}

// mergeAddrs writes networks in one way, however they were written: a set of
// addresses that nft prints otherwise than it read it stays the same.
func mergeAddrs(in []ruleset.Range) []netip.Prefix {
	spans := make([]span, len(in))
	for i, r := range in {
		spans[i] = spanOf(r.Prefix)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.first.Compare(b.first), a.last.Compare(b.last)) })
	var merged []span
	for _, s := range spans {
		if n := len(merged); n > 0 {
			prev := &merged[n-1]
			if next := prev.last.Next(); !next.IsValid() || !next.Less(s.first) {
				if prev.last.Less(s.last) {
					prev.last = s.last
				}
				continue
			}
		}
		merged = append(merged, s)
	}
	var out []netip.Prefix
	for _, s := range merged {
		out = s.prefixes(out)
	}
	return out
}

// mergeNumbers does the same for numbers.
func mergeNumbers(in []ruleset.Range) []ruleset.Range {
	sorted := slices.Clone(in)
	slices.SortFunc(sorted, func(a, b ruleset.Range) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	var out []ruleset.Range
	for _, r := range sorted {
		if n := len(out); n > 0 && uint64(r.First) <= uint64(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}
