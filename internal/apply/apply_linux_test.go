package apply

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tirl/internal/backend"
	"tirl/internal/tool"
)

func TestApply(t *testing.T) {
	b, in := newBench(t), input(t, 1000)
	res := b.apply(t, in)
	if res.Backend != "nftables" || res.Already || res.Replaced != "" || res.Rules != 7 {
		t.Errorf("got %+v", res)
	}
	s := b.status(t)
	if s.Backend != "nftables" || s.Record == nil || s.Drifted {
		t.Fatalf("got %+v", s)
	}
	r := *s.Record
	if r.Policy != string(in.Source) || r.PolicyFile != in.File || r.Version != "v1.2.3" ||
		r.Applied.Year() != 2026 || r.Ruleset[0].Text != "nftables "+in.Program.PolicyHash+"\n" {
		t.Errorf("record: %+v", r)
	}
	for path, mode := range map[string]fs.FileMode{b.stateDir(): 0o700 | fs.ModeDir, b.recordPath(): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, mode)
		}
	}
}

// What is in force is loaded again only if something is not as it should be.
func TestApplyAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		between func(b *bench)
		again   func(Input) Input
		loads   int
	}{
		{"nothing happened", func(*bench) {}, nil, 0},
		{"the backend is named", func(*bench) {}, func(in Input) Input { return in.with("nftables") }, 0},
		{"iptables is broken", func(b *bench) { b.host.fail["read iptables"] = errors.New("no ip_tables") }, nil, 0},
		{"another policy", func(*bench) {}, func(Input) Input { return input(t, 1001) }, 1},
		{"somebody changed the rules", func(b *bench) { b.host.touched["nftables"] = true }, nil, 1},
		{"somebody removed the rules", func(b *bench) { delete(b.host.holds, "nftables") }, nil, 1},
		{"somebody loaded another policy", func(b *bench) { b.host.holds["nftables"] = "?" }, nil, 1},
		{"iptables holds rules too", func(b *bench) { b.host.holds["iptables"] = "?" }, nil, 1},
		{"a tirl that renders otherwise", func(b *bench) { b.dialect = "new " }, nil, 1},
		{"the record is lost", func(b *bench) { os.Remove(b.recordPath()) }, nil, 1},
		{"the record is broken", func(b *bench) { os.WriteFile(b.recordPath(), []byte("{"), 0o600) }, nil, 1},
		{"another backend", func(*bench) {}, func(in Input) Input { return in.with("iptables") }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, in := newBench(t), input(t, 1000)
			b.apply(t, in)
			b.host.loads = nil
			c.between(b)
			if c.again != nil {
				in = c.again(in)
			}
			res := b.apply(t, in)
			if len(b.host.loads) != c.loads || res.Already != (c.loads == 0) {
				t.Errorf("loads: %v, want %d; %+v", b.host.loads, c.loads, res)
			}
			s := b.status(t)
			if s.Record == nil || s.Drifted || len(s.Others) > 0 || s.Loaded.PolicyHash != in.Program.PolicyHash {
				t.Errorf("then %+v", s)
			}
		})
	}
}

// TestApplyListsOnce: with many doors a listing takes longer than anything else.
func TestApplyListsOnce(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		what                 string
		knock, host, private int
	}{
		{"nothing there before", 1000, 1, 0},
		{"another policy", 1001, 1, 0},
		{"the same again", 1001, 2, 0}, // of both backends
	} {
		b.host.listed, b.private.listed = 0, 0
		b.apply(t, input(t, c.knock))
		if b.host.listed != c.host || b.private.listed != c.private {
			t.Errorf("%s: the host was listed %d times, want %d, the private namespace %d, want %d", c.what, b.host.listed, c.host, b.private.listed, c.private)
		}
	}
}

