package apply

import (
	"context"
	"errors"
	"fmt"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// choose gives the kinds to load, the best first: with auto the first that loads
// the very ruleset in a private namespace. Where there can be none, all that
// may do are given, to be tried on the host, which a failing load leaves as it is.
func (e *Engine) choose(ctx context.Context, in Input) ([]Kind, []Lack, error) {
	kinds, err := e.asked(in.Backend)
	if err != nil {
		return nil, nil, err
	}
	able, lacks := Fit(kinds, in.Program)
	if in.Backend != policy.BackendAuto {
		return able, lacks, nil
	}
	for i, k := range able {
		err := e.try(ctx, k, in.Program)
		switch {
		case err == nil:
			return able[i : i+1], lacks, nil
		case errors.Is(err, ErrNoScratch):
			return able[i:], lacks, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		}
		lacks = append(lacks, Lack{Backend: k.Name, Err: err})
	}
	return nil, lacks, nil
}

// better keeps what kinds that would have been taken before the named one lack,
// in their order; of no name, what all of them lack.
func (e *Engine) better(name string, lacks []Lack) []Lack {
	var kept []Lack
	for _, k := range e.Kinds {
		if k.Name == name {
			break
		}
		for _, l := range lacks {
			if l.Backend == k.Name {
				kept = append(kept, l)
			}
		}
	}
	return kept
}

// try loads a program where it does no harm and reads back what it takes to know that it
// is there.
func (e *Engine) try(ctx context.Context, k Kind, g *automaton.Program) error {
	return e.Scratch(ctx, func(run tool.Runner) error {
		b := k.New(run)
		if err := b.Load(ctx, g); err != nil {
			return err
		}
		read := b.Loaded
		if s, ok := b.(backend.Skimmer); ok {
			read = s.Outline
		}
		_, err := checked(ctx, read, g)
		return err
	})
}

func readBack(ctx context.Context, b backend.Backend, g *automaton.Program) (*backend.Loaded, error) {
	return checked(ctx, b.Loaded, g)
}

// checked sees to it that what is read is of the policy.
func checked(ctx context.Context, read func(context.Context) (*backend.Loaded, error), g *automaton.Program) (*backend.Loaded, error) {
	loaded, err := read(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read back what was loaded: %w", err)
	case loaded == nil:
		return nil, errors.New("read back what was loaded: the kernel holds nothing")
	case loaded.PolicyHash != g.PolicyHash:
		return nil, fmt.Errorf("read back what was loaded: the kernel holds policy %s, not %s", loaded.PolicyHash, g.PolicyHash)
	}
	return loaded, nil
}
