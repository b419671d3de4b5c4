package apply

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
)

// watched lets watchdogs run in this process until the test ends.
func (b *bench) watched(t *testing.T) *bench {
	t.Helper()
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); wg.Wait() })
	b.Launch = func(_ context.Context, id string) error {
		wg.Go(func() {
			if err := b.Watch(ctx, id, func(err error) { t.Log(err) }); err != nil {
				t.Error(err)
			}
		})
		return nil
	}
	return b
}

func (in Input) waiting(d time.Duration) Input {
	in.Wait = d
	return in
}

func (b *bench) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// over says whether nothing waits any more.
func (b *bench) over() bool {
	p, err := b.underWay()
	return p == nil && err == nil
}

func TestConfirmKeeps(t *testing.T) {
	b := newBench(t).watched(t)
	b.apply(t, input(t, 999))
	was := b.snapshot(t)
	res := b.apply(t, input(t, 1000).waiting(time.Minute))
	if s := b.status(t); res.Pending == nil || s.Pending == nil || !s.Watched || s.Pending.ID != res.Pending.ID {
		t.Fatalf("%+v, status %+v", res, s)
	}
	if _, err := b.Confirm(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	if s := b.status(t); s.Pending != nil || s.Outcome != "confirmed" || s.Drifted {
		t.Errorf("then %+v", s)
	}
	if _, err := b.Confirm(t.Context(), nil, false); !errors.Is(err, ErrNothingPending) {
		t.Errorf("again: %v", err)
	}
	// Back to what it replaced, and forth.
	if _, err := b.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.unchanged(t, was)
	if _, err := b.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := b.status(t); s.Loaded.PolicyHash != input(t, 1000).Program.PolicyHash || s.Record == nil || s.Drifted {
		t.Errorf("forth: %+v", s)
	}
}

func TestNobodyConfirms(t *testing.T) {
	for _, before := range []bool{false, true} {
		b := newBench(t).watched(t)
		if before {
			b.apply(t, input(t, 999).with("iptables"))
		}
		was := b.snapshot(t)
		b.apply(t, input(t, 1000).waiting(time.Second).with("nftables"))
		b.eventually(t, "it is taken back", b.over)
		b.unchanged(t, was)
	}
}

func TestRollbackAtOnce(t *testing.T) {
	b := newBench(t).watched(t)
	was := b.snapshot(t)
	b.apply(t, input(t, 1000).waiting(time.Minute))
	res, err := b.Rollback(t.Context())
	if err != nil || !res.Before.Empty() {
		t.Fatalf("%+v, %v", res, err)
	}
	b.unchanged(t, was)
}

// Of two at the same time the second waits for the lock, and is then refused.
func TestSecondApply(t *testing.T) {
	b := newBench(t).watched(t)
	errs := make(chan error)
	for _, knock := range []int{1000, 1001} {
		in := input(t, knock).waiting(time.Minute)
		go func() {
			_, err := b.Apply(context.Background(), in)
			errs <- err
		}()
	}
	first, second := <-errs, <-errs
	if first != nil {
		first, second = second, first
	}
	if _, ok := errors.AsType[*PendingError](second); first != nil || !ok {
		t.Errorf("got %v and %v", first, second)
	}
	if len(b.host.loads) != 1 {
		t.Errorf("loads: %v", b.host.loads)
	}
	if _, err := b.Apply(t.Context(), input(t, 1002)); err == nil {
		t.Error("one without a confirmation is not refused")
	}
}

// Nothing is loaded if it could not be taken back.
func TestArmFails(t *testing.T) {
	for name, prepare := range map[string]func(b *bench){
		"the watchdog cannot be started":  func(b *bench) { b.Launch = func(context.Context, string) error { return os.ErrPermission } },
		"the kernel cannot be read":       func(b *bench) { b.host.fail["snapshot iptables"] = errors.New("busy") },
		"the wait cannot be written down": func(b *bench) { os.MkdirAll(filepath.Join(b.runDir(), "pending.json", "in the way"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t).watched(t)
			b.apply(t, input(t, 999))
			was := b.snapshot(t)
			b.host.loads = nil
			prepare(b)
			if _, err := b.Apply(t.Context(), input(t, 1000).waiting(time.Minute)); err == nil {
				t.Error("no error")
			}
			b.unchanged(t, was)
			if len(b.host.loads) > 0 {
				t.Error("it was loaded")
			}
		})
	}
}

// What goes wrong after the load takes it back.
func TestTakenBackAfterLoad(t *testing.T) {
	for name, prepare := range map[string]func(b *bench){
		"the old backend cannot be removed": func(b *bench) { b.host.fail["remove nftables"] = errors.New("busy") },
		"the record cannot be written": func(b *bench) {
			launch := b.Launch
			b.Launch = func(ctx context.Context, id string) error {
				// From here on nothing can be put in its place.
				os.Remove(b.recordPath())
				os.MkdirAll(filepath.Join(b.recordPath(), "in the way"), 0o700)
				return launch(ctx, id)
			}
		},
		"the mark cannot be written": func(b *bench) {
			launch := b.Launch
			b.Launch = func(ctx context.Context, id string) error {
				err := launch(ctx, id)
				b.eventually(t, "it stands ready", func() bool { return b.runtime().Alive(id) })
				os.Remove(filepath.Join(b.runDir(), "pending.json"))
				os.MkdirAll(filepath.Join(b.runDir(), "pending.json", "in the way"), 0o700)
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t).watched(t)
			b.apply(t, input(t, 999).with("nftables"))
			prepare(b)
			_, err := b.Apply(t.Context(), input(t, 1000).with("iptables").waiting(time.Minute))
			if _, ok := errors.AsType[*RolledBackError](err); !ok {
				t.Errorf("got %v", err)
			}
			if len(b.host.holds) != 1 || b.host.holds["nftables"] != input(t, 999).Program.PolicyHash {
				t.Errorf("the kernel holds %v", b.host.holds)
			}
		})
	}
}

