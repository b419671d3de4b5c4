package automatontest

import (
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/policy"
)

// Compile compiles the text of a policy, which must be sound.
func Compile(t testing.TB, source string) *automaton.Program {
	t.Helper()
	p, found := policy.Parse("policy.toml", []byte(source))
	if found.HasErrors() {
		t.Fatalf("the policy has errors: %v", found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatalf("compile the policy: %v", err)
	}
	return g
}
