package demo

import _ "embed"

//go:embed reference.toml
var reference []byte

// Reference gives the policy that the demo shows unless it is told otherwise:
// the founding recipe, HTTP for everybody and SSH behind three knocks.
func Reference() []byte { return append([]byte(nil), reference...) }

//go:embed reference.sh
var rules string

// ReferenceRules gives the same as the founding recipe has it: commands of iptables,
// which overwrite the filter table of IPv4.
func ReferenceRules() string { return rules }
