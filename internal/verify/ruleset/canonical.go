package ruleset

import (
	"cmp"
	"reflect"
	"slices"
)

// Equal says whether two rulesets are the same but for what Canonical takes out.
func Equal(a, b *Ruleset) bool { return reflect.DeepEqual(a.Canonical(), b.Canonical()) }

// Canonical gives a copy without what does not matter to a packet: lines, texts,
// notes, rules that do nothing, chains that no hook leads to and sets that no
// rule names. Chains and sets are in the order in which hooks lead to them, the
// elements of a set in order of their keys.
func (r *Ruleset) Canonical() *Ruleset {
	c := &canonical{from: r, chains: make(map[int]int), sets: make(map[int]int)}
	for _, h := range r.Hooks {
		h.Chain = c.chain(h.Chain)
		c.to.Hooks = append(c.to.Hooks, h)
	}
	return &c.to
}

type canonical struct {
	from         *Ruleset
	to           Ruleset
	chains, sets map[int]int // indexes in from -> in to
}

func (c *canonical) chain(old int) int {
	if i, ok := c.chains[old]; ok {
		return i
	}
	i := len(c.to.Chains)
	c.chains[old] = i
	c.to.Chains = append(c.to.Chains, Chain{Name: c.from.Chains[old].Name})
	var rules []Rule
	for _, r := range c.from.Chains[old].Rules {
		var all []Statement
		for _, s := range r.Statements {
			if s = c.statement(s); s != nil {
				all = append(all, s)
			}
		}
		if all != nil {
			rules = append(rules, Rule{Statements: all})
		}
	}
	c.to.Chains[i].Rules = rules
	return i
}

// statement gives nil for a note.
func (c *canonical) statement(s Statement) Statement {
	switch s := s.(type) {
	case Note:
		return nil
	case Lookup:
		s.Set = c.set(s.Set)
		return s
	case Load:
		s.Set = c.set(s.Set)
		return s
	case Write:
		s.Set = c.set(s.Set)
		return s
	case VerdictMap:
		s.Set = c.set(s.Set)
		return s
	case Do:
		if s.Verdict == Jump || s.Verdict == Goto {
			s.Chain = c.chain(s.Chain)
		}
		return s
	}
	return s
}

func (c *canonical) set(old int) int {
	if i, ok := c.sets[old]; ok {
		return i
	}
	i := len(c.to.Sets)
	c.sets[old] = i
	s := c.from.Sets[old]
	s.Line = 0
	c.to.Sets = append(c.to.Sets, s)
	elements := slices.SortedFunc(slices.Values(s.Elements), func(a, b Element) int {
		return slices.CompareFunc(a.Key, b.Key, compareRanges)
	})
	for n, e := range elements {
		if e.Then == Jump || e.Then == Goto {
			elements[n].Chain = c.chain(e.Chain)
		}
	}
	c.to.Sets[i].Elements = elements
	return i
}

func compareRanges(a, b Range) int {
	return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
		cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
}
