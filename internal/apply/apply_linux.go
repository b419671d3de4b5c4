package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"tirl/internal/atomicfile"
	"tirl/internal/backend"
	"tirl/internal/confirm"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// Result is what Apply did.
type Result struct {
	Backend string
	// Already says that the kernel held the very ruleset and nothing was done.
	Already bool
	// Replaced is the backend whose rules were taken out; empty if none were.
	Replaced string
	// Lacks are the better backends that this host or the policy ruled out.
	Lacks []Lack
	// Rules is the number of rules in the kernel.
	Rules int
	// Unread are the errors of other backends whose rules could not be read, so
	// that it is not known whether they hold an older policy.
	Unread []error
	// Pending is the wait that has begun, or that was ended; nil without one.
	Pending *confirm.Pending
	// Before is what was put back.
	Before *Order
	// Warnings are what went wrong beside.
	Warnings []error
}

// Apply makes the policy the only one in the kernel. If what is loaded was made
// from the same policy and nobody has touched it, nothing is done and every
// source keeps its place. If a load fails, the kernel and the record stay as
// they were.
//
// With auto, rules that are up to date stay with the backend that holds them.
// The error is an *UnsupportedError if no backend can carry the policy here.
func (e *Engine) Apply(ctx context.Context, in Input) (Result, error) {
	l, err := e.lock(ctx)
	if err != nil {
		return Result{}, err
	}
	defer e.finish(ctx, l)
	return e.apply(ctx, l, in)
}

// apply is Apply with the lock.
func (e *Engine) apply(ctx context.Context, l *lock, in Input) (Result, error) {
	if err := e.free(); err != nil {
		return Result{}, err
	}
	holding := e.surveyFor(ctx, in)
	if err := denied(holding); err != nil {
		return Result{}, err
	}
	if res, ok, err := e.already(ctx, in, holding); err != nil || ok {
		return res, err
	}
	// A proof may take long: the watchdog must not be waiting by then.
	kinds, lacks, err := e.chooseProved(ctx, in)
	if err == nil {
		err = ctx.Err() // whoever did not wait for the proof
	}
	if err != nil {
		return Result{}, err
	}
	// Whatever can fail without the kernel fails before it is touched.
	slot, err := e.reserve()
	if err != nil {
		return Result{}, err
	}
	defer e.release(slot)
	t, err := e.ready(ctx, in)
	if err != nil {
		return Result{}, err
	}
	// Whoever takes the lock next, be it the watchdog, is alone.
	if err := l.lend(true); err != nil {
		return Result{}, t.failed(err)
	}
	defer l.lend(false)

	for i, k := range kinds {
		if i > 0 {
			if err := e.proveRendered(k, in.Program); err != nil {
				return Result{}, t.failed(err)
			}
		}
		if err := ctx.Err(); err != nil {
			return Result{}, t.failed(err)
		}
		adopted := e.adopt(ctx, in)
		// A load, and what undoes one that fails, is not interrupted half-way.
		err := k.New(e.Run).Load(context.WithoutCancel(ctx), in.Program)
		if err == nil {
			adopted = errors.Join(adopted, e.adopt(ctx, in))
			res, err := e.loaded(ctx, in, k, holding, slot)
			res.Lacks = e.better(k.Name, lacks)
			if adopted != nil {
				res.Warnings = append(res.Warnings, adopted)
			}
			return t.finish(ctx, in, res, err)
		}
		if errors.Is(err, fs.ErrPermission) {
			return Result{}, t.failed(err)
		}
		lacks = append(lacks, Lack{Backend: k.Name, Err: err})
	}
	return Result{}, t.failed(e.failed(ctx, in, lacks))
}

// adopt takes on the connections that firewall mode would cut. Guard mode never
// looks at more than a SYN.
func (e *Engine) adopt(ctx context.Context, in Input) error {
	if e.Adopt == nil || !in.Program.Firewall {
		return nil
	}
	return e.Adopt(context.WithoutCancel(ctx))
}

