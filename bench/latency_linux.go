package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
)

const (
	// Between two knocks, so that no daemon is asked for more than a client does.
	knockGap = 300 * time.Microsecond
	// SYNs follow each other at once while a rule may have opened, and at this
	// distance while a process may be at it, which needs the processor.
	eager, synGap = time.Millisecond, 50 * time.Microsecond
	// Between two clients of a process at most: fwknopd looks for packets this often.
	processPause = 100 * time.Millisecond
	// How long a door may take.
	openWithin = 2 * time.Second
)

// latency is the section about how soon a door opens.
func latency() Section {
	return Section{Name: "latency", Title: "How soon a door opens", Time: latencyTime, Run: runLatency}
}

const (
	latencyTime   = 40 * time.Second
	latencyRounds = 5
	// Tries in a usual run.
	ruleTries, processTries = 2000, 100
)

// openings are the tries of a gate.
type openings struct {
	gate
	tries  int
	atOnce int             // the SYN that followed the last knock was accepted
	times  []time.Duration // of those that opened, ascending
	steps  []time.Duration // how long before the accepted SYN the one before it was sent
	failed string
}

// quantile gives the time within which so great a share of the tries opened; false if
// there were too few to say, or the door did not open that often.
func (o *openings) quantile(q float64) (time.Duration, bool) {
	n := int(q * float64(o.tries))
	if float64(o.tries)*(1-q) < 0.999 || n >= len(o.times) {
		return 0, false
	}
	return o.times[n], true
}

func runLatency(ctx context.Context, env *Env) (*Result, error) {
	share := float64(env.Budget) / float64(latencyTime)
	all, err := measureOpenings(ctx, gates(), latencyRounds, func(g gate) int {
		if g.daemon {
			return max(int(processTries*share), latencyRounds)
		}
		return max(int(ruleTries*share), latencyRounds)
	})
	if err != nil {
		return nil, err
	}
	return openingsResult(all), nil
}

// measureOpenings measures the gates in turn, in several rounds.
func measureOpenings(ctx context.Context, gates []gate, rounds int, tries func(gate) int) ([]*openings, error) {
	all := make([]*openings, len(gates))
	places := make([]*place, len(gates))
	defer func() {
		for _, p := range places {
			if p != nil {
				p.Close()
			}
		}
	}()
	for i, g := range gates {
		all[i] = &openings{gate: g}
		var err error
		if places[i], err = newPlace(ctx, g); err != nil {
			all[i].failed = err.Error()
		}
	}
	err := onOneCPU(func() error {
		for round := range rounds {
			for i, p := range places {
				if p == nil {
					continue
				}
				n := tries(p.gate)
				for at := n * round / rounds; at < n*(round+1)/rounds; at++ {
					t, err := p.opening(ctx, lab.Forged4(at))
					if err != nil {
						return fmt.Errorf("measure %s: %w", p.name, err)
					}
					all[i].add(t)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		slices.Sort(o.times)
		slices.Sort(o.steps)
	}
	return all, nil
}

// onOneCPU runs f on a thread that stays where it is, so that packets keep their order:
// each CPU has a queue of its own (netif_rx in net/core/dev.c).
func onOneCPU(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked, and so ends with its affinity.
		runtime.LockOSThread()
		var allowed, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &allowed); err != nil {
			done <- os.NewSyscallError("sched_getaffinity", err)
			return
		}
		for cpu := range len(allowed) * 64 {
			if one.Zero(); allowed.IsSet(cpu) {
				one.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			done <- os.NewSyscallError("sched_setaffinity", err)
			return
		}
		done <- f()
	}()
	return <-done
}

func (o *openings) add(t try) {
	o.tries++
	if !t.opened {
		return
	}
	o.times = append(o.times, t.took)
	if t.syn == 0 {
		o.atOnce++
	} else {
		o.steps = append(o.steps, t.step)
	}
}

// try is one opening of a door.
type try struct {
	opened     bool
	syn        int // which SYN was the first to be accepted
	took, step time.Duration
}

// opening knocks and sends SYNs until one is accepted.
func (p *place) opening(ctx context.Context, src netip.Addr) (t try, err error) {
	knocks, err := p.frames(ctx, src)
	if err != nil {
		return t, err
	}
	if p.daemon {
		// Not in step with what it sleeps between two looks.
		if err := sleep(ctx, rand.N(processPause)); err != nil {
			return t, err
		}
	}
	if _, err := p.tap.Answers(); err != nil {
		return t, err
	}
	last := len(knocks) - 1
	for _, k := range knocks[:max(last, 0)] {
		if err := p.tap.Write(k); err != nil {
			return t, err
		}
		if err := nap(knockGap); err != nil {
			return t, err
		}
	}
	var sent []time.Time
	frame, err := syn(src, 0).Frame()
	if err != nil {
		return t, err
	}
	begin := time.Now()
	if last >= 0 {
		if err := p.tap.Write(knocks[last]); err != nil {
			return t, err
		}
	}
	for {
		sent = append(sent, time.Now())
		if err := p.tap.Write(frame); err != nil {
			return t, err
		}
		answers, err := p.tap.Answers()
		if err != nil {
			return t, err
		}
		if n, ok := accepted(answers, src); ok {
			t = try{opened: true, syn: n, took: sent[n].Sub(begin)}
			if n > 0 {
				t.step = sent[n].Sub(sent[n-1])
			}
			return t, p.hangUp(src, n)
		}
		switch waited := time.Since(begin); {
		case waited > openWithin:
			return t, nil
		case waited > eager:
			if err := nap(synGap); err != nil {
				return t, err
			}
		}
		if err := ctx.Err(); err != nil {
			return t, err
		}
		if frame, err = syn(src, len(sent)).Frame(); err != nil {
			return t, err
		}
	}
}

// accepted gives the first SYN that was.
func accepted(answers []lab.Answer, src netip.Addr) (int, bool) {
	first := -1
	for _, a := range answers {
		if n := int(a.Tag) - 1; a.Kind == lab.SynAck && a.Dst == src && (first < 0 || n < first) {
			first = n
		}
	}
	return first, first >= 0
}

// hangUp resets the connection, which otherwise the server waits for.
func (p *place) hangUp(src netip.Addr, n int) error {
	reset := syn(src, n)
	reset.Tag, reset.Flags = reset.Tag+1, 0x04
	frame, err := reset.Frame()
	return errors.Join(err, p.tap.Write(frame))
}

// nap sleeps by the kernel's clock: the runtime's timers are not for less than a
// millisecond.
func nap(d time.Duration) error {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for {
		err := unix.Nanosleep(&left, &left)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("nanosleep", err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
