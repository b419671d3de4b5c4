package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/pool"
)

// Users is the hand of an administrator in the users of this host, while nobody else
// changes anything.
type Users struct {
	*pool.Keeper
	// Record of the policy in force; nil if there is none.
	Record *Record
	// Waits says that a policy waits to be confirmed, so that none can be applied.
	Waits bool

	e *Engine
	l *lock
}

// Users calls a function with the users, and refills their pools in the end.
func (e *Engine) Users(ctx context.Context, f func(*Users) error) error {
	l, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer e.finish(ctx, l)
	if err := l.lend(true); err != nil {
		return err
	}
	u := &Users{e: e, l: l, Waits: e.free() != nil}
	u.Record, u.Keeper = e.keeper()
	return f(u)
}

// Apply is Engine.Apply by whoever holds the lock already.
func (u *Users) Apply(ctx context.Context, in Input) (Result, error) {
	res, err := u.e.apply(ctx, u.l, in)
	u.Record, u.Keeper = u.e.keeper()
	return res, err
}

// Refill says what a refill does.
func (u *Users) Refill(ctx context.Context) (pool.Report, error) {
	u.l.refilled = true
	return u.Keeper.Refill(ctx)
}

// Keeper reads what is known of users. It takes no lock: nothing may be changed by it.
func (e *Engine) Keeper() *pool.Keeper {
	_, k := e.keeper()
	return k
}

// keeper knows the policy in force by its record.
func (e *Engine) keeper() (*Record, *pool.Keeper) {
	k := &pool.Keeper{Store: pool.Dir{Root: e.Root}, Kernel: pool.Unloaded{}, Boot: e.Boot, Now: e.now, Marker: rand.Uint32, Writers: 32}
	rec, err := e.readRecord()
	if err != nil || rec == nil {
		return nil, k
	}
	i := slices.IndexFunc(e.Kinds, func(kind Kind) bool { return kind.Name == rec.Backend })
	if i < 0 {
		return rec, k
	}
	kernel, ok := e.Kinds[i].New(e.Run).(backend.Pool)
	if !ok {
		return rec, k
	}
	p, _ := policy.Parse(rec.PolicyFile, []byte(rec.Policy))
	if p == nil {
		return rec, k
	}
	if g, err := automaton.Compile(p); err == nil {
		k.Program, k.Kernel = g, kernel
	}
	return rec, k
}

// finish ends what was done with the lock: pools are refilled, so that whatever has
// emptied them is mended at once. What goes wrong is told and changes nothing else: users
// without values are shut out.
func (e *Engine) finish(ctx context.Context, l *lock) {
	defer l.unlock()
	if l.refilled || !e.hasUsers() {
		return
	}
	if err := e.refill(ctx, l); err != nil && e.Warn != nil {
		e.Warn(err)
	}
}

func (e *Engine) refill(ctx context.Context, l *lock) error {
	// nft goes on when this process is killed; whoever comes next waits for it.
	if err := l.lend(true); err != nil {
		return err
	}
	_, k := e.keeper()
	report, err := k.Refill(ctx)
	for _, w := range report.Warnings {
		if e.Warn != nil {
			e.Warn(w)
		}
	}
	if errors.Is(err, backend.ErrNotLoaded) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; until that works, users may be shut out", err)
	}
	return nil
}

// hasUsers says whether this host has ever had one.
func (e *Engine) hasUsers() bool { return pool.Dir{Root: e.Root}.Used() }
