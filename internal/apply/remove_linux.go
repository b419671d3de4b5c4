package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tirl/internal/confirm"
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
		errs = append(errs, e.forgetAll())
	}
	if err := errors.Join(errs...); err != nil {
		l.unlock()
		return removed, err
	}
	if e.cleaned() {
		l.remove()
	} else {
		l.unlock()
	}
	return removed, nil
}

// forgetAll removes the record, what Rollback would put back and what the next
// boot would load, and ends a wait: there is nothing left to be confirmed.
func (e *Engine) forgetAll() error {
	var errs []error
	p, err := e.runtime().Read()
	errs = append(errs, err)
	if p != nil {
		e.discardBoot(p.Saved)
		errs = append(errs, e.runtime().End(p, confirm.RolledBack, "tirl remove", e.now()))
		e.swept(p.ID)
	}
	if e.Boots != nil {
		errs = append(errs, e.Boots.Remove())
	}
	removeAll(e.previousPath(), e.sparePath())
	return errors.Join(append(errs, e.forget())...)
}

// cleaned removes what is known of waits, once their watchdogs have seen how
// they ended, and says whether it could.
func (e *Engine) cleaned() bool {
	for range 20 {
		if e.runtime().Clean() {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}