// already says whether the kernel holds just what Apply would load.
func (e *Engine) already(ctx context.Context, in Input, holding []held) (Result, bool, error) {
	kinds, err := e.asked(in.Backend)
	if err != nil {
		return Result{}, false, err
	}
	rec, err := e.readRecord()
	if err != nil || rec == nil || rec.PolicyHash != in.Program.PolicyHash {
		// A record that cannot be read is replaced by the next one.
		return Result{}, false, nil
	}
	var at *held
	for i, h := range holding {
		switch {
		case h.loaded == nil:
		case at != nil:
			return Result{}, false, nil
		default:
			at = &holding[i]
		}
	}
	if at == nil || at.Name != rec.Backend || !slices.ContainsFunc(kinds, func(k Kind) bool { return k.Name == at.Name }) {
		return Result{}, false, nil
	}
	able, _ := Fit([]Kind{at.Kind}, in.Program)
	if len(able) == 0 {
		return Result{}, false, nil
	}
	rules, err := at.New(e.Run).Render(in.Program)
	if err != nil {
		return Result{}, false, fmt.Errorf("render for %s: %w", at.Name, err)
	}
	same := at.loaded.PolicyHash == in.Program.PolicyHash &&
		slices.EqualFunc(rules, rec.Ruleset, func(f backend.File, r File) bool { return f.Name == r.Name && f.Text == r.Text }) &&
		!e.drifted(ctx, rec, at.loaded)
	return Result{Backend: at.Name, Already: true, Rules: at.loaded.Rules, Warnings: stillBlocked(holding)}, same, nil
}

// loaded finishes a load that the kernel has accepted.
func (e *Engine) loaded(ctx context.Context, in Input, k Kind, holding []held, slot *atomicfile.File) (Result, error) {
	// The rules are in force: the rest is not left half done.
	ctx = context.WithoutCancel(ctx)
	res := Result{Backend: k.Name, Warnings: stillBlocked(holding)}
	b := k.New(e.Run)
	kernel, err := readBack(ctx, b, in.Program)
	if err != nil {
		return res, inForce(k, err)
	}
	res.Rules = kernel.Rules
	if err := e.proveLoaded(k, in.Program, kernel, &res); err != nil {
		return res, err
	}

	var errs []error
	for _, h := range holding {
		if h.Name == k.Name {
			continue
		}
		if h.loaded == nil {
			if h.err != nil && !errors.Is(h.err, tool.ErrMissing) {
				res.Unread = append(res.Unread, fmt.Errorf("read what %s holds: %w", h.Name, h.err))
			}
			continue
		}
		err := e.keepBlock(ctx, h.loaded.Blocked, k)
		if err == nil {
			err = h.New(e.Run).Remove(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("take out the rules that %s holds: %w", h.Name, err))
			continue
		}
		res.Replaced = h.Name
	}
	rules, err := b.Render(in.Program)
	if err == nil {
		err = e.newRecord(in, k.Name, rules, kernel.Text).write(slot)
	}
	errs = append(errs, err)
	return res, inForce(k, errors.Join(errs...))
}

// inForce tells an error after the load from one before it.
func inForce(k Kind, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the policy is in force with %s, but: %w", k.Name, err)
}

// failed finds out what a failed load means: that this host cannot do it, or
// that something stood in the way.
func (e *Engine) failed(ctx context.Context, in Input, lacks []Lack) error {
	if in.Backend == policy.BackendAuto || len(lacks) == 0 || lacks[0].Err == nil {
		return &UnsupportedError{e.better("", lacks)}
	}
	err := lacks[0].Err
	kinds, _ := e.asked(in.Backend)
	if trial := e.try(ctx, kinds[0], in.Program); trial == nil || errors.Is(trial, ErrNoScratch) && !errors.Is(err, tool.ErrMissing) {
		return err
	}
	return &UnsupportedError{lacks}
}
