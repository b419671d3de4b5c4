package apply

import (
	"context"
	"errors"
	"fmt"

	"tirl/internal/tool"
)

// Remove takes every rule of tirl out of the kernel, whichever backend holds it,
// and then the record. It gives the backends that held something.
func (e *Engine) Remove(ctx context.Context) ([]string, error) {
	l, err := e.lock(ctx)
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	for _, h := range e.survey(ctx) {
		if errors.Is(h.err, tool.ErrMissing) {
			continue
		}
		// What cannot be read can perhaps be removed all the same.
		if err := h.New(e.Run).Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("remove the rules of %s: %w", h.Name, errors.Join(err, h.err)))
			continue
		}
		if h.loaded != nil || h.err != nil {
			removed = append(removed, h.Name)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, e.forget())
	}
	if err := errors.Join(errs...); err != nil {
		l.unlock()
		return removed, err
	}
	l.remove()
	return removed, nil
}
