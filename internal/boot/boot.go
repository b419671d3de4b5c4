// Package boot saves what a host needs to have its rules when it starts: text
// that nft or iptables-restore load by themselves, for the script dist/load.
//
// All that belongs together is in one directory, and the symbolic link current
// leads to it, so that a crash leaves all of the old or all of the new.
package boot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// Input is what Prepare saves.
type Input struct {
	// Root is the directory that /var/lib/tirl is under.
	Root    string
	Program *automaton.Program
	// OnFailure says what becomes of the doors if neither Rules nor the fallback
	// can be loaded. The empty value closes them.
	OnFailure policy.OnFailure
	// Rules is what the backend that holds the policy renders for Program.
	Rules backend.Ruleset
	// Others make the other backends, the best first. The fallback is of the first
	// that can carry Program.
	Others []func(tool.Runner) backend.Backend
	// Scratch lends the runner of a fresh, private network namespace. What fails
	// there is not saved. If it does not call its argument, nothing can be tried, and
	// all is saved: what cannot be loaded at boot does no harm.
	Scratch func(ctx context.Context, use func(tool.Runner) error) error
}

// Save is Prepare and Commit. Two of them, or any other change, may not run at
// the same time under the same Root.
func Save(ctx context.Context, in Input) error {
	p, err := Prepare(ctx, in)
	if err != nil {
		return err
	}
	return p.Commit()
}

// Prepare tries the fallback and the last resort, and writes everything to the
// disk beside what is in force. Commit, in this process or another, puts it in
// force.
func Prepare(ctx context.Context, in Input) (*Prepared, error) {
	if in.OnFailure == "" {
		in.OnFailure = policy.CloseOnFailure
	}
	files, notes, err := collect(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("save the rules for the next boot: %w", err)
	}
	name, err := write(in.Root, files)
	if err != nil {
		return nil, fmt.Errorf("save the rules for the next boot: %w", err)
	}
	return &Prepared{Root: in.Root, Name: name, Notes: notes}, nil
}

// Names of files that are no ruleset.
const (
	aboutName = "about"
	sumsName  = "SHA256SUMS"
)

// Stages of dist/load, in its order.
const (
	stageRules    = "rules"
	stageFallback = "fallback"
	stageClose    = "close"
	stageMinimal  = "minimal"
)

// file is one file of a saved set.
type file struct {
	name, text string
}

// collect makes all files, sorted by their names.
func collect(ctx context.Context, in Input) ([]file, []string, error) {
	if len(in.Rules) == 0 {
		return nil, nil, errors.New("there are no rules")
	}
	files := stage(stageRules, in.Rules)
	fallback, notes, err := in.fallback(ctx)
	if err != nil {
		return nil, nil, err
	}
	files = append(files, stage(stageFallback, fallback)...)
	if in.OnFailure == policy.CloseOnFailure {
		closing, more, err := in.closing(ctx)
		if err != nil {
			return nil, nil, err
		}
		files, notes = append(files, closing...), append(notes, more...)
	}
	about := fmt.Sprintf("policy %s\nrules %s\nfallback %s\non_failure %s\n",
		in.Program.PolicyHash, kindOf(in.Rules), kindOf(fallback), in.OnFailure)
	files = append(files, file{aboutName, about})
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return append(files, file{sumsName, sums(files)}), notes, nil
}

// stage names the files of a ruleset: tirl.nft becomes rules.nft.
func stage(name string, rules backend.Ruleset) []file {
	files := make([]file, len(rules))
	for i, f := range rules {
		files[i] = file{name + "." + extension(f), f.Text}
	}
	return files
}

func extension(f backend.File) string {
	_, ext, _ := strings.Cut(f.Name, ".")
	return ext
}

func kindOf(rules backend.Ruleset) string {
	switch {
	case len(rules) == 0:
		return "none"
	case extension(rules[0]) == "nft":
		return policy.BackendNftables
	}
	return policy.BackendIptables
}

// fallback renders the policy for another backend.
func (in Input) fallback(ctx context.Context) (backend.Ruleset, []string, error) {
	var notes []string
	for _, make := range in.Others {
		b := make(nil)
		rules, err := b.Render(in.Program)
		if err == nil {
			err = in.try(ctx, rules, func(run tool.Runner) error {
				loaded, err := make(run).Loaded(ctx)
				if err == nil && (loaded == nil || loaded.PolicyHash != in.Program.PolicyHash) {
					err = errors.New("the kernel does not hold what was loaded")
				}
				return err
			})
		}
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err == nil:
			return rules, notes, nil
		}
		notes = append(notes, fmt.Sprintf("no fallback with %s: %v", b.Name(), err))
	}
	return nil, notes, nil
}

// closing makes the last resorts, of every kind that this host can load. If it
// can load none, all are kept: another kernel may.
func (in Input) closing(ctx context.Context) ([]file, []string, error) {
	var all, able []file
	var notes []string
	for _, c := range []struct {
		name    string
		minimal bool
	}{{stageClose, false}, {stageMinimal, true}} {
		for _, rules := range []backend.Ruleset{nftables.Closed(in.Program, c.minimal), iptables.Closed(in.Program, c.minimal)} {
			files := stage(c.name, rules)
			all = append(all, files...)
			err := in.try(ctx, rules, func(tool.Runner) error { return nil })
			switch {
			case ctx.Err() != nil:
				return nil, nil, ctx.Err()
			case err == nil:
				able = append(able, files...)
			default:
				notes = append(notes, fmt.Sprintf("no last resort with %s: %v", kindOf(rules), err))
			}
		}
	}
	if len(able) == 0 {
		return all, notes, nil
	}
	return able, notes, nil
}

// try loads a ruleset into a private namespace, as dist/load does.
func (in Input) try(ctx context.Context, rules backend.Ruleset, check func(tool.Runner) error) error {
	if in.Scratch == nil {
		return nil
	}
	tried := false
	err := in.Scratch(ctx, func(run tool.Runner) error {
		tried = true
		for _, f := range rules {
			if _, err := run.Run(ctx, f.Text, f.Load[0], f.Load[1:]...); err != nil {
				return err
			}
		}
		return check(run)
	})
	if !tried {
		return nil
	}
	return err
}

// sums lists checksums as sha256sum(1) reads them.
func sums(files []file) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256([]byte(f.text)), f.name)
	}
	return b.String()
}
