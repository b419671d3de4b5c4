package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tirl/internal/backend"
	"tirl/internal/tool"
)

var _ backend.Snapshotter = (*Backend)(nil)

// Snapshot implements backend.Snapshotter. It holds the chains. The entries of
// the lists are not in it: their times cannot be written to the kernel.
func (b *Backend) Snapshot(ctx context.Context) (*backend.Snapshot, error) {
	s := &backend.Snapshot{Backend: b.Name()}
	for _, fam := range families {
		kernel, err := b.kernel(ctx, fam)
		if errors.Is(err, tool.ErrMissing) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		if kernel = kernel.without(old); !kernel.empty() {
			s.Parts = append(s.Parts, backend.SnapshotPart{Name: fam.file, Text: kernel.restore(ruleset{})})
		}
	}
	return s, nil
}

// without leaves out a chain.
func (r ruleset) without(name string) ruleset {
	var out ruleset
	for _, t := range r.tables {
		t.chains = slices.DeleteFunc(slices.Clone(t.chains), func(c chain) bool { return c.name == name })
		if len(t.chains)+len(t.jumps) > 0 {
			out.tables = append(out.tables, t)
		}
	}
	return out
}

// Restore implements backend.Snapshotter. A list that rules of both policies
// name stays as it is, and so do the grants of doors that both have; other lists
// begin empty. Each family is one transaction for each table, and what fails is
// undone in both.
func (b *Backend) Restore(ctx context.Context, s *backend.Snapshot, _ time.Duration) error {
	if s.Empty() {
		return b.Remove(ctx)
	}
	var is rulesets
	var texts [len(families)]string
	loaded, blocked := false, false
	for i, fam := range families {
		var err error
		is[i], err = b.kernel(ctx, fam)
		if errors.Is(err, tool.ErrMissing) && s.Part(fam.file) == "" {
			continue
		}
		if err != nil {
			return fmt.Errorf("restore rules: %w", err)
		}
		loaded, blocked = loaded || !is[i].empty(), blocked || is[i].blocked()
	}
	for i, fam := range families {
		was := parse(s.Part(fam.file))
		// Whoever blocked the doors, or opened them, did so after the snapshot.
		if blocked {
			was = was.block()
		} else if loaded {
			was = was.unblock()
		}
		texts[i] = was.restore(is[i])
		if texts[i] == "" {
			continue
		}
		if err := b.restore(ctx, fam, texts[i], "--test"); err != nil {
			return fmt.Errorf("restore rules: %w", err)
		}
	}
	for i, fam := range families {
		if texts[i] == "" {
			continue
		}
		if err := b.restore(ctx, fam, texts[i]); err != nil {
			return b.undo(ctx, is, i+1, fmt.Errorf("restore rules: %w", err))
		}
	}
	return nil
}
