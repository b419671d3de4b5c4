package confirm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Hold marks a watchdog as alive until its process ends. It fails if there is
// one for this wait already.
func (d Dir) Hold(id string) (release func(), err error) {
	path := d.watchdog(id)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("hold the watchdog's file: %w", err)
	}
	// Whoever looks whether it is held holds it for a moment.
	for attempt := 1; ; attempt++ {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if attempt == holdAttempts {
			f.Close()
			return nil, fmt.Errorf("hold the watchdog's file: %w", os.NewSyscallError("flock", err))
		}
		time.Sleep(holdPause)
	}
	return func() { os.Remove(path); f.Close() }, nil
}

const (
	holdAttempts = 100
	holdPause    = 7 * time.Millisecond
)

// Alive says whether the watchdog of a wait lives.
func (d Dir) Alive(id string) bool { return locked(d.watchdog(id)) }

func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// armTime is how long a watchdog may take to stand ready.
const armTime = 15 * time.Second

// Arm launches the watchdog of a wait and comes back when it stands ready.
func (d Dir) Arm(ctx context.Context, id string, launch func(context.Context) error) error {
	if err := launch(ctx); err != nil {
		return fmt.Errorf("start the watchdog: %w", err)
	}
	for deadline := time.Now().Add(armTime); !d.Alive(id); {
		if time.Now().After(deadline) {
			return errors.New("start the watchdog: it does not say that it is ready")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// Watch is what a watchdog does.
type Watch struct {
	Dir  Dir
	ID   string
	Wait time.Duration
	Poll time.Duration // 0 means 250 ms
	// Idle says that no tirl is at work, nor a program that one has started.
	Idle func() bool
	// Begin is called once the rules are in force, before Proof is.
	Begin func(ctx context.Context)
	// Proof says by what the new rules are proved, or "".
	Proof    func(ctx context.Context) string
	Confirm  func(ctx context.Context, how string) error
	Rollback func(ctx context.Context, why string) error
	// Log tells what goes wrong.
	Log func(error)
}

// Why a load is taken back.
const (
	whyDied     = "tirl was killed while it loaded"
	whyNobody   = "nobody confirmed it within %s"
	whyStopping = "the watchdog was stopped"
)

// Run waits until the wait is over. When ctx ends before, the load is taken back
// at once. It comes back when the wait has ended one way or the other.
func (w *Watch) Run(ctx context.Context) {
	poll := w.Poll
	if poll == 0 {
		poll = 250 * time.Millisecond
	}
	work := context.WithoutCancel(ctx)
	var deadline time.Time
	begun := false
	for {
		s, p := w.Dir.state(w.ID)
		switch s {
		case ended:
			return
		case loading:
			// The lock goes with the last process that holds it. Whether it was let go
			// before or after the load is known only then.
			if !w.Idle() {
				break
			}
			if again, _ := w.Dir.state(w.ID); again == loading {
				w.rollback(work, poll, whyDied)
				return
			}
			continue
		case loaded, lost:
			if deadline.IsZero() {
				deadline = time.Now().Add(w.Wait)
			}
			if s == loaded && !begun {
				begun = true
				w.Begin(work)
			}
		}
		if begun && p != nil {
			if how := w.Proof(work); how != "" {
				if err := w.Confirm(work, how); err == nil {
					return
				} else if w.Log != nil {
					w.Log(err)
				}
			}
		}
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			w.rollback(work, poll, fmt.Sprintf(whyNobody, w.Wait))
			return
		}
		pause := poll
		if !deadline.IsZero() {
			pause = min(pause, time.Until(deadline))
		}
		select {
		case <-ctx.Done():
			w.rollback(work, poll, whyStopping)
			return
		case <-time.After(pause):
		}
	}
}

// rollback tries until it is done, or until somebody else has ended the wait.
func (w *Watch) rollback(ctx context.Context, poll time.Duration, why string) {
	for pause := poll; ; pause = min(2*pause, time.Minute) {
		err := w.Rollback(ctx, why)
		if err == nil {
			return
		}
		if s, _ := w.Dir.state(w.ID); s == ended {
			return
		}
		if w.Log != nil {
			w.Log(err)
		}
		time.Sleep(pause)
	}
}
