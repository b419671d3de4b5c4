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

// tick is the longest that the kernel rounds a time up to (CONFIG_HZ=100).
const tick = 10 * time.Millisecond

// difference compares two rulesets up to what a listing need not keep.
func difference(a, b *ruleset.Ruleset) string {
	return gocmp.Diff(sorted(a), sorted(b), samePrefix,
		gocmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < tick }))
}

// same fails the test if two rulesets differ.
func same(t testing.TB, what string, a, b *ruleset.Ruleset) {
	t.Helper()
	if diff := difference(a, b); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

// sorted is the canonical form, with matches that follow each other sorted too:
// nft joins those that look at neighbouring bytes.
func sorted(r *ruleset.Ruleset) *ruleset.Ruleset {
	r = r.Canonical()
	for _, c := range r.Chains {
		for _, rule := range c.Rules {
			list := rule.Statements
			for i := 0; i < len(list); i++ {
				n := i
				for n < len(list) && isMatch(list[n]) {
					n++
				}
				slices.SortFunc(list[i:n], func(a, b ruleset.Statement) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
				i = n
			}
		}
	}
	return r
}

func isMatch(s ruleset.Statement) bool {
	_, ok := s.(ruleset.Match)
	return ok
}

func mustParse(t testing.TB, text string) *ruleset.Ruleset {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
