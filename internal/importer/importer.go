// Package importer makes a policy out of the configuration of another tool.
//
// It guesses nothing. A door is carried over if tirl's lets in nobody and at no
// port whom the other tool would not have let in; where tirl's lets in less, or
// otherwise, a remark says so. One exception has a remark too: who could knock over
// IPv6 but had no command there gets in over IPv6. What cannot be carried over
// stays in the policy as a comment with the reason. It is pure.
package importer

import (
	"cmp"
	"slices"

	"tirl/internal/policy"
)

// Result is a policy and what is to be said about it.
type Result struct {
	Text   []byte             // the policy file, with remarks
	Policy *policy.Policy     // nil if no door could be carried over
	Found  policy.Diagnostics // at places of the file that was imported
	Left   int                // how many things stand in it as comments only
	Proof  *Proof             // how it compares with rules that it was made of; nil: nothing to compare
}

// Host is what may be known of the host that both files are for.
type Host struct {
	Interfaces []string // nil: not known
	HasIPv6    bool     // an address that is reached from elsewhere
	Audit      policy.Host
}

// sortFound puts diagnostics into the order of the file, and leaves out what has
// been said at one place already.
func sortFound(ds policy.Diagnostics) policy.Diagnostics {
	ds.Sort()
	return slices.CompactFunc(ds, func(a, b policy.Diagnostic) bool {
		return cmp.Or(a.Pos.Compare(b.Pos), cmp.Compare(a.Text, b.Text)) == 0
	})
}
