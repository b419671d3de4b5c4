package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// kernel is what fake backends load into. It is the host's, or a private namespace's.
type kernel struct {
	tool.Runner                   // never used
	holds       map[string]string // policy hash, by backend
	sources     map[string]string // places and grants, by backend
	touched     map[string]bool   // somebody has changed the rules
	words       string            // in which the rules are listed
	loads       []string          // backends, in the order of their loads
	listed      int               // how often somebody has read everything
	fail        map[string]error  // by operation and backend, such as "load nftables"
}

func newKernel() *kernel {
	return &kernel{holds: make(map[string]string), sources: make(map[string]string), touched: make(map[string]bool), fail: make(map[string]error)}
}

// fake is a backend whose rules are the policy's hash.
type fake struct {
	name     string
	kernel   *kernel
	problems []backend.Problem
	dialect  string // changes what Render gives
}

func (f fake) Name() string                               { return f.name }
func (f fake) Check(*automaton.Program) []backend.Problem { return f.problems }

func (f fake) Render(g *automaton.Program) (backend.Ruleset, error) {
	return backend.Ruleset{{Name: "tirl." + f.name, Text: f.name + " " + f.dialect + g.PolicyHash + "\n"}}, nil
}

func (f fake) Load(_ context.Context, g *automaton.Program) error {
	f.kernel.loads = append(f.kernel.loads, f.name)
	if err := f.kernel.fail["load "+f.name]; err != nil {
		return err
	}
	f.kernel.holds[f.name], f.kernel.touched[f.name] = g.PolicyHash, false
	delete(f.kernel.sources, f.name)
	return nil
}

func (f fake) Loaded(ctx context.Context) (*backend.Loaded, error) {
	f.kernel.listed++
	return f.read(ctx)
}

func (f fake) read(context.Context) (*backend.Loaded, error) {
	if err := f.kernel.fail["read "+f.name]; err != nil {
		return nil, err
	}
	hash, ok := f.kernel.holds[f.name]
	if !ok {
		return nil, nil
	}
	return &backend.Loaded{PolicyHash: hash, Rules: 7, Text: fmt.Sprint(f.kernel.words, hash, f.kernel.touched[f.name]), Listing: "listed " + hash}, nil
}

// Skim and Outline say no more than they must.
func (f fake) Skim(ctx context.Context) (*backend.Loaded, error) {
	l, err := f.read(ctx)
	if l != nil {
		l = &backend.Loaded{Blocked: l.Blocked}
	}
	return l, err
}

func (f fake) Outline(ctx context.Context) (*backend.Loaded, error) {
	l, err := f.read(ctx)
	if l != nil {
		l = &backend.Loaded{PolicyHash: l.PolicyHash, Rules: l.Rules}
	}
	return l, err
}

func (f fake) Sources(ctx context.Context) (*backend.Loaded, error) {
	l, err := f.read(ctx)
	if l != nil {
		l = &backend.Loaded{Places: l.Places, Grants: l.Grants}
	}
	return l, err
}

func (f fake) Remove(context.Context) error {
	if err := f.kernel.fail["remove "+f.name]; err != nil {
		return err
	}
	delete(f.kernel.holds, f.name)
	delete(f.kernel.sources, f.name)
	return nil
}

func (f fake) Snapshot(context.Context) (*backend.Snapshot, error) {
	if err := f.kernel.fail["snapshot "+f.name]; err != nil {
		return nil, err
	}
	s := &backend.Snapshot{Backend: f.name}
	if hash, ok := f.kernel.holds[f.name]; ok {
		s.Parts = []backend.SnapshotPart{{Name: "hash", Text: hash}, {Name: "sources", Text: f.kernel.sources[f.name]}}
	}
	return s, nil
}

func (f fake) Restore(ctx context.Context, s *backend.Snapshot, _ time.Duration) error {
	if err := f.kernel.fail["restore "+f.name]; err != nil {
		return err
	}
	if s.Empty() {
		return f.Remove(ctx)
	}
	f.kernel.holds[f.name], f.kernel.touched[f.name] = s.Part("hash"), false
	f.kernel.sources[f.name] = s.Part("sources")
	return nil
}

// bench is an engine on a fake host.
type bench struct {
	*Engine
	host, private *kernel
	problems      map[string][]backend.Problem
	dialect       string
}

var errScratch = errors.New("operation not permitted")

func newBench(t *testing.T) *bench {
	b := &bench{host: newKernel(), private: newKernel(), problems: make(map[string][]backend.Problem)}
	kind := func(name string) Kind {
		return Kind{name, func(r tool.Runner) backend.Backend {
			k, _ := r.(*kernel)
			return fake{name, k, b.problems[name], b.dialect}
		}}
	}
	b.Engine = &Engine{
		Root:    t.TempDir(),
		Kinds:   []Kind{kind("nftables"), kind("iptables")},
		Run:     b.host,
		Version: "v1.2.3",
		Boot:    "first",
		Now:     func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) },
		Scratch: func(_ context.Context, use func(tool.Runner) error) error {
			b.private.holds = make(map[string]string)
			if b.private.fail["make"] != nil {
				return fmt.Errorf("%w: %w", ErrNoScratch, b.private.fail["make"])
			}
			return use(b.private)
		},
	}
	return b
}

// input is a policy, told from others by its knock.
func input(t *testing.T, knock int) Input {
	t.Helper()
	source := fmt.Appendf(nil, "[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/%d\", \"udp/2001\", \"udp/47\"]\n", knock)
	p, found := policy.Parse("policy.toml", source)
	if p == nil {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return Input{Program: g, Source: source, File: "/etc/tirl/policy.toml", Backend: policy.BackendAuto}
}

func (in Input) with(name string) Input {
	in.Backend = name
	return in
}

func (b *bench) apply(t *testing.T, in Input) Result {
	t.Helper()
	res, err := b.Apply(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (b *bench) status(t *testing.T) *Status {
	t.Helper()
	s, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// snapshot is all that a failure must leave as it is.
type snapshot struct {
	holds  map[string]string
	record string
}

func (b *bench) snapshot(t *testing.T) snapshot {
	t.Helper()
	record, err := os.ReadFile(b.recordPath())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return snapshot{maps.Clone(b.host.holds), string(record)}
}

func (b *bench) unchanged(t *testing.T, was snapshot) {
	t.Helper()
	is := b.snapshot(t)
	if !maps.Equal(is.holds, was.holds) {
		t.Errorf("the kernel holds %v, held %v", is.holds, was.holds)
	}
	if is.record != was.record {
		t.Errorf("the record is\n%s\nwas\n%s", is.record, was.record)
	}
	if left, _ := filepath.Glob(filepath.Join(b.stateDir(), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