func TestApplyChooses(t *testing.T) {
	broken := errors.New("no such kernel module")
	hard, soft := backend.Problem{Key: "door.ssh", Text: "too clever"}, backend.Problem{Key: "door.ssh", Warning: true}
	for _, c := range []struct {
		name    string
		prepare func(b *bench)
		asked   string
		want    string
		lacks   string // backends that were ruled out
	}{
		{"the first", func(*bench) {}, "auto", "nftables", ""},
		{"what the private namespace can", func(b *bench) { b.private.fail["load nftables"] = broken }, "auto", "iptables", "nftables"},
		{"what can be read back", func(b *bench) { b.private.fail["read nftables"] = broken }, "auto", "iptables", "nftables"},
		{"what can carry the policy", func(b *bench) { b.problems["nftables"] = []backend.Problem{hard} }, "auto", "iptables", "nftables"},
		{"whatever differs a little", func(b *bench) { b.problems["nftables"] = []backend.Problem{soft} }, "auto", "nftables", ""},
		{"without a word on what is worse", func(b *bench) { b.problems["iptables"] = []backend.Problem{hard} }, "auto", "nftables", ""},
		{"what is asked for", func(*bench) {}, "iptables", "iptables", ""},
		{"on the host if there is no namespace", func(b *bench) { b.private.fail["make"] = errScratch }, "auto", "nftables", ""},
		{"on the host what loads there", func(b *bench) {
			b.private.fail["make"] = errScratch
			b.host.fail["load nftables"] = broken
		}, "auto", "iptables", "nftables"},
		{"no trial of what is asked for", func(b *bench) { b.private.fail["load iptables"] = broken }, "iptables", "iptables", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			c.prepare(b)
			res := b.apply(t, input(t, 1000).with(c.asked))
			var lacks []string
			for _, l := range res.Lacks {
				lacks = append(lacks, l.Backend)
			}
			if res.Backend != c.want || strings.Join(lacks, " ") != c.lacks {
				t.Errorf("got %+v", res)
			}
			if len(b.host.holds) != 1 || b.host.holds[c.want] == "" {
				t.Errorf("the kernel holds %v", b.host.holds)
			}
		})
	}
}

func TestApplySwitchesBackends(t *testing.T) {
	b := newBench(t)
	b.apply(t, input(t, 1000).with("nftables"))
	res := b.apply(t, input(t, 1000).with("iptables"))
	if res.Replaced != "nftables" || len(b.host.holds) != 1 {
		t.Errorf("%+v, the kernel holds %v", res, b.host.holds)
	}
}

// Whatever fails before the kernel has the new rules leaves everything as it was.
func TestApplyFails(t *testing.T) {
	broken := errors.New("broken")
	all := func(b *bench, k *kernel) {
		k.fail["load nftables"], k.fail["load iptables"] = broken, broken
	}
	for _, c := range []struct {
		name        string
		prepare     func(b *bench)
		asked       string
		unsupported bool
	}{
		{"no backend can", func(b *bench) { all(b, b.private) }, "auto", true},
		{"no backend could", func(b *bench) { all(b, b.host) }, "auto", true},
		{"the backend that is asked for cannot", func(b *bench) { all(b, b.private); all(b, b.host) }, "iptables", true},
		{"something is in the way on the host", func(b *bench) { all(b, b.host) }, "iptables", false},
		{"it cannot be tried", func(b *bench) { all(b, b.host); b.private.fail["make"] = errScratch }, "iptables", false},
		{"it is not installed", func(b *bench) {
			b.host.fail["load iptables"] = tool.ErrMissing
			b.private.fail["make"] = errScratch
		}, "iptables", true},
		{"the policy is too much", func(b *bench) { b.problems["iptables"] = []backend.Problem{{Key: "refuse"}} }, "iptables", true},
		{"not root", func(b *bench) { b.host.fail["read nftables"] = fs.ErrPermission }, "auto", false},
		{"not root after all", func(b *bench) { b.host.fail["load nftables"] = fs.ErrPermission }, "auto", false},
		{"no such backend", func(*bench) {}, "ebpf", false},
		{"the record cannot be made", func(b *bench) {
			b.Root = filepath.Join(b.Root, "sealed")
			if err := os.WriteFile(b.Root, nil, 0o600); err != nil {
				panic(err)
			}
		}, "auto", false},
	} {
		for _, before := range []bool{false, true} {
			name := c.name + ", nothing loaded before"
			if before {
				name = c.name
			}
			t.Run(name, func(t *testing.T) {
				b := newBench(t)
				root := b.Root
				if before {
					b.apply(t, input(t, 999))
				}
				was := b.snapshot(t)
				c.prepare(b)
				_, err := b.Apply(t.Context(), input(t, 1000).with(c.asked))
				if err == nil {
					t.Fatal("no error")
				}
				if _, ok := errors.AsType[*UnsupportedError](err); ok != c.unsupported {
					t.Errorf("unsupported: %v, want %v: %v", ok, c.unsupported, err)
				}
				b.Root = root
				b.unchanged(t, was)
			})
		}
	}
}

