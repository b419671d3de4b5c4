package xtables

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tirl/internal/verify/ruleset"
)

func FuzzParse(f *testing.F) {
	for _, c := range rules4() {
		f.Add("*filter\n:NEXT - [0:0]\n[1:2] -A INPUT " + c.rule + "\nCOMMIT\n")
	}
	for _, c := range rules6() {
		f.Add("# tirl.ip6tables\n*mangle\n-N NEXT\n-I PREROUTING 1 " + c.rule + "\nCOMMIT\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, family := range []ruleset.Family{ruleset.IPv4, ruleset.Both} {
			r, err := Parse(text, family)
			if err == nil {
				checkSound(t, r, strings.Count(text, "\n")+1)
			}
		}
	})
}

// checkSound fails if a ruleset has an index that is out of range, a rule of no
// line, or a line without a text.
func checkSound(t *testing.T, r *ruleset.Ruleset, lines int) {
	t.Helper()
	for _, c := range r.Chains {
		for _, rule := range c.Rules {
			if rule.Line < 1 || rule.Line > lines || rule.Text == "" {
				t.Errorf("%+v", rule)
			}
			for _, s := range rule.Statements {
				statement(r, s)
			}
		}
	}
	if c := r.Canonical(); !ruleset.Equal(r, c) {
		t.Error("not equal to its canonical form")
	}
}

func saves(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.save")
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	return all
}

func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
