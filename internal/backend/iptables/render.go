package iptables

import (
	"errors"
	"fmt"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// Render implements backend.Backend. What it gives adds to tables in which
// nothing of tirl is; Load also takes out what replaces an older policy.
func (b *Backend) Render(g *automaton.Program) (backend.Ruleset, error) {
	if err := b.able(g); err != nil {
		return nil, err
	}
	var files backend.Ruleset
	for _, fam := range families {
		text := build(g, fam).restore(ruleset{})
		files = append(files, backend.File{Name: fam.file, Load: fam.command(), Text: text})
	}
	return files, nil
}

// able fails with everything that cannot be rendered.
func (b *Backend) able(g *automaton.Program) error {
	var errs []error
	for _, p := range b.Check(g) {
		if !p.Warning {
			errs = append(errs, fmt.Errorf("%s: %s", p.Key, p.Text))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("render for iptables: %w", err)
	}
	return nil
}