// After the load the new rules are in force, and an error says so.
func TestApplyFailsAfterLoad(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(b *bench)
	}{
		{"the old backend cannot be removed", func(b *bench) { b.host.fail["remove nftables"] = errors.New("busy") }},
		{"the rules cannot be read back", func(b *bench) { b.host.fail["read iptables"] = errors.New("busy") }},
		{"the record cannot be written", func(b *bench) {
			// A directory that is not empty is not replaced by a file.
			os.Remove(b.recordPath())
			if err := os.MkdirAll(filepath.Join(b.recordPath(), "in the way"), 0o700); err != nil {
				panic(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, input(t, 999).with("nftables"))
			c.prepare(b)
			_, err := b.Apply(t.Context(), input(t, 1000).with("iptables"))
			if err == nil || !strings.Contains(err.Error(), "in force with iptables, but") {
				t.Errorf("got %v", err)
			}
			if b.host.holds["iptables"] != input(t, 1000).Program.PolicyHash {
				t.Errorf("the kernel holds %v", b.host.holds)
			}
		})
	}
}

// A load that has begun is not interrupted; one that has not does not begin.
func TestApplyCancelled(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	scratch := b.Scratch
	b.Scratch = func(ctx context.Context, use func(tool.Runner) error) error {
		cancel()
		return scratch(ctx, use)
	}
	if _, err := b.Apply(ctx, input(t, 1000)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(b.host.loads) > 0 {
		t.Error("it was loaded")
	}
}

func TestUnsupportedError(t *testing.T) {
	err := &UnsupportedError{[]Lack{
		{Backend: "nftables", Err: tool.ErrMissing},
		{Backend: "iptables", Problems: []backend.Problem{{Key: "door.ssh.open_for", Text: "cannot"}}},
	}}
	want := "this host cannot carry the policy: nftables: not installed; iptables: door.ssh.open_for: cannot"
	if err.Error() != want || !errors.Is(err, tool.ErrMissing) {
		t.Errorf("got %q, want %q", err, want)
	}
}

// Nothing is loaded if it could not be recorded.
func TestApplyNoRoomForRecord(t *testing.T) {
	b := newBench(t)
	if err := os.MkdirAll(filepath.Dir(b.stateDir()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.stateDir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), input(t, 1000)); err == nil {
		t.Error("no error")
	}
	if len(b.host.loads) > 0 {
		t.Error("it was loaded")
	}
}

// A load that fails on a host without tirl leaves no directory behind.
func TestApplyLeavesNothing(t *testing.T) {
	b := newBench(t)
	b.host.fail["load nftables"] = errors.New("busy")
	if _, err := b.Apply(t.Context(), input(t, 1000).with("nftables")); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(b.stateDir()); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", b.stateDir(), err)
	}
}
