package apply

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLockKeepsOthersOut(t *testing.T) {
	b := newBench(t)
	b.Patience = 60 * time.Millisecond
	l, err := b.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	was := b.snapshot(t)
	if _, err := b.Apply(t.Context(), input(t, 1000)); !errors.Is(err, ErrBusy) {
		t.Errorf("apply: %v", err)
	}
	if _, err := b.Remove(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("remove: %v", err)
	}
	b.unchanged(t, was)

	b.Patience = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	if _, err := b.Apply(ctx, input(t, 1000)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("apply until the deadline: %v", err)
	}
	l.unlock()
	b.apply(t, input(t, 1000))
}

// Waiters do not end up with a lock that is not there any more.
func TestLockIsExclusive(t *testing.T) {
	b := newBench(t)
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			l, err := b.lock(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			most.Store(max(most.Load(), inside.Add(1)))
			time.Sleep(2 * time.Millisecond)
			inside.Add(-1)
			if i%2 == 0 {
				l.remove()
			} else {
				l.unlock()
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held the lock at once", most.Load())
	}
}

func TestLockRemove(t *testing.T) {
	b := newBench(t)
	l, err := b.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.remove()
	if _, err := os.Stat(b.runDir()); !os.IsNotExist(err) {
		t.Errorf("the directory of the lock: %v", err)
	}
}

func TestLockNotPermitted(t *testing.T) {
	b := newBench(t)
	b.Root += "/file"
	if err := os.WriteFile(b.Root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.lock(t.Context()); err == nil {
		t.Error("no error")
	}
}
