package apply

import (
	"context"
	"errors"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/pool"
	"tirl/internal/tool"
)

// pooled is a fake backend that holds values.
type pooled struct {
	fake
	pool *fakePool
}

// fakePool counts what it is given.
type fakePool struct {
	marker uint32
	marked bool
	loaded int
	fail   error
}

func (p pooled) Marker(context.Context) (uint32, bool, error) {
	if _, ok := p.kernel.holds[p.name]; !ok {
		return 0, false, backend.ErrNotLoaded
	}
	return p.pool.marker, p.pool.marked, p.pool.fail
}

func (p pooled) Begin(_ context.Context, marker uint32) error {
	p.pool.marker, p.pool.marked, p.pool.loaded = marker, true, 0
	return nil
}

func (p pooled) LoadValues(_ context.Context, _ *automaton.Program, values []automaton.Value) error {
	p.pool.loaded += len(values)
	return nil
}

func (p pooled) Spent(context.Context) ([]backend.Spent, error)                    { return nil, nil }
func (p pooled) Drop(context.Context, *automaton.Program, []automaton.Value) error { return nil }
func (p pooled) Purge(context.Context, uint32) error                               { return nil }
func (p pooled) Forget(context.Context, uint32) error                              { return nil }

// Whatever changes what is loaded fills the pools of users in its end, and does what it
// is to do if that fails.
func TestCommandsRefill(t *testing.T) {
	b, held := newBench(t), &fakePool{}
	b.Kinds[0].New = func(r tool.Runner) backend.Backend {
		k, _ := r.(*kernel)
		return pooled{fake{"nftables", k, nil, ""}, held}
	}
	var told []error
	b.Warn = func(err error) { told = append(told, err) }
	in := input(t, 1001)
	in.Source = append(in.Source, "\n[door.ssh.users.alice]\none_time = \"token\"\npool = 16\n"...)
	p, found := policy.Parse("policy.toml", in.Source)
	if p == nil {
		t.Fatal(found)
	}
	var err error
	if in.Program, err = automaton.Compile(p); err != nil {
		t.Fatal(err)
	}
	alice := pool.Name{Door: "ssh", User: "alice"}
	err = b.Users(t.Context(), func(u *Users) error {
		if u.Record != nil {
			t.Error("a policy is in force")
		}
		_, err := u.Add(alice, onetime.Key{Params: onetime.ParamsOf(p.Doors[0].Users[0]), Created: b.now()})
		return err
	})
	if err != nil || len(told) > 0 {
		t.Fatal(err, told)
	}
	b.apply(t, in)
	if held.loaded != 16 {
		t.Errorf("apply has loaded %d values", held.loaded)
	}
	// The pool is lost, by a flush of somebody's.
	for name, command := range map[string]func() error{
		"apply": func() error { _, err := b.Apply(t.Context(), in); return err },
		"users": func() error { return b.Users(t.Context(), func(*Users) error { return nil }) },
		"confirm": func() error {
			if _, err := b.Confirm(t.Context(), nil, false); !errors.Is(err, ErrNothingPending) {
				return err
			}
			return nil
		},
	} {
		*held = fakePool{}
		if err := command(); err != nil || held.loaded != 16 {
			t.Errorf("%s: %v; %d values", name, err, held.loaded)
		}
	}
	if infos, err := b.Keeper().Users(t.Context()); err != nil || infos[0].Live != 16 || infos[0].Losses != 3 {
		t.Errorf("%+v, %v", infos, err)
	}
	held.fail = errors.New("no more room")
	b.apply(t, in)
	if len(told) != 1 || !strings.Contains(told[0].Error(), "no more room; until that works, users may be shut out") {
		t.Errorf("told %v", told)
	}
	if _, err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if key, err := pool.ReadKey(pool.Dir{Root: b.Root}, "ssh", "alice"); err != nil || key.Pool != 16 {
		t.Errorf("after remove: %v", err)
	}
}