// Who holds the lock and does nothing cannot keep the watchdog from its work.
func TestStoppedHolder(t *testing.T) {
	b := newBench(t).watched(t)
	was := b.snapshot(t)
	b.Patience = 50 * time.Millisecond
	b.apply(t, input(t, 1000).waiting(time.Second))
	l, err := b.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.unlock()
	b.eventually(t, "it is taken back", b.over)
	b.unchanged(t, was)
}

// bootStub keeps what a Saver is asked.
type bootStub struct {
	prepared, inForce string
}

func (s *bootStub) Prepare(_ context.Context, _ *policy.Policy, g *automaton.Program, _ string, _ backend.Ruleset) (string, []string, error) {
	s.prepared = g.PolicyHash
	return g.PolicyHash, nil, nil
}
func (s *bootStub) Commit(set string) error { s.inForce = set; return nil }
func (s *bootStub) Discard(string) error    { s.prepared = ""; return nil }
func (s *bootStub) Remove() error           { s.inForce = ""; return nil }

// Only what is confirmed is for the next boot.
func TestSavedForBoot(t *testing.T) {
	b, boots := newBench(t).watched(t), &bootStub{}
	b.Boots = boots
	first, second := input(t, 999), input(t, 1000)
	check := func(when, want string) {
		t.Helper()
		if boots.inForce != want {
			t.Errorf("%s the next boot loads %q, want %q", when, boots.inForce, want)
		}
	}
	b.apply(t, first)
	check("without a wait", first.Program.PolicyHash)
	b.apply(t, second.waiting(time.Minute))
	check("while it waits", first.Program.PolicyHash)
	if _, err := b.Rollback(t.Context()); err != nil || boots.prepared != "" {
		t.Errorf("%v, %q is left", err, boots.prepared)
	}
	check("taken back", first.Program.PolicyHash)
	b.apply(t, second.waiting(time.Minute))
	if _, err := b.Confirm(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	check("confirmed", second.Program.PolicyHash)
	if _, err := b.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("rolled back", first.Program.PolicyHash)
	if _, err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("removed", "")
}
