// Package parse reads rulesets of any kind that the verifier knows. It is pure.
package parse

import (
	"fmt"
	"slices"
	"strings"

	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/verify/nft"
	"tirl/internal/verify/ruleset"
	"tirl/internal/verify/xtables"
)

// Kind is a syntax of rulesets.
type Kind string

// Kinds of text.
const (
	Nftables Kind = "nftables" // what nft -f reads, and nft list prints
	Iptables Kind = "iptables" // what iptables-restore reads, and iptables-save prints
	Script   Kind = "script"   // a shell script of iptables commands
)

// Backend reads what a backend of that name renders, or lists.
func Backend(name string, files backend.Ruleset) (*ruleset.Ruleset, error) {
	switch {
	case name == policy.BackendNftables && len(files) == 1:
		return nft.Parse(files[0].Text)
	case name == policy.BackendIptables && len(files) == 1:
		return xtables.Parse(files[0].Text, ruleset.Both)
	case name == policy.BackendIptables && len(files) == 2:
		return xtables.Parse(xtables.Join(files[0].Text, files[1].Text), ruleset.Both)
	}
	return nil, fmt.Errorf("rules of the backend %q in %d files cannot be read", name, len(files))
}

// Text reads a ruleset of whatever kind. Text of iptables-save that does not say
// which family it is of is taken to be of family.
func Text(text string, family ruleset.Family) (*ruleset.Ruleset, Kind, error) {
	kind := kindOf(text)
	var rs *ruleset.Ruleset
	var err error
	switch kind {
	case Nftables:
		rs, err = nft.Parse(text)
	case Script:
		rs, err = xtables.ParseScript(text)
	default:
		rs, err = xtables.Parse(text, family)
	}
	return rs, kind, err
}

// kindOf tells by the first line that says something.
func kindOf(text string) Kind {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "#!") && strings.Contains(line, "nft"):
			return Nftables
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "*"), strings.HasPrefix(line, ":"), strings.HasPrefix(line, "-"), strings.HasPrefix(line, "["):
			return Iptables
		case slices.Contains([]string{"table", "flush", "add", "create", "delete", "destroy", "define", "include", "chain", "set", "map"}, words[0]) &&
			!strings.HasPrefix(line, "set -"):
			return Nftables
		default:
			return Script
		}
	}
	return Iptables
}

// Families are those that some base chain of a ruleset sees.
func Families(rs *ruleset.Ruleset) ruleset.Family {
	var f ruleset.Family
	for _, h := range rs.Hooks {
		f |= h.Families
	}
	return f
}
