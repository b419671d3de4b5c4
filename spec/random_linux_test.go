package spec

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/tool"
	"tirl/internal/vector"
)

var (
	seed    = flag.Int("seed", 0, "the first random policy and trace; 0: 1, or for TestSoak the time")
	vectors = flag.String("vectors", filepath.Join(os.TempDir(), "tirl-vectors"), "where traces that find a difference are saved, as vectors")
)

const (
	randomPolicies = 40 // for each kind of kernel program
	randomUsers    = 20 // with users
	// shrinking is how long it may take to make a failure small.
	shrinking = time.Minute
)

// options draws traces of a moment and, one in four, some of a few seconds.
func options(seed int) automatontest.Options {
	o := automatontest.Options{Laboratory: true}
	if seed%4 == 0 {
		o.Span = 3 * time.Second
	}
	return o
}

// TestKernelAgreesOnRandomTraces holds each kind of kernel program against the
// interpreter on random policies and packets.
func TestKernelAgreesOnRandomTraces(t *testing.T) {
	labtest.Require(t)
	for _, v := range kinds.All() {
		t.Run(v.Name, func(t *testing.T) { agrees(t, v, randomPolicies, options) })
	}
}

// TestKernelAgreesOnRandomValues is the same for doors with users, whose values are live.
func TestKernelAgreesOnRandomValues(t *testing.T) {
	labtest.Require(t)
	agrees(t, kinds.All()[0], randomUsers, func(seed int) automatontest.Options {
		o := options(seed)
		o.Users = true
		return o
	})
}

// agrees tries as many seeds as there are policies that a kind of kernel program carries.
func agrees(t *testing.T, v kinds.Kind, policies int, draw func(seed int) automatontest.Options) {
	var tried, undecided int
	var count sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for n := max(*seed, 1); tried < policies; n++ {
		c := automatontest.Seeded(n, draw(n))
		if !able(v, c) {
			continue
		}
		tried++
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			switch err := differs(t.Context(), v, c); {
			case errors.Is(err, backendtest.ErrUndecided):
				count.Lock()
				undecided++
				count.Unlock()
			case err != nil:
				t.Errorf("seed %d: %v\n%s", n, err, save(t.Context(), *vectors, v, c, n, err))
			}
		})
	}
	all.Wait()
	if undecided > policies/4 {
		t.Errorf("this machine is too slow for %d of %d traces", undecided, policies)
	}
}

// able says whether a kind of kernel program carries a policy without saying that
// it does it in another way.
func able(v kinds.Kind, c automatontest.Case) bool {
	g, err := c.Program()
	if err != nil {
		return false
	}
	for _, p := range v.Make(tool.Host{}).Check(g) {
		if !p.Warning || strings.HasPrefix(p.Key, "knocking.match_ttl") {
			return false
		}
	}
	// nft 1.0.6 cannot build it; another test says so.
	return !g.MatchTTL || g.IPv6Prefix == 64
}

// differs says where a kernel and the interpreter differ about a case, if they do
// so twice. It tries again what says nothing: that the trace is undecided, or that
// a busy machine has not answered in time for a flow to go on.
func differs(ctx context.Context, v kinds.Kind, c automatontest.Case) error {
	g, err := c.Program()
	if err != nil {
		return err
	}
	for range 3 {
		err = backendtest.Differ(ctx, g, v.Make, c.Packets)
		again := errors.Is(err, backendtest.ErrUndecided) || errors.Is(err, backendtest.ErrNotHere)
		switch {
		case isDifference(err):
			if isDifference(backendtest.Differ(ctx, g, v.Make, c.Packets)) {
				return err
			}
			err = backendtest.ErrUndecided
		case !again:
			return err
		}
	}
	return err
}

func isDifference(err error) bool { return errors.As(err, new(backendtest.Difference)) }

// save shrinks a case on which a kernel differs and writes it as a vector. It
// gives the vector and says where it is.
func save(ctx context.Context, dir string, v kinds.Kind, c automatontest.Case, seed int, found error) string {
	if !isDifference(found) {
		return automatontest.Text(c.Policy)
	}
	deadline := time.Now().Add(shrinking)
	keeps := func(c automatontest.Case) bool {
		if time.Now().After(deadline) || !able(v, c) {
			return false
		}
		g, err := c.Program()
		if err == nil {
			err = backendtest.Differ(ctx, g, v.Make, c.Packets)
		}
		if isDifference(err) {
			found = err
		}
		return isDifference(err)
	}
	var d backendtest.Difference
	if errors.As(found, &d) {
		if about := (automatontest.Case{Policy: c.Policy, Packets: backendtest.About(c.Packets, d.Packet)}); keeps(about) {
			c = about
		}
	}
	c = automatontest.Shrink(c, keeps)
	comment := fmt.Sprintf("Found with %s from seed %d.\n%s.", v.Name, seed, found)
	text, err := vector.Write(comment, carriers(c), automatontest.Text(c.Policy), c.Packets)
	if err != nil {
		return err.Error()
	}
	file := filepath.Join(dir, fmt.Sprintf("random-%s-%d.txtar", v.Name, seed))
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(file, text, 0o644)); err != nil {
		return fmt.Sprintf("not saved: %v\n%s", err, text)
	}
	return fmt.Sprintf("saved: %s\n%s", file, text)
}

// carriers are the backends that can carry the policy of a case, nil for all.
func carriers(c automatontest.Case) []string {
	names := make(map[string]bool)
	for _, v := range kinds.All() {
		if able(v, c) {
			names[v.Backend] = true
		}
	}
	if len(names) == 2 {
		return nil
	}
	for _, name := range []string{policy.BackendNftables, policy.BackendIptables} {
		if names[name] {
			return []string{name}
		}
	}
	return nil
}
