package apply

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"tirl/internal/confirm"
	"tirl/internal/port"
	"tirl/internal/session"
)

// PendingError says that a load still waits to be confirmed.
type PendingError struct {
	*confirm.Pending
}

func (e *PendingError) Error() string {
	return "the last apply waits to be confirmed, until " + e.Until.Local().Format(time.TimeOnly)
}

// RolledBackError says that a load failed half-way and was taken back.
type RolledBackError struct {
	Why error
	// Warning is what is not as it was, besides the rules; nil if all is.
	Warning error
}

func (e *RolledBackError) Error() string {
	text := "the older rules are back: " + e.Why.Error()
	if e.Warning != nil {
		text += "; " + e.Warning.Error()
	}
	return text
}

func (e *RolledBackError) Unwrap() error { return e.Why }

// trial is a load that will be taken back unless it is confirmed.
type trial struct {
	e       *Engine
	order   *Order
	pending *confirm.Pending
}

func (e *Engine) runtime() confirm.Dir { return confirm.Dir(e.runDir()) }

// underWay gives the wait that is under way. One of an earlier run of the kernel
// ended with it.
func (e *Engine) underWay() (*confirm.Pending, error) {
	p, err := e.runtime().Read()
	if err != nil || p == nil || p.Boot != e.Boot {
		return nil, err
	}
	return p, nil
}

// free fails while a load waits to be confirmed.
func (e *Engine) free() error {
	p, err := e.underWay()
	if err != nil {
		return err
	}
	if p != nil {
		return &PendingError{p}
	}
	return nil
}

// ready gives the trial of a load; without a wait one that only remembers what
// was there before.
func (e *Engine) ready(ctx context.Context, in Input) (*trial, error) {
	if in.Wait > 0 {
		return e.arm(ctx, in)
	}
	order, err := e.take(ctx)
	if err != nil {
		order = nil // then nobody can go back, which nobody has asked for
	}
	return &trial{e: e, order: order}, nil
}

// failed ends a trial whose load has changed nothing, and gives its argument.
func (t *trial) failed(err error) error {
	if t.pending != nil {
		t.cancel(err)
	}
	return err
}

// finish ends what Apply does, with the error of the load.
func (t *trial) finish(ctx context.Context, in Input, res Result, err error) (Result, error) {
	if t.pending != nil {
		if err == nil {
			err = t.begun(context.WithoutCancel(ctx), &res, in)
		}
		if err != nil {
			return Result{}, t.takeBack(ctx, err)
		}
		return res, nil
	}
	if _, refuted := errors.AsType[*RefutedError](err); refuted && t.order != nil {
		warning, undo := t.e.putBack(ctx, t.order)
		if undo != nil {
			return res, errors.Join(err, undo)
		}
		return Result{}, &RolledBackError{err, warning}
	}
	if err != nil {
		return res, err
	}
	if err := t.e.commitBoot(t.e.prepareBoot(context.WithoutCancel(ctx), in, &res)); err != nil {
		res.Warnings = append(res.Warnings, err)
	}
	if t.order != nil {
		if err := t.e.keepPrevious(t.order); err != nil {
			res.Warnings = append(res.Warnings, fmt.Errorf("keep the older rules for tirl rollback: %w", err))
		}
	}
	return res, nil
}

// arm makes everything ready to take back the load that follows.
func (e *Engine) arm(ctx context.Context, in Input) (*trial, error) {
	order, err := e.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare to take the policy back: %w", err)
	}
	order.Policy = string(in.Source)
	p := &confirm.Pending{Wait: in.Wait, Session: in.Session, PolicyHash: in.Program.PolicyHash}
	if in.Session != nil {
		if p.Open, err = e.beside(in.Session); err != nil {
			return nil, fmt.Errorf("prepare to take the policy back: %w", err)
		}
	}
	return e.watched(ctx, order, p)
}

// watched begins a wait with a watchdog that puts the order back.
func (e *Engine) watched(ctx context.Context, order *Order, p *confirm.Pending) (*trial, error) {
	p.ID, p.Boot, p.Applied, p.Until = rand.Text()[:8], e.Boot, e.now().UTC(), e.now().Add(p.Wait).UTC()
	order.ID, order.Wait = p.ID, p.Wait
	t := &trial{e, order, p}
	dir, err := e.runtime(), error(nil)
	dir.Clean()
	if err = writeOrder(dir.OrderPath(order.ID), order); err == nil {
		if err = e.spare(); err == nil {
			if err = dir.Write(t.pending); err == nil {
				err = dir.Arm(ctx, order.ID, func(ctx context.Context) error { return e.Launch(ctx, order.ID) })
			}
		}
	}
	if err != nil {
		t.cancel(err)
		return nil, fmt.Errorf("prepare to take the policy back: %w", err)
	}
	return t, nil
}

// beside lists the connections to the service by which somebody has come.
func (e *Engine) beside(s *session.Session) ([]session.Conn, error) {
	if e.Conns == nil {
		return nil, nil
	}
	at := s.Service()
	return e.Conns(port.Range{Proto: at.Proto, First: at.Number, Last: at.Number})
}

// cancel ends a wait for a load that has not changed anything.
func (t *trial) cancel(why error) {
	dir := t.e.runtime()
	if p, err := dir.Read(); err == nil && p != nil && p.ID == t.order.ID {
		_ = dir.End(t.pending, confirm.RolledBack, why.Error(), t.e.now())
	}
	t.e.swept(t.order.ID)
}

// swept removes what the load that has ended has no more use for.
func (e *Engine) swept(id string) {
	removeAll(e.runtime().OrderPath(id), e.sparePath())
}

// begun marks the load as done: the wait begins.
func (t *trial) begun(ctx context.Context, res *Result, in Input) error {
	p := t.pending
	p.Backend = res.Backend
	p.Saved = t.e.prepareBoot(ctx, in, res)
	p.Loaded, p.Until = true, t.e.now().Add(p.Wait).UTC()
	if err := t.e.runtime().Write(p); err != nil {
		return err
	}
	res.Pending = p
	return nil
}

// takeBack undoes a load that went wrong after the kernel had accepted it. If
// that fails, the watchdog tries again.
func (t *trial) takeBack(ctx context.Context, why error) error {
	warning, err := t.e.putBack(ctx, t.order)
	if err != nil {
		return errors.Join(why, err)
	}
	t.e.discardBoot(t.pending.Saved)
	t.cancel(why)
	return &RolledBackError{why, warning}
}
