package iptables

import (
	"fmt"
	"net/netip"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// hear tells where a source stands. Places of depth 1 come after the first
// knocks, in TIRL_STATE0, so that the port of a first knock need stand in the
// text only once: at its own place it is a repeat, elsewhere a new start.
func (b *builder) hear(chain string) {
	b.listen(chain)
	for s := automaton.State(len(b.g.Places) - 1); s != automaton.Root; s-- {
		if b.g.Standing(s) && b.g.Places[s].Depth > 1 {
			b.at(chain, s)
		}
	}
	b.rule(chain, "", "-g "+state(automaton.Root), "every other source is at the start")
	b.root()
	for s := range automaton.State(len(b.g.Places)) {
		if b.g.Standing(s) {
			b.place(s)
		}
	}
}

// at sends a source that stands at s to the chain of s.
func (b *builder) at(chain string, s automaton.State) {
	b.rule(chain, b.standing("--rcheck", s), "-g "+state(s), b.stood(s))
}

// standing matches a source that stands at s.
func (b *builder) standing(how string, s automaton.State) string {
	how += fmt.Sprintf(" --seconds %d", b.g.StepTimeout/time.Second)
	if b.g.MatchTTL {
		how += " --rttl"
	}
	return b.recent(how, b.knockList(s), b.sourceMask())
}

// place is the chain of a source that stands at s: repeats stay, whatever else
// it sends takes it away from here.
func (b *builder) place(s automaton.State) {
	chain := state(s)
	first := b.g.Places[s].Depth == 1
	b.chain(chain)
	for _, k := range b.stays[s] {
		if !first {
			b.rule(chain, dport(k)+" "+b.recent("--set", b.knockList(s), b.sourceMask()), b.end, "a repeated knock: stays")
		}
	}
	b.pay(chain)
	lost := "-g " + state(automaton.Root)
	if first {
		lost = b.end // first knocks have been tried before
	}
	// Of two packets that arrive here at once only one finds the entry.
	b.rule(chain, b.recent("! --remove", b.knockList(s), b.sourceMask()), b.end, fmt.Sprintf("leaves state %d", s))
	if d := b.g.DoorAt(s); d != nil {
		for _, r := range b.g.Classes[d.Class].Services {
			b.rule(chain, dports(r), b.letIn(), "open once: door "+plain(d.Name))
		}
	}
	for _, k := range b.children[s] {
		next, _ := b.g.Child(s, k)
		b.arrive(chain, dport(k), next)
	}
	b.rule(chain, b.lost(), lost, "a wrong packet: back to the start")
}

// root is the chain of a source at the start, and of one that was just sent
// back there. What is no first knock may still be heard at a place of depth 1.
func (b *builder) root() {
	chain := state(automaton.Root)
	b.chain(chain)
	firsts := b.children[automaton.Root]
	for _, k := range firsts {
		s, _ := b.g.Child(automaton.Root, k)
		b.rule(chain, dport(k), "-g "+first(s), b.reached(s))
	}
	for _, k := range firsts {
		if s, _ := b.g.Child(automaton.Root, k); b.g.Standing(s) {
			b.at(chain, s)
		}
	}
	b.rule(chain, "", b.end, "a wrong packet")
	for _, k := range firsts {
		b.first(k)
	}
	b.leave(firsts)
}

// first is the chain of a first knock. At a place of depth 1 it may be the next
// knock there, or a repeat.
func (b *builder) first(k port.Port) {
	s, _ := b.g.Child(automaton.Root, k)
	chain := first(s)
	b.chain(chain)
	for _, other := range b.children[automaton.Root] {
		at, _ := b.g.Child(automaton.Root, other)
		if !b.g.Standing(at) {
			continue
		}
		if _, next := b.g.Child(at, k); next {
			b.at(chain, at)
		} else if at == s {
			b.rule(chain, b.standing("--update", s), b.end, "a repeated knock: stays")
		}
	}
	b.pay(chain)
	if b.leaves(s) {
		b.rule(chain, "", "-j "+leave, "leaves every other first place")
	}
	b.arrive(chain, "", s)
}

// leaves says whether a first knock that leads to s can take a source away from
// another place of depth 1.
func (b *builder) leaves(s automaton.State) bool {
	for _, k := range b.children[automaton.Root] {
		if other, _ := b.g.Child(automaton.Root, k); other != s && b.g.Standing(other) {
			return true
		}
	}
	return false
}

func (b *builder) leave(firsts []port.Port) {
	if len(firsts) < 2 {
		return
	}
	b.chain(leave)
	for _, k := range firsts {
		if s, _ := b.g.Child(automaton.Root, k); b.g.Standing(s) {
			match := b.recent("--remove", b.knockList(s), b.sourceMask())
			if b.g.MatchTTL { // --remove knows no TTL
				match = b.standing("--rcheck", s) + " " + match
			}
			b.rule(leave, match+" "+b.lost(), "", fmt.Sprintf("leaves state %d", s))
		}
	}
}

// arrive enters place s if match does. The end of a timed door grants its class
// and leads to the root.
func (b *builder) arrive(chain, match string, s automaton.State) {
	list, what := b.knockList(s), b.reached(s)
	d := b.g.DoorAt(s)
	if d != nil && !b.g.Classes[d.Class].Once {
		list = b.grantList(d.Class)
	}
	if match != "" {
		match += " "
	}
	target := b.end
	if d != nil && b.tells() {
		target = "-g " + opened
	}
	if d == nil || len(d.From) == 0 {
		b.opensAt(chain, d)
		b.rule(chain, match+b.recent("--set", list, b.sourceMask()), target, what)
		return
	}
	b.rule(chain, match, "-g "+open(s), what)
	b.chain(open(s))
	for _, p := range d.From {
		if p, ok := b.within(p); ok {
			b.opensAt(open(s), d)
			b.rule(open(s), "-s "+p.String()+" "+b.recent("--set", list, b.sourceMask()), target, "opens to this source")
		}
	}
	b.rule(open(s), "", b.end, "opens to no other source")
}

// within gives the addresses of this family whose source is in p. A source may
// be a network, which is where its first address is.
func (b *builder) within(p netip.Prefix) (netip.Prefix, bool) {
	if p.Addr().Is6() != b.fam.v6 {
		return p, false
	}
	if n := b.g.IPv6Prefix; b.fam.v6 && p.Bits() > n {
		wide := netip.PrefixFrom(p.Addr(), n).Masked()
		return wide, p.Contains(wide.Addr())
	}
	return p.Masked(), true
}
