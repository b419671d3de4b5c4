package cli

import (
	"context"
	"errors"
	"time"

	"tirl/internal/backend"
	"tirl/internal/term"
	"tirl/internal/tool"
)

// tick is how often times are counted down on the screen.
const tick = time.Second

// share is how much of its time a watch may spend looking: one part in so many.
// Listing many sources takes a while.
const share = 5

// sample is what a look at the kernel has shown.
type sample struct {
	view     *view             // nil if err is not
	counters *backend.Counters // nil if nothing is counted
	at       time.Time
	err      error
}

// watch shows the status on the terminal until somebody ends it.
func (a *app) watch(ctx context.Context, policyFile string, interval time.Duration) (err error) {
	screen, err := term.OpenScreen(a.in, a.out, a.getenv)
	if errors.Is(err, term.ErrNoTerminal) {
		return usage("for programs: tirl status --json, or tirl events --follow", "--watch needs a terminal to draw on")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, screen.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	samples := make(chan sample)
	go func() {
		defer close(samples)
		a.sampleOften(ctx, policyFile, interval, samples)
	}()
	err = a.show(ctx, screen, samples)
	// Nothing is to run or to write once the terminal is given back.
	cancel()
	for range samples {
	}
	return err
}

// show draws what it is given until a key or a signal ends it.
func (a *app) show(ctx context.Context, screen *term.Screen, samples <-chan sample) error {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	f := frame{style: a.style(), utf8: a.utf8()}
	for {
		select {
		case <-ctx.Done():
			return nil
		case key := <-screen.Keys():
			const ctrlC, ctrlD = 3, 4
			if key == 'q' || key == ctrlC || key == ctrlD {
				return nil
			}
			continue
		case s, ok := <-samples:
			if !ok {
				return nil
			}
			f.add(s)
		case <-screen.Resized():
		case <-clock.C:
		}
		f.width, f.height = screen.Size()
		if err := screen.Draw(f.lines(time.Now())); err != nil {
			return err
		}
	}
}

// sampleOften looks at the kernel again and again.
func (a *app) sampleOften(ctx context.Context, policyFile string, interval time.Duration, out chan<- sample) {
	for ctx.Err() == nil {
		begun := time.Now()
		s := a.sample(ctx, policyFile)
		pause := max(interval-time.Since(begun), (share-1)*time.Since(begun))
		select {
		case out <- s:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (a *app) sample(ctx context.Context, policyFile string) sample {
	status, err := a.engine().Status(ctx)
	if err != nil {
		return sample{err: err, at: time.Now()}
	}
	s := sample{view: a.view(status, policyFile)}
	s.counters, s.err = a.counters(ctx, s.view)
	s.at = time.Now()
	return s
}

// counters reads what is counted; nil if nothing is.
func (a *app) counters(ctx context.Context, v *view) (*backend.Counters, error) {
	if !v.Active() || v.program == nil {
		return nil, nil
	}
	for _, k := range asked(v.Backend) {
		if op, ok := k.New(tool.Host{}).(backend.Operator); ok {
			return op.Counters(ctx, v.program)
		}
	}
	return nil, nil
}
