package verify

import (
	"fmt"
	"slices"
	"strings"

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
