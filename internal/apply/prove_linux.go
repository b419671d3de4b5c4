package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"

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

// chooseProved is choose, and proves what the first of the kinds is to load. The trial of the
// likeliest kind and its proof go on at once: neither touches the host.
func (e *Engine) chooseProved(ctx context.Context, in Input) ([]Kind, []Lack, error) {
	asked, err := e.asked(in.Backend)
	if err != nil {
		return nil, nil, err
	}
	var proving sync.WaitGroup
	var proof error
	likely, _ := Fit(asked, in.Program)
	if len(likely) > 0 {
		proving.Go(func() { proof = e.proveRendered(likely[0], in.Program) })
	}
	kinds, lacks, err := e.choose(ctx, in)
	proving.Wait()
	switch {
	case err != nil || len(kinds) == 0:
	case kinds[0].Name == likely[0].Name:
		err = proof
	default:
		err = e.proveRendered(kinds[0], in.Program)
	}
	return kinds, lacks, err
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
