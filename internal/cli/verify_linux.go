package cli

import (
	"context"
	"errors"
	"fmt"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/verify/parse"
)

// liveRules reads what the kernel holds.
func (a *app) liveRules(ctx context.Context, g *automaton.Program) (*proof, error) {
	if err := a.needRoot("list rules"); err != nil {
		return nil, err
	}
	held, err := a.engine().Held(ctx)
	if err != nil {
		return nil, a.explainFailure(err)
	}
	if len(held) == 0 {
		return nil, fail(exitInactive, errors.New("the kernel holds no rules of tirl"), "sudo tirl apply")
	}
	if len(held) > 1 {
		return nil, fail(exitFindings, errors.New("the kernel holds rules of tirl by several backends"), "sudo tirl apply")
	}
	h := held[0]
	if h.Loaded.PolicyHash != g.PolicyHash {
		a.warn("the kernel holds the rules of another policy")
		a.hint("sudo tirl apply --dry-run")
	}
	if h.Loaded.Blocked {
		a.note("all doors are blocked by an administrator; the rules are proved as they are without that")
	}
	pr := &proof{what: "the rules of " + h.Backend + " in the kernel"}
	if pr.rules, err = parse.Backend(h.Backend, backend.Ruleset{{Name: h.Backend, Text: h.Loaded.Listing}}); err != nil {
		// Whatever somebody has made of them, they are what the kernel holds.
		pr.Unproved = err
	}
	for _, r := range h.Loaded.InFront {
		a.warn("a rule that is not tirl's stands in front in %s: %s", r.Where, r.Text)
		pr.beside = append(pr.beside, fmt.Sprintf("the rule in front in %s decides about no packet: %s", r.Where, r.Text))
	}
	if len(pr.beside) > 0 {
		a.hint("sudo tirl doctor")
	}
	return pr, nil
}
