package verify

import (
	"fmt"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// Scope is what a proof leaves out. The zero Scope leaves out nothing. It is for
// rulesets that other hands wrote, which may do what a policy says as far as they
// go.
type Scope struct {
	Families ruleset.Family // 0: both
	NoLimit  bool           // nobody sends more than the policy's limit
	NoExpiry bool           // nobody waits until a place or a grant ends
	Tracked  bool           // connection tracking calls every packet NEW or ESTABLISHED
	Unicast  bool           // every packet is sent to an address of the host
	Remote   bool           // no packet comes in by the loopback device
	Syn      bool           // outside of answered connections TCP is SYNs
	Services bool           // only verdicts on packets to the doors' services are compared
}

// scopeWords are the words for parts of a scope, in the order of Scope.String.
func scopeWords() []struct {
	word, text string
	set        func(*Scope)
	is         func(Scope) bool
} {
	return []struct {
		word, text string
		set        func(*Scope)
		is         func(Scope) bool
	}{
		{"ipv4", "IPv4 only", func(s *Scope) { s.Families = ruleset.IPv4 }, func(s Scope) bool { return s.Families == ruleset.IPv4 }},
		{"ipv6", "IPv6 only", func(s *Scope) { s.Families = ruleset.IPv6 }, func(s Scope) bool { return s.Families == ruleset.IPv6 }},
		{"no-limit", "no source sends more than the policy's limit", func(s *Scope) { s.NoLimit = true }, func(s Scope) bool { return s.NoLimit }},
		{"no-expiry", "no place and no grant ends", func(s *Scope) { s.NoExpiry = true }, func(s Scope) bool { return s.NoExpiry }},
		{"tracked", "every packet is NEW or ESTABLISHED", func(s *Scope) { s.Tracked = true }, func(s Scope) bool { return s.Tracked }},
		{"unicast", "every packet is sent to an address of this host", func(s *Scope) { s.Unicast = true }, func(s Scope) bool { return s.Unicast }},
		{"remote", "no packet comes in by the loopback device", func(s *Scope) { s.Remote = true }, func(s Scope) bool { return s.Remote }},
		{"syn", "outside of answered connections every TCP packet is a SYN", func(s *Scope) { s.Syn = true }, func(s Scope) bool { return s.Syn }},
		{"services", "what becomes of packets to other ports than the doors' does not matter", func(s *Scope) { s.Services = true }, func(s Scope) bool { return s.Services }},
	}
}

// ScopeWords lists what ParseScope takes.
func ScopeWords() []string {
	var out []string
	for _, w := range scopeWords() {
		out = append(out, w.word)
	}
	return out
}

// ParseScope reads words such as ipv4 and no-limit.
func ParseScope(words []string) (Scope, error) {
	var s Scope
	all := scopeWords()
	for _, word := range words {
		i := slices.IndexFunc(all, func(w struct {
			word, text string
			set        func(*Scope)
			is         func(Scope) bool
		}) bool {
			return w.word == word
		})
		if i < 0 {
			return s, fmt.Errorf("%q is nothing to assume; there are: %s", word, strings.Join(ScopeWords(), ", "))
		}
		if all[i].word[:2] == "ip" && s.Families != 0 {
			return s, fmt.Errorf("ipv4 and ipv6 leave no packet")
		}
		all[i].set(&s)
	}
	return s, nil
}

// Assumptions says what the scope leaves out, in sentences.
func (s Scope) Assumptions() []string {
	var out []string
	for _, w := range scopeWords() {
		if w.is(s) {
			out = append(out, w.text)
		}
	}
	return out
}

func (s Scope) narrow(b box) box {
	if s.Tracked {
		b.conns &= ruleset.New | ruleset.Established
	}
	if s.Unicast {
		b.dests &= ruleset.Local
	}
	return b
}

// cut takes segments of TCP out that begin nothing.
func (s Scope) cut(sp *space, boxes []box) []box {
	if !s.Syn {
		return boxes
	}
	var out []box
	for _, b := range boxes {
		answered, rest := b.splitConns(ruleset.Established)
		if answered != nil {
			out = append(out, *answered)
		}
		if rest == nil {
			continue
		}
		tcp, others := rest.splitPorts(sp.protos(uint32(port.TCP), uint32(port.TCP)))
		if others != nil {
			out = append(out, *others)
		}
		if tcp == nil {
			continue
		}
		if syn, _ := tcp.splitFlags(begins()); syn != nil {
			out = append(out, *syn)
		}
	}
	return out
}

// ignores says whether it does not matter what becomes of packets to a port.
func (s Scope) ignores(g *automaton.Program, to port.Port) bool {
	return s.Services && !slices.ContainsFunc(g.Hidden(), func(r port.Range) bool { return r.Contains(to) })
}
