// Package nftables carries an automaton in one nftables table, inet tirl. The
// automaton is data: doors are elements of maps, and the number of rules does
// not grow with them.
//
// A source's place is the value of a map from its address. Packet mark and
// conntrack mark belong to others, so the value travels through a rule in meta
// priority, which nothing on the local input path reads and which forwarding
// sets anew (ip_forward(), net/ipv4/ip_forward.c); it is none again wherever a
// packet leaves these chains.
package nftables

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

const table = "inet tirl"

// GrantCapacity is how many open doors the kernel holds for each family. It does
// not follow the policy, so that grants outlive a change of policy in place.
const GrantCapacity = 65536

// grantSets hold the open doors of each family: those that a source has opened,
// and those that an administrator has. They are apart because a knock sets the
// end of a grant anew, and must not bring a longer one to an earlier end.
var grantSets = [...]string{"grant4", "given4", "grant6", "given6"}

// blockedSet holds both families while all doors are blocked, and else nothing.
const blockedSet = "blocked"

// Backend drives nft(8).
type Backend struct {
	run tool.Runner
}

// New gives a backend whose nft is run by r.
func New(r tool.Runner) *Backend { return &Backend{run: r} }

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Skimmer = (*Backend)(nil)
)

// Name implements backend.Backend.
func (*Backend) Name() string { return policy.BackendNftables }

// Check implements backend.Backend. Whatever an automaton can say, nftables can
// do; what a host's nft or kernel lacks is found by loading.
func (*Backend) Check(*automaton.Program) []backend.Problem { return nil }

// Render implements backend.Backend.
func (*Backend) Render(g *automaton.Program) (backend.Ruleset, error) {
	return backend.Ruleset{{
		Name: "tirl.nft",
		Load: []string{"nft", "-f", "-"},
		Text: render(g),
	}}, nil
}

// Load implements backend.Backend: one transaction that takes out what an older
// policy left and no rule of this one uses, then what Render gives.
func (b *Backend) Load(ctx context.Context, g *automaton.Program) error {
	old, err := b.outline(ctx)
	if err != nil {
		return err
	}
	text := replace(old, g) + render(g)
	if _, err := b.run.Run(ctx, text, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("load table %s: %w", table, b.lacking(ctx, g, explain(err)))
	}
	return nil
}

// Remove implements backend.Backend.
func (b *Backend) Remove(ctx context.Context) error {
	// Deleting what was just added or was there: never an error, and atomic.
	text := "add table " + table + "\ndelete table " + table + "\n"
	if _, err := b.run.Run(ctx, text, "nft", "-f", "-"); err != nil {
		if errors.Is(err, tool.ErrMissing) {
			return nil
		}
		return fmt.Errorf("remove table %s: %w", table, err)
	}
	return nil
}

// explain names the cause where nft itself breaks on a ruleset.
func explain(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() < 0 && strings.Contains(err.Error(), "Assertion") {
		return fmt.Errorf("this nft cannot build a rule of this policy: %w", err)
	}
	return err
}
