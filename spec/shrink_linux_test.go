package spec

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab/labtest"
	"tirl/internal/tool"
	"tirl/internal/vector"
)

// broken loads rulesets with something in them changed.
type broken struct {
	tool.Runner
	from, to string
}

func (b broken) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	return b.Runner.Run(ctx, strings.ReplaceAll(stdin, b.from, b.to), name, args...)
}

// TestDifferencesBecomeVectors breaks rulesets. Random traces notice, and what is
// saved is a small vector that the broken ruleset fails and the sound one passes.
func TestDifferencesBecomeVectors(t *testing.T) {
	labtest.Require(t)
	for _, test := range []struct {
		name, from, to string
		on             []kinds.Kind
		doors, steps   int
	}{
		{"untracked knocks are not heard", "ct state new,untracked", "ct state new", kinds.All()[:1], 1, 2},
		{"a place of two knocks is not left", "delete @advanced4 { ip saddr : meta priority }", "counter", kinds.All()[:1], 1, 4},
		{"untracked knocks are not heard", "--ctstate NEW,UNTRACKED", "--ctstate NEW", kinds.All()[2:], 1, 2},
	} {
		for _, v := range test.on {
			t.Run(v.Name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				bad := v
				bad.Make = func(r tool.Runner) backend.Backend { return v.Make(broken{r, test.from, test.to}) }
				found := becomesVector(t, bad)
				if len(found.Steps) > test.steps || len(found.Program.Doors) > test.doors {
					t.Errorf("it could be smaller:\n%s", found.Source)
				}
				if problems := found.Replay(func(at time.Duration) time.Duration { return at }); problems != nil {
					t.Errorf("%s\nis not what the interpreter does: %v", found.Source, problems)
				}
				if err := backendtest.Replay(t.Context(), found, bad.Make); err == nil {
					t.Errorf("the broken ruleset passes\n%s", found.Source)
				}
				if !replayInKernel(t, found, v, 10) {
					t.Error("this machine cannot keep the time of the vector")
				}
			})
		}
	}
}

// becomesVector tries random traces until one differs.
func becomesVector(t *testing.T, v kinds.Kind) *vector.Vector {
	t.Helper()
	for n := 1; n < 100; n++ {
		c := automatontest.Seeded(n, automatontest.Options{Laboratory: true})
		if !able(v, c) {
			continue
		}
		found := differs(t.Context(), v, c)
		if found == nil || errors.Is(found, backendtest.ErrUndecided) {
			continue
		}
		if !isDifference(found) {
			t.Fatalf("seed %d: %v", n, found)
		}
		dir := t.TempDir()
		said := save(t.Context(), dir, v, c, n, found)
		all, err := vector.Load(dir)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s\n%v", said, err)
		}
		t.Log(said)
		return &all[0]
	}
	t.Fatal("no random trace noticed")
	return nil
}
