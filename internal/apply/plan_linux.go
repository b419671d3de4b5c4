package apply

import (
	"context"
	"errors"
	"fmt"

	"tirl/internal/policy"
	"tirl/internal/tool"
)

// Plan is what Apply would do.
type Plan struct {
	Backend string
	Already bool
	// Before is the ruleset as it was last loaded, if the kernel still has it;
	// After is what would be loaded.
	Before, After []File
	// BeforeBackend is the backend of Before.
	BeforeBackend string
	// Listed and Kernel are what the kernel listed after the last load and what it
	// lists by this time. They differ if somebody has changed the rules, which
	// Apply would undo.
	Listed, Kernel string
	// Unknown are backends that hold rules without a record of them.
	Unknown []string
	// Unread are the errors of backends whose rules could not be read.
	Unread []error
	Lacks  []Lack
}

// Plan says what Apply would do, and changes nothing. It takes no lock.
func (e *Engine) Plan(ctx context.Context, in Input) (*Plan, error) {
	holding := e.survey(ctx)
	if err := denied(holding); err != nil {
		return nil, err
	}
	res, already, err := e.already(ctx, in, holding)
	if err != nil {
		return nil, err
	}
	p := &Plan{Backend: res.Backend, Already: already}
	kind, lacks, err := e.planned(ctx, in, p)
	if err != nil {
		return nil, err
	}
	p.Backend, p.Lacks = kind.Name, e.better(kind.Name, lacks)
	rules, err := kind.New(e.Run).Render(in.Program)
	if err != nil {
		return nil, fmt.Errorf("render for %s: %w", p.Backend, err)
	}
	p.After = files(rules)
	e.before(p, holding)
	return p, nil
}

// planned gives the kind that Apply would load.
func (e *Engine) planned(ctx context.Context, in Input, p *Plan) (Kind, []Lack, error) {
	if p.Already {
		kinds, err := e.asked(p.Backend)
		return kinds[0], nil, err
	}
	kinds, lacks, err := e.choose(ctx, in)
	if err != nil {
		return Kind{}, nil, err
	}
	if len(kinds) == 0 {
		return Kind{}, nil, &UnsupportedError{e.better("", lacks)}
	}
	if in.Backend != policy.BackendAuto {
		// What is asked for is tried too, though Apply would load it at once.
		if err := e.try(ctx, kinds[0], in.Program); err != nil && !errors.Is(err, ErrNoScratch) {
			return Kind{}, nil, &UnsupportedError{[]Lack{{Backend: kinds[0].Name, Err: err}}}
		}
	}
	return kinds[0], lacks, nil
}

// before fills in what is there.
func (e *Engine) before(p *Plan, holding []held) {
	rec, err := e.readRecord()
	if err != nil {
		rec = nil // what the kernel holds is then unknown
	}
	for _, h := range holding {
		switch {
		case h.err != nil && !errors.Is(h.err, tool.ErrMissing):
			p.Unread = append(p.Unread, fmt.Errorf("read what %s holds: %w", h.Name, h.err))
		case h.loaded == nil:
		case rec != nil && rec.Backend == h.Name && rec.PolicyHash == h.loaded.PolicyHash:
			p.BeforeBackend, p.Before = h.Name, rec.Ruleset
			p.Listed, p.Kernel = rec.Kernel, h.loaded.Text
		default:
			p.Unknown = append(p.Unknown, h.Name)
		}
	}
}
