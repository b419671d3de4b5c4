package nft

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"tirl/internal/verify/ruleset"
)

// canonical forgets what a listing need not keep: lines and texts, and the order
// of chains, sets, elements and matches.
func canonical(r *ruleset.Ruleset) *ruleset.Ruleset {
	out := &ruleset.Ruleset{}
	byName := make([]int, len(r.Chains))
	for i := range byName {
		byName[i] = i
	}
	slices.SortFunc(byName, func(a, b int) int { return cmp.Compare(r.Chains[a].Name, r.Chains[b].Name) })
	chain := make([]int, len(r.Chains))
	for to, from := range byName {
		chain[from] = to
	}
	set := map[int]int{}
	use := func(from int) int {
		to, ok := set[from]
		if !ok {
			to = len(out.Sets)
			set[from] = to
			out.Sets = append(out.Sets, canonicalSet(r.Sets[from], chain))
		}
		return to
	}
	for _, from := range byName {
		c := ruleset.Chain{Name: r.Chains[from].Name}
		for _, rule := range r.Chains[from].Rules {
			var statements []ruleset.Statement
			for _, s := range rule.Statements {
				switch v := s.(type) {
				case ruleset.Lookup:
					v.Set = use(v.Set)
					s = v
				case ruleset.Load:
					v.Set = use(v.Set)
					s = v
				case ruleset.Write:
					v.Set = use(v.Set)
					s = v
				case ruleset.VerdictMap:
					v.Set = use(v.Set)
					s = v
				case ruleset.Do:
					if v.Verdict == ruleset.Jump || v.Verdict == ruleset.Goto {
						v.Chain = chain[v.Chain]
					}
					s = v
				}
				statements = append(statements, s)
			}
			sortMatches(statements)
			c.Rules = append(c.Rules, ruleset.Rule{Statements: statements})
		}
		out.Chains = append(out.Chains, c)
	}
	for _, h := range r.Hooks {
		h.Chain = chain[h.Chain]
		out.Hooks = append(out.Hooks, h)
	}
	return out
}

// sortMatches sorts matches that follow each other: nft joins those that look at
// neighbouring bytes.
func sortMatches(list []ruleset.Statement) {
	for i := 0; i < len(list); {
		n := i
		for n < len(list) {
			if _, ok := list[n].(ruleset.Match); !ok {
				break
			}
			n++
		}
		slices.SortFunc(list[i:n], func(a, b ruleset.Statement) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		i = n + 1
	}
}

func canonicalSet(s ruleset.Set, chain []int) ruleset.Set {
	s.Line = 0
	s.Elements = slices.Clone(s.Elements)
	for i := range s.Elements {
		if e := &s.Elements[i]; e.Then == ruleset.Jump || e.Then == ruleset.Goto {
			e.Chain = chain[e.Chain]
		}
	}
	slices.SortFunc(s.Elements, func(a, b ruleset.Element) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return s
}

// tick is the longest that the kernel rounds a time up to (CONFIG_HZ=100).
const tick = 10 * time.Millisecond

// difference compares two rulesets up to what canonical forgets.
func difference(a, b *ruleset.Ruleset) string {
	return gocmp.Diff(canonical(a), canonical(b), samePrefix,
		gocmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < tick }))
}

// same fails the test if two rulesets differ.
func same(t testing.TB, what string, a, b *ruleset.Ruleset) {
	t.Helper()
	if diff := difference(a, b); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

func mustParse(t testing.TB, text string) *ruleset.Ruleset {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
