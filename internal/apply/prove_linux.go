package apply

import (
	"errors"
	"fmt"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/verify"
)

// RefutedError says that rules in the kernel do otherwise than the policy says.
type RefutedError struct {
	Backend string
	Why     error
}

func (e *RefutedError) Error() string {
	return fmt.Sprintf("%s: what the kernel holds: %v", e.Backend, e.Why)
}

func (e *RefutedError) Unwrap() error { return e.Why }

// proveRendered proves what is to be loaded. Rules of our own making that cannot be
// proved are not loaded.
func (e *Engine) proveRendered(k Kind, g *automaton.Program) error {
	if e.Prove == nil {
		return nil
	}
	rules, err := k.New(e.Run).Render(g)
	if err != nil {
		return fmt.Errorf("render for %s: %w", k.Name, err)
	}
	if err := e.Prove(g, k.Name, rules, false); err != nil {
		return fmt.Errorf("%s: the rules to be loaded: %w", k.Name, err)
	}
	return nil
}

// proveLoaded proves what the kernel lists after a load. That the listing cannot be
// understood, as that of a later nft may be, is a warning: the very rules were proved
// before. That it does otherwise is an error.
func (e *Engine) proveLoaded(k Kind, g *automaton.Program, kernel *backend.Loaded, res *Result) error {
	if e.Prove == nil {
		return nil
	}
	err := e.Prove(g, k.Name, backend.Ruleset{{Name: k.Name, Text: kernel.Listing}}, true)
	if err == nil {
		return nil
	}
	if not, ok := errors.AsType[*verify.NotProvedError](err); ok && len(not.Differences) > 0 {
		return &RefutedError{k.Name, err}
	}
	res.Warnings = append(res.Warnings, fmt.Errorf("%s: what the kernel lists could not be proved, while the rules as they were loaded were: %w", k.Name, err))
	return nil
}
