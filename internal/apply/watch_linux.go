package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/confirm"
	"tirl/internal/policy"
)

// Watch is the watchdog of one wait. It comes back when the wait is over; when
// ctx ends before, it takes the load back at once.
func (e *Engine) Watch(ctx context.Context, id string, log func(error)) error {
	dir := e.runtime()
	order, err := readOrder(dir.OrderPath(id))
	if err != nil {
		return err
	}
	if order == nil {
		return fmt.Errorf("there is no load %q to watch", id)
	}
	// Without a program nothing is proved, but the wait ends in time.
	var g *automaton.Program
	if p, _ := policy.Parse("", []byte(order.Policy)); p != nil {
		if g, err = automaton.Compile(p); err != nil {
			log(err)
		}
	}
	release, err := dir.Hold(id)
	if err != nil {
		return err
	}
	defer release()
	w := watchdog{e, order, g, nil, 0}
	run := &confirm.Watch{
		Dir: dir, ID: id, Wait: order.Wait,
		Idle: e.idle, Begin: w.begin, Proof: w.proof, Rollback: w.rollback, Log: log,
		Confirm: func(ctx context.Context, how string) error { return e.proved(ctx, id, how) },
	}
	run.Run(ctx)
	return nil
}

// watchdog is what one has in memory.
type watchdog struct {
	e        *Engine
	order    *Order
	program  *automaton.Program
	proves   *confirm.Proof
	attempts int
}

// begin notes what there is right after the load.
func (w *watchdog) begin(ctx context.Context) {
	p, err := w.e.underWay()
	if err != nil || p == nil || p.Session == nil || w.e.Conns == nil || w.program == nil {
		return
	}
	conns, err := w.e.Conns(w.program.Hidden()...)
	if err != nil {
		return
	}
	grants, err := w.grants(ctx, p.Backend)
	if err != nil {
		return // whatever comes in later may have had a grant before
	}
	w.proves = confirm.NewProof(w.program, p.Session, conns, grants, w.e.now())
}

func (w *watchdog) grants(ctx context.Context, name string) ([]backend.Grant, error) {
	kinds, err := w.e.asked(name)
	if err != nil {
		return nil, err
	}
	loaded, err := kinds[0].New(w.e.Run).Loaded(ctx)
	if err != nil {
		return nil, err
	}
	if loaded == nil {
		return nil, errors.New("the rules are gone")
	}
	return loaded.Grants, nil
}

func (w *watchdog) proof(ctx context.Context) string {
	if w.proves == nil {
		return ""
	}
	conns, err := w.e.Conns(w.program.Hidden()...)
	if err != nil {
		return ""
	}
	p, err := w.e.underWay()
	if err != nil || p == nil {
		return ""
	}
	return w.proves.Check(conns, func() ([]backend.Grant, error) { return w.grants(ctx, p.Backend) }, w.e.now())
}

// patientAttempts is how often a tirl that holds the lock is waited for, each
// time for Engine.Patience. One that is stopped holds it forever.
const patientAttempts = 3

func (w *watchdog) rollback(ctx context.Context, why string) error {
	l, err := w.e.lock(ctx)
	switch {
	case err == nil:
		defer w.e.finish(ctx, l)
		if err := l.lend(true); err != nil {
			return err
		}
	case w.attempts >= patientAttempts:
	default:
		w.attempts++
		return err
	}
	dir := w.e.runtime()
	p, err := dir.Read()
	if dir.Over(w.order.ID) {
		return nil // confirmed meanwhile, or taken back
	}
	if err != nil {
		p = nil // somebody has spoilt the file; the order is here
	}
	_, err = w.e.undo(ctx, p, w.order, why)
	return err
}

// idle says whether no tirl is at work, nor a program that one has started: they
// have the lock in common.
func (e *Engine) idle() bool {
	l := &lock{path: filepath.Join(e.runDir(), "lock")}
	if _, err := os.Stat(l.path); err != nil {
		return true
	}
	ok, err := l.attempt()
	if ok {
		l.unlock()
	}
	return ok && err == nil
}
