package ruleset

import (
	"net/netip"
	"slices"
	"testing"
)

// example is a ruleset with something of each kind that has an index.
func example() *Ruleset {
	key := []Field{{Kind: FieldSrc, Family: IPv4, Bits: 32}}
	number := func(n uint32) []Range { return []Range{{First: n, Last: n}} }
	return &Ruleset{
		Sets: []Set{
			{Name: "list", Line: 1, Dynamic: true},
			{Name: "verdicts", Line: 2, Elements: []Element{
				{Key: number(1), Then: Goto, Chain: 1},
				{Key: []Range{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}, Then: Drop},
			}},
		},
		Chains: []Chain{
			{Name: "base", Rules: []Rule{
				{Line: 3, Text: "a", Statements: []Statement{Lookup{Set: 0, Key: key}, Note{"log"}, Do{Jump, 2}}},
				{Line: 4, Text: "b", Statements: []Statement{VerdictMap{Set: 1, Key: key}}},
				{Line: 5, Text: "c", Statements: []Statement{Note{"counter"}}},
			}},
			{Name: "end", Rules: []Rule{{Line: 6, Statements: []Statement{Do{Verdict: Drop}}}}},
			{Name: "called", Rules: []Rule{{Line: 7, Statements: []Statement{Write{Op: Mark, Set: 0, Key: key}, Load{Set: 0, Key: key}}}}},
		},
		Hooks: []Hook{{Chain: 0, Families: IPv4, Stage: Input, Policy: Drop}},
	}
}

func TestEqual(t *testing.T) {
	same := func(r *Ruleset) {
		// Two chains, and two sets, change places, and a chain and a set come in that
		// nothing leads to.
		r.Chains[1], r.Chains[2] = r.Chains[2], r.Chains[1]
		r.Chains = append(r.Chains, Chain{Name: "unused"})
		r.Sets[0], r.Sets[1] = r.Sets[1], r.Sets[0]
		r.Sets = append(r.Sets, Set{Name: "unused"})
		slices.Reverse(r.Sets[0].Elements)
		r.Sets[0].Elements[1].Chain = 2
		r.Chains[0].Rules = []Rule{
			{Line: 9, Statements: []Statement{Lookup{Set: 1, Key: r.Chains[0].Rules[0].Statements[0].(Lookup).Key}, Do{Jump, 1}}},
			{Line: 8, Text: "b", Statements: []Statement{VerdictMap{Set: 0, Key: r.Chains[0].Rules[1].Statements[0].(VerdictMap).Key}}},
		}
		key := r.Chains[0].Rules[1].Statements[0].(VerdictMap).Key
		r.Chains[1].Rules[0].Statements = []Statement{Write{Op: Mark, Set: 1, Key: key}, Load{Set: 1, Key: key}, Note{"x"}}
	}
	for _, tt := range []struct {
		name   string
		change func(*Ruleset)
		want   bool
	}{
		{"nothing", func(*Ruleset) {}, true},
		{"what does not matter", same, true},
		{"a policy", func(r *Ruleset) { r.Hooks[0].Policy = Accept }, false},
		{"a verdict", func(r *Ruleset) { r.Chains[1].Rules[0].Statements[0] = Do{Verdict: Accept} }, false},
		{"a jump", func(r *Ruleset) { r.Chains[0].Rules[0].Statements[2] = Do{Jump, 1} }, false},
		{"an element", func(r *Ruleset) { r.Sets[1].Elements[1].Then = Accept }, false},
		{"where an element leads", func(r *Ruleset) { r.Sets[1].Elements[0].Chain = 2 }, false},
		{"a name of a set", func(r *Ruleset) { r.Sets[0].Name = "other" }, false},
		{"an order", func(r *Ruleset) { slices.Reverse(r.Chains[0].Rules) }, false},
	} {
		changed := example()
		tt.change(changed)
		if got := Equal(example(), changed); got != tt.want {
			t.Errorf("%s: equal is %v", tt.name, got)
		}
	}
}
