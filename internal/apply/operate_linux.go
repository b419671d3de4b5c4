package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tirl/internal/backend"
)

// Operate gives a function the hand of an administrator in what is loaded, while
// nobody else changes it: first the backend that Status names, then any other
// that an interrupted Apply has left. The error is backend.ErrNotLoaded if nothing is.
func (e *Engine) Operate(ctx context.Context, f func([]backend.Operator, *Status) error) error {
	l, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer e.finish(ctx, l)
	s, err := e.Status(ctx)
	if err != nil {
		return err
	}
	if !s.Active() {
		return backend.ErrNotLoaded
	}
	var hands []backend.Operator
	for _, name := range append([]string{s.Backend}, s.Others...) {
		i := slices.IndexFunc(e.Kinds, func(k Kind) bool { return k.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no backend %s", name)
		}
		op, ok := e.Kinds[i].New(e.Run).(backend.Operator)
		if !ok {
			return fmt.Errorf("backend %s cannot be changed by hand", name)
		}
		hands = append(hands, op)
	}
	return f(hands, s)
}

// stillBlocked is what to say of a load that does not end a block.
func stillBlocked(holding []held) []error {
	if !slices.ContainsFunc(holding, func(h held) bool { return h.loaded != nil && h.loaded.Blocked }) {
		return nil
	}
	return []error{errors.New("all doors are still blocked: sudo tirl unblock ends it")}
}

// keepBlock blocks all doors of a backend if an administrator has blocked those of
// the one that it takes the place of.
func (e *Engine) keepBlock(ctx context.Context, blocked bool, k Kind) error {
	if !blocked {
		return nil
	}
	op, ok := k.New(e.Run).(backend.Operator)
	if !ok {
		return fmt.Errorf("backend %s cannot be blocked", k.Name)
	}
	if err := op.Block(ctx); err != nil {
		return fmt.Errorf("keep all doors blocked: %w", err)
	}
	return nil
}
