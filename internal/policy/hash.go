package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/port"
)

// Hash gives the SHA-256 of what the policy means, in hex: comments, layout,
// keys that state a default, and the order and overlaps within an array of
// services, networks or interfaces make no difference. The order of the doors
// does: the states of the automaton are counted along it. The backend is left
// out; it does not change what a policy means.
func (p *Policy) Hash() string {
	h := sha256.New()
	p.writeMeaning(h)
	return hex.EncodeToString(h.Sum(nil))
}

// writeMeaning writes one line for each field. Names and strings are quoted, so
// that no value can pass for another field.
func (p *Policy) writeMeaning(w io.Writer) {
	line := func(name string, values ...any) {
		fmt.Fprintf(w, "%s", name)
		for _, v := range values {
			fmt.Fprintf(w, " %v", v)
		}
		fmt.Fprintln(w)
	}
	line("version", p.Version)
	line("mode", p.Mode)
	line("refuse", p.Refuse)
	line("public", ranges(p.Public.Services), unique(p.Public.Protocols))
	line("trust", networks(p.Trust.Prefixes), quoted(unique(p.Trust.Interfaces)))
	line("firewall", p.Firewall.ICMP, p.Firewall.DHCP)
	line("knocking", p.Knocking.StepTimeout, p.Knocking.Duplicates, p.Knocking.MatchTTL,
		p.Knocking.IPv6Prefix, p.Knocking.PerSource, p.Knocking.Sources)
	line("log", p.Log.Events)
	// The default has no line, so that policies that do not know the key keep
	// their hash.
	if p.Boot.OnFailure == OpenOnFailure {
		line("boot", p.Boot.OnFailure)
	}
	for _, d := range p.Doors {
		line("door", fmt.Sprintf("%q", d.Name), ranges(d.Opens), d.Knocks, d.Once, d.OpenFor, networks(d.From))
		for _, u := range d.Users {
			line("user", fmt.Sprintf("%q", u.Name), u.Kind, u.First, u.Length, u.Ports, u.Pool)
		}
	}
}

func quoted(names []string) string { return fmt.Sprintf("%q", names) }

func unique[T string | port.Proto](all []T) []T {
	all = slices.Clone(all)
	slices.Sort(all)
	return slices.Compact(all)
}

// ranges gives the same text for the same ports.
func ranges(all []port.Range) string {
	all = slices.Clone(all)
	slices.SortFunc(all, port.Range.Compare)
	var merged []port.Range
	for _, r := range all {
		if n := len(merged); n > 0 && merged[n-1].Proto == r.Proto && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return fmt.Sprint(merged)
}

// networks gives the same text for the same addresses: what is in another
// network is left out, and two halves become a whole.
func networks(all []netip.Prefix) string {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var merged []netip.Prefix
	for _, p := range all {
		if n := len(merged); n > 0 && merged[n-1].Overlaps(p) {
			continue
		}
		merged = append(merged, p)
		for n := len(merged); n > 1; n = len(merged) {
			whole := netip.PrefixFrom(merged[n-2].Addr(), merged[n-2].Bits()-1)
			if merged[n-2].Bits() != merged[n-1].Bits() || merged[n-1].Bits() == 0 ||
				whole != whole.Masked() || !whole.Contains(merged[n-1].Addr()) {
				break
			}
			merged = append(merged[:n-2], whole)
		}
	}
	texts := make([]string, len(merged))
	for i, p := range merged {
		texts[i] = p.String()
	}
	return "[" + strings.Join(texts, " ") + "]"
}
