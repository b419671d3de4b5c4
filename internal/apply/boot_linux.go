package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
)

// Saver keeps what the host loads when it starts. Only a load that is kept is
// for the next boot.
type Saver interface {
	// Prepare writes a set to the disk that is not in force, and gives its name and
	// what people should know.
	Prepare(ctx context.Context, p *policy.Policy, g *automaton.Program, name string, rules backend.Ruleset) (set string, notes []string, err error)
	Commit(set string) error
	Discard(set string) error
	// Remove sees to it that nothing is loaded at boot.
	Remove() error
}

// prepareBoot gives the name of the set; empty if there is none, and then a
// warning says why.
func (e *Engine) prepareBoot(ctx context.Context, in Input, res *Result) string {
	if e.Boots == nil {
		return ""
	}
	set, err := e.prepare(ctx, in.File, in.Source, in.Program, res.Backend)
	if err != nil {
		res.Warnings = append(res.Warnings, fmt.Errorf("the next boot will not load this policy: %w", err))
	}
	return set
}

func (e *Engine) prepare(ctx context.Context, file string, source []byte, g *automaton.Program, name string) (string, error) {
	p, _ := policy.Parse(file, source)
	if p == nil {
		return "", errors.New("the policy is not sound")
	}
	kinds, err := e.asked(name)
	if err != nil {
		return "", err
	}
	rules, err := kinds[0].New(e.Run).Render(g)
	if err != nil {
		return "", err
	}
	set, _, err := e.Boots.Prepare(ctx, p, g, name, rules)
	return set, err
}

func (e *Engine) commitBoot(set string) error {
	if e.Boots == nil || set == "" {
		return nil
	}
	return e.Boots.Commit(set)
}

func (e *Engine) discardBoot(set string) {
	if e.Boots != nil && set != "" {
		_ = e.Boots.Discard(set) // what is left over does no harm
	}
}

// saveBoot saves what an order has put back.
func (e *Engine) saveBoot(ctx context.Context, o *Order) error {
	if e.Boots == nil {
		return nil
	}
	if o.Empty() {
		return e.Boots.Remove()
	}
	var rec Record
	if err := json.Unmarshal(o.Record, &rec); err != nil {
		return fmt.Errorf("the next boot will load the policy that was taken back: nobody has recorded the older one: %w", err)
	}
	p, _ := policy.Parse(rec.PolicyFile, []byte(rec.Policy))
	if p == nil {
		return errors.New("the next boot will load the policy that was taken back: the older one cannot be read any more")
	}
	g, err := automaton.Compile(p)
	if err != nil {
		return err
	}
	set, err := e.prepare(ctx, rec.PolicyFile, []byte(rec.Policy), g, rec.Backend)
	if err != nil {
		return err
	}
	return e.commitBoot(set)
}
