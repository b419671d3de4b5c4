package nft

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// TestMutantsAreWhatIsListed changes rules at random. Whatever nft loads and
// this package understands, both must understand alike: nft prints what it made
// of the rule.
func TestMutantsAreWhatIsListed(t *testing.T) {
	labtest.Require(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx := context.Background()
	m := newMutator()
	loaded := 0
	for range 900 {
		rule := m.mutant()
		text := strings.Replace(about, "RULE", rule, 1)
		read, err := Parse(text)
		if err != nil {
			continue
		}
		if _, err := n.Run(ctx, "flush ruleset\n"+text, "nft", "-f", "-"); err != nil {
			continue
		}
		listing, err := n.Run(ctx, "", "nft", "list", "ruleset")
		if err != nil {
			continue // some versions of nft crash on what they have loaded
		}
		loaded++
		again, err := Parse(listing)
		if err != nil {
			t.Errorf("%s: the listing is not understood: %v", rule, err)
		} else if diff := difference(read, again); diff != "" {
			t.Errorf("%s (-as written +as nft lists it):\n%s", rule, diff)
		}
	}
	if loaded < 30 {
		t.Errorf("only %d mutants were loaded", loaded)
	}
}

// mutator changes the words of rules.
type mutator struct {
	rnd   *rand.Rand
	rules [][]string
	words []string
}

func newMutator() *mutator {
	m := &mutator{rnd: rand.New(rand.NewPCG(1, 2))}
	for _, c := range statementCases() {
		m.rules = append(m.rules, strings.Fields(c.rule))
	}
	m.words = append(slices.Concat(m.rules...), "<", "&", "|", "^", "(", ")", "-", "*", "{", "}", ",", ".", ":", "th", "ether", "daddr")
	return m
}

func (m *mutator) mutant() string {
	rule := slices.Clone(m.rules[m.rnd.IntN(len(m.rules))])
	if m.rnd.IntN(4) == 0 {
		rule = append(rule[:m.rnd.IntN(len(rule)+1)], m.rules[m.rnd.IntN(len(m.rules))]...)
	}
	for range 1 + m.rnd.IntN(2) {
		if len(rule) == 0 {
			break
		}
		i, j := m.rnd.IntN(len(rule)), m.rnd.IntN(len(rule))
		switch w := m.words[m.rnd.IntN(len(m.words))]; m.rnd.IntN(4) {
		case 0:
			rule = slices.Delete(rule, i, i+1)
		case 1:
			rule = slices.Insert(rule, i, w)
		case 2:
			rule[i] = w
		case 3:
			rule[i], rule[j] = rule[j], rule[i]
		}
	}
	return strings.Join(rule, " ")
}
