package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/vector"
	"tirl/internal/verify"
	"tirl/internal/verify/parse"
)

const (
	provedPolicies = 25 // for each kind of kernel program
	// proveEnv asks for another number of them.
	proveEnv = "TIRL_PROVE"
)

// TestKernelIsProved proves that what each kind of kernel program lists, once it
// holds a random policy, does what the policy says.
func TestKernelIsProved(t *testing.T) {
	labtest.Require(t)
	policies := provedPolicies
	if asked := os.Getenv(proveEnv); asked != "" {
		var err error
		if policies, err = strconv.Atoi(asked); err != nil {
			t.Fatalf("%s: %v", proveEnv, err)
		}
	}
	for _, kind := range kinds.All() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			for n, proved := max(*seed, 1), 0; proved < policies; n++ {
				c := automatontest.Seeded(n, automatontest.Options{})
				if !able(kind, c) {
					continue
				}
				proved++
				if err := proveCase(t.Context(), kind, c); err != nil {
					t.Errorf("seed %d: %v", n, err)
				}
			}
		})
	}
}

// TestVectorsAreProvedInKernel does so with the policy of every vector.
func TestVectorsAreProvedInKernel(t *testing.T) {
	labtest.Require(t)
	vectors, err := vector.Load("vectors")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds.All() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			proved := make(map[string]bool)
			for _, v := range vectors {
				if proved[v.Program.PolicyHash] || v.Backends != nil && !slices.Contains(v.Backends, kind.Backend) {
					continue
				}
				proved[v.Program.PolicyHash] = true
				if err := proveInKernel(t.Context(), kind, v.Program); err != nil {
					t.Errorf("%s: %v", v.Name, err)
				}
			}
			if len(proved) < len(vectors)/2 {
				t.Errorf("only %d policies of %d vectors were proved", len(proved), len(vectors))
			}
		})
	}
}

// proveCase proves the policy of a case. The error has the policy in it.
func proveCase(ctx context.Context, kind kinds.Kind, c automatontest.Case) error {
	g, err := c.Program()
	if err == nil {
		err = proveInKernel(ctx, kind, g)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, automatontest.Text(c.Policy))
	}
	return nil
}

// proveInKernel loads a program where nothing else is, and proves what is listed.
func proveInKernel(ctx context.Context, kind kinds.Kind, g *automaton.Program) (err error) {
	n, err := lab.NewNamespace()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	b := kind.Make(n)
	if err := b.Load(ctx, g); err != nil {
		return err
	}
	loaded, err := b.Loaded(ctx)
	if err != nil {
		return err
	}
	if loaded == nil {
		return errors.New("the kernel holds nothing")
	}
	rs, err := parse.Backend(kind.Backend, backend.Ruleset{{Name: kind.Name, Text: loaded.Listing}})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, loaded.Listing)
	}
	r := verify.Listed(g, rs, verify.Options{})
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w\n%s\n%s", err, told(r), loaded.Listing)
	}
	return nil
}

// told shows the differences of a result.
func told(r verify.Result) string {
	var s string
	for _, d := range r.Differences {
		s += fmt.Sprintf("%+v\nby the policy %+v, by the rules %+v\n", d.Packets, d.Want, d.Got)
	}
	return s
}
