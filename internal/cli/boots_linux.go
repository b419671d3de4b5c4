package cli

import (
	"context"

	"tirl/internal/adopt"
	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/boot"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// boots keeps what is loaded at boot.
type boots struct {
	root string
}

func (b boots) Prepare(ctx context.Context, p *policy.Policy, g *automaton.Program, name string, rules backend.Ruleset) (string, []string, error) {
	in := boot.Input{Root: b.root, Program: g, OnFailure: p.Boot.OnFailure, Rules: rules, Scratch: scratch}
	for _, k := range kinds() {
		if k.Name != name {
			in.Others = append(in.Others, func(r tool.Runner) backend.Backend { return k.New(r) })
		}
	}
	set, err := boot.Prepare(ctx, in)
	if err != nil {
		return "", nil, err
	}
	return set.Name, set.Notes, nil
}

func (b boots) set(name string) *boot.Prepared { return &boot.Prepared{Root: b.root, Name: name} }

func (b boots) Commit(set string) error  { return b.set(set).Commit() }
func (b boots) Discard(set string) error { return b.set(set).Discard() }
func (b boots) Remove() error            { return boot.Remove(b.root) }

// adoptAll makes conntrack know the connections that are open.
func adoptAll(ctx context.Context) error {
	_, err := adopt.Adopt(ctx)
	return err
}
