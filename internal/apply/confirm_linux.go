package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"tirl/internal/atomicfile"
	"tirl/internal/confirm"
	"tirl/internal/session"
)

// Errors of Confirm and Rollback.
var (
	ErrNothingPending = errors.New("nothing waits to be confirmed")
	ErrSameSession    = errors.New("this connection was open before the policy was loaded, so it proves nothing")
	ErrNothingBefore  = errors.New("nothing is known of what was there before")
	ErrNotInForce     = errors.New("tirl was killed while it loaded the policy, which is being taken back")
)

// Confirm ends the wait after a load: the rules stay. Whoever asks has come by a
// session, which must have begun since, unless force is set; nil stands for
// somebody who came by no connection.
func (e *Engine) Confirm(ctx context.Context, s *session.Session, force bool) (Result, error) {
	l, err := e.lock(ctx)
	if err != nil {
		return Result{}, err
	}
	defer e.finish(ctx, l)
	p, err := e.underWay()
	switch {
	case err != nil:
		return Result{}, err
	case p == nil:
		return Result{}, ErrNothingPending
	case !p.Loaded:
		return Result{}, ErrNotInForce
	case !force && p.Same(s):
		return Result{}, ErrSameSession
	}
	how := "tirl confirm"
	switch {
	case s != nil && s.Remote.IsValid():
		how += " by " + s.Conn.String()
	case s == nil:
		how += " from no network session"
	}
	if force {
		how += ", by force"
	}
	return e.keep(p, how)
}

// proved is Confirm by the watchdog.
func (e *Engine) proved(ctx context.Context, id, how string) error {
	l, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer e.finish(ctx, l)
	p, err := e.underWay()
	if err != nil || p == nil || p.ID != id || !p.Loaded {
		return err
	}
	_, err = e.keep(p, how)
	return err
}

// keep makes a load stay. From the rename in End on it does; what fails
// afterwards is told as a warning.
func (e *Engine) keep(p *confirm.Pending, how string) (Result, error) {
	if err := e.runtime().End(p, confirm.Confirmed, how, e.now()); err != nil {
		return Result{}, err
	}
	res := Result{Backend: p.Backend, Pending: p}
	if err := e.commitBoot(p.Saved); err != nil {
		res.Warnings = append(res.Warnings, err)
	}
	o, err := readOrder(e.runtime().OrderPath(p.ID))
	if err == nil && o != nil {
		err = e.keepPrevious(o)
	}
	if err != nil {
		res.Warnings = append(res.Warnings, fmt.Errorf("keep the older rules for tirl rollback: %w", err))
	}
	e.swept(p.ID)
	return res, nil
}

// keepPrevious makes an order what Rollback puts back.
func (e *Engine) keepPrevious(o *Order) error { return writeOrder(e.previousPath(), o) }

// Rollback puts back what was there before the last load: at once if it waits to
// be confirmed, else what the last confirmed load replaced. Then what it takes
// out is in turn what another Rollback puts back.
func (e *Engine) Rollback(ctx context.Context) (Result, error) {
	l, err := e.lock(ctx)
	if err != nil {
		return Result{}, err
	}
	defer e.finish(ctx, l)
	p, err := e.underWay()
	if err != nil {
		return Result{}, err
	}
	if p != nil {
		o, err := readOrder(e.runtime().OrderPath(p.ID))
		if err != nil {
			return Result{}, err
		}
		if o == nil {
			return Result{}, ErrNothingBefore
		}
		if err := l.lend(true); err != nil {
			return Result{}, err
		}
		return e.undo(ctx, p, o, "tirl rollback")
	}
	return e.swap(ctx, l)
}

// undo takes back a load that waits.
func (e *Engine) undo(ctx context.Context, p *confirm.Pending, o *Order, why string) (Result, error) {
	var res Result
	warning, err := e.putBack(ctx, o)
	if err != nil {
		if p != nil {
			p.Failed = err.Error()
			_ = e.runtime().Write(p) // for status
		}
		return res, err
	}
	if warning != nil {
		res.Warnings = append(res.Warnings, warning)
	}
	res.Before = o
	if p == nil {
		return res, nil
	}
	e.discardBoot(p.Saved)
	if err := e.runtime().End(p, confirm.RolledBack, why, e.now()); err != nil {
		return res, err
	}
	e.swept(p.ID)
	return res, nil
}

// swapTime is more than putting back takes.
const swapTime = 2 * time.Minute

// swap puts back what the last confirmed load replaced.
func (e *Engine) swap(ctx context.Context, l *lock) (Result, error) {
	previous, err := readOrder(e.previousPath())
	if err != nil {
		return Result{}, err
	}
	if previous == nil {
		return Result{}, ErrNothingBefore
	}
	present, err := e.take(ctx)
	if err != nil {
		return Result{}, err
	}
	// Whoever is killed half-way leaves what was there. Nothing else is to be
	// confirmed: these rules have been in force before.
	t, err := e.watched(ctx, present, &confirm.Pending{Wait: swapTime})
	if err != nil {
		return Result{}, err
	}
	if err := l.lend(true); err != nil {
		return Result{}, t.failed(err)
	}
	warning, err := e.putBack(ctx, previous)
	if err == nil {
		err = e.runtime().End(t.pending, confirm.Confirmed, "tirl rollback", e.now())
	}
	if err != nil {
		return Result{}, t.takeBack(ctx, err)
	}
	e.swept(present.ID)
	res := Result{Before: previous}
	for _, err := range []error{warning, e.keepAfterSwap(present), e.saveBoot(ctx, previous)} {
		if err != nil {
			res.Warnings = append(res.Warnings, err)
		}
	}
	return res, nil
}

func (e *Engine) keepAfterSwap(present *Order) error {
	slot, err := e.reserve() // makes the directory
	if err != nil {
		return err
	}
	slot.Discard()
	return e.keepPrevious(present)
}

func removeAll(paths ...string) {
	for _, p := range paths {
		os.Remove(p)
		atomicfile.Clean(p)
	}
}
