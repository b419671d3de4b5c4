package recipe

import (
	"iter"
	"slices"

	"tirl/internal/verify/ruleset"
)

// Idle is a list that a rule asks for and that nothing ever comes into.
type Idle struct {
	Name string
	Line int // of the rule that asks
}

// idle are lists that rules of some chain fill, and never do.
func (t *trial) idle() []Idle {
	filled := make([]bool, len(t.rs.Sets))
	var asked []Idle
	var sets []int
	for c := range t.reached() {
		for _, r := range t.rs.Chains[c].Rules {
			for _, st := range r.Statements {
				switch st := st.(type) {
				case ruleset.Write:
					filled[st.Set] = filled[st.Set] || st.Op != ruleset.Remove && st.Op != ruleset.Delete
				case ruleset.Lookup:
					if !st.Not && !slices.Contains(sets, st.Set) {
						sets = append(sets, st.Set)
						asked = append(asked, Idle{t.rs.Sets[st.Set].Name, r.Line})
					}
				}
			}
		}
	}
	var out []Idle
	for i, set := range sets {
		if filled[set] && !t.held[set] {
			out = append(out, asked[i])
		}
	}
	return out
}

// reached are the chains that packets of the family may come to.
func (t *trial) reached() iter.Seq[int] {
	return func(yield func(int) bool) {
		var todo []int
		for _, h := range t.rs.Hooks {
			if h.Families&t.family != 0 {
				todo = append(todo, h.Chain)
			}
		}
		seen := make([]bool, len(t.rs.Chains))
		for ; len(todo) > 0; todo = todo[1:] {
			c := todo[0]
			if seen[c] {
				continue
			}
			if seen[c] = true; !yield(c) {
				return
			}
			for _, r := range t.rs.Chains[c].Rules {
				for _, st := range r.Statements {
					todo = append(todo, t.leads(st)...)
				}
			}
		}
	}
}

// leads gives the chains that a statement leads to.
func (t *trial) leads(st ruleset.Statement) []int {
	isChain := func(v ruleset.Verdict) bool { return v == ruleset.Jump || v == ruleset.Goto }
	var out []int
	switch st := st.(type) {
	case ruleset.Do:
		if isChain(st.Verdict) {
			out = append(out, st.Chain)
		}
	case ruleset.VerdictMap:
		for _, e := range t.rs.Sets[st.Set].Elements {
			if isChain(e.Then) {
				out = append(out, e.Chain)
			}
		}
	}
	return out
}
