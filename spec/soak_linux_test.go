package spec

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab/labtest"
	"tirl/internal/term"
)

var soak = flag.Duration("soak", 0, "how long TestSoak tries random policies and traces")

// TestSoak holds every kind of kernel program against the interpreter on random
// policies and traces, and proves what the kernel lists of each policy, until its time is
// over or somebody interrupts it.
func TestSoak(t *testing.T) {
	if *soak <= 0 {
		t.Skip("it runs for as long as -soak says")
	}
	labtest.Require(t)
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *soak)
	defer cancel()
	first := *seed
	if first == 0 {
		first = int(time.Now().Unix())
	}
	fmt.Printf("soak: from seed %d on; what fails is saved in %s\n", first, *vectors)

	s := soaking{T: t, next: first, first: first, line: term.NewLine(os.Stdout, os.Getenv)}
	var all sync.WaitGroup
	for range max(2, runtime.NumCPU()) {
		all.Go(func() { s.run(ctx) })
	}
	all.Wait()
	s.line.Done()
	fmt.Println(s.summary())
}

// soaking counts what has been tried.
type soaking struct {
	*testing.T
	line *term.Line // tells how far it is

	sync.Mutex
	first, next                 int
	agreed, undecided, differed int
	proved, unproved            int
}

func (s *soaking) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.Lock()
		n := s.next
		s.next++
		s.Unlock()
		c := automatontest.Seeded(n, options(n))
		for _, v := range kinds.All() {
			if able(v, c) {
				s.try(ctx, v, c, n)
				s.prove(ctx, v, c, n)
			}
		}
	}
}

func (s *soaking) try(ctx context.Context, v kinds.Kind, c automatontest.Case, n int) {
	err := differs(ctx, v, c)
	if ctx.Err() != nil {
		return
	}
	s.Lock()
	switch {
	case err == nil:
		s.agreed++
	case errors.Is(err, backendtest.ErrUndecided):
		s.undecided++
	default:
		s.differed++
	}
	s.Unlock()
	s.line.Show(s.summary)
	if err != nil && !errors.Is(err, backendtest.ErrUndecided) {
		text := save(ctx, *vectors, v, c, n, err)
		s.line.Clear()
		fmt.Printf("soak: %s, seed %d: %v\n%s\n", v.Name, n, err, text)
		s.Errorf("%s, seed %d: %v", v.Name, n, err)
	}
}

// prove proves the policy of a case in a kernel.
func (s *soaking) prove(ctx context.Context, v kinds.Kind, c automatontest.Case, n int) {
	err := proveCase(ctx, v, c)
	if ctx.Err() != nil {
		return
	}
	s.Lock()
	if err == nil {
		s.proved++
	} else {
		s.unproved++
	}
	s.Unlock()
	if err != nil {
		s.line.Clear()
		s.Errorf("%s, seed %d: %v", v.Name, n, err)
	}
}

func (s *soaking) summary() string {
	s.Lock()
	defer s.Unlock()
	return fmt.Sprintf("soak: seeds %d to %d: %d traces agreed, %d differed, %d were undecided; %d rulesets proved, %d not",
		s.first, s.next-1, s.agreed, s.differed, s.undecided, s.proved, s.unproved)
}
