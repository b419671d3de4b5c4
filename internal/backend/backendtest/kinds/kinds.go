// Package kinds lists the kinds of kernel program that carry doors, for tests
// that make no difference between them.
package kinds

import (
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// Kind is a backend with the programs of one kind.
type Kind struct {
	Name    string
	Backend string // its name in a policy
	Make    backendtest.Maker
}

// All gives every kind, in the order in which they are tried.
func All() []Kind {
	return []Kind{
		{"nftables", policy.BackendNftables, func(r tool.Runner) backend.Backend { return nftables.New(r) }},
		{"iptables-nft", policy.BackendIptables, with("nft")},
		{"iptables-legacy", policy.BackendIptables, with("legacy")},
	}
}

func with(programs string) backendtest.Maker {
	return func(r tool.Runner) backend.Backend { return iptables.New(backendtest.WithIptables(r, programs)) }
}
