package boot_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/backend"
	"tirl/internal/boot"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

func scratch(_ context.Context, use func(tool.Runner) error) error {
	n, err := lab.NewNamespace()
	if err != nil {
		return err
	}
	defer n.Close()
	return use(n)
}

func bootDir(root string) string { return filepath.Join(root, "var/lib/tirl/boot") }

// names lists what is saved.
func names(t *testing.T, root string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(bootDir(root), "current"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestSave(t *testing.T) {
	labtest.Require(t)
	const closing = "close.ip6tables close.iptables close.nft "
	const minimal = "minimal.ip6tables minimal.iptables minimal.nft "
	for _, c := range []struct {
		name, backend, text string
		failure             policy.OnFailure
		want                string
		saved               boot.Saved
	}{
		{"nftables", policy.BackendNftables, guard, "", "SHA256SUMS about " + closing + "fallback.ip6tables fallback.iptables " + minimal + "rules.nft",
			boot.Saved{Rules: "nftables", Fallback: "iptables", OnFailure: "close"}},
		{"iptables", policy.BackendIptables, guard, "close", "SHA256SUMS about " + closing + "fallback.nft " + minimal + "rules.ip6tables rules.iptables",
			boot.Saved{Rules: "iptables", Fallback: "nftables", OnFailure: "close"}},
		{"open", policy.BackendNftables, guard, "open", "SHA256SUMS about fallback.ip6tables fallback.iptables rules.nft",
			boot.Saved{Rules: "nftables", Fallback: "iptables", OnFailure: "open"}},
		{"no other backend can", policy.BackendNftables, guard + "open_for = \"1500ms\"\n", "open", "SHA256SUMS about rules.nft",
			boot.Saved{Rules: "nftables", OnFailure: "open"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := input(t, t.TempDir(), c.text, c.backend)
			in.OnFailure, in.Scratch = c.failure, scratch
			p, err := boot.Prepare(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if (len(p.Notes) > 0) != (c.saved.Fallback == "") {
				t.Errorf("notes: %v", p.Notes)
			}
			if s, err := boot.Read(in.Root); s != nil || err != nil {
				t.Errorf("in force before Commit: %v, %v", s, err)
			}
			if err := p.Commit(); err != nil {
				t.Fatal(err)
			}
			if got := names(t, in.Root); got != c.want {
				t.Errorf("saved\n%s, want\n%s", got, c.want)
			}
			c.saved.PolicyHash = in.Program.PolicyHash
			s, err := boot.Read(in.Root)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.saved, s); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every program of a scratch namespace fails as a kernel without a feature does.
type broken struct {
	tool.Runner
	name string
}

func (b broken) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if strings.Contains(name, b.name) {
		return "", errors.New("no such feature")
	}
	return b.Runner.Run(ctx, stdin, name, args...)
}

// What fails in a fresh namespace is not saved, unless nothing else would be.
func TestSaveWhatCanBeLoaded(t *testing.T) {
	labtest.Require(t)
	for _, c := range []struct{ name, want string }{
		{"ip6tables", "SHA256SUMS about close.nft minimal.nft rules.nft"},
		{"nft", "SHA256SUMS about close.ip6tables close.iptables fallback.ip6tables fallback.iptables minimal.ip6tables minimal.iptables rules.nft"},
		{"", "SHA256SUMS about close.ip6tables close.iptables close.nft minimal.ip6tables minimal.iptables minimal.nft rules.nft"},
	} {
		in := input(t, t.TempDir(), guard, policy.BackendNftables)
		in.Scratch = func(ctx context.Context, use func(tool.Runner) error) error {
			return scratch(ctx, func(r tool.Runner) error { return use(broken{r, c.name}) })
		}
		if err := boot.Save(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if got := names(t, in.Root); got != c.want {
			t.Errorf("%q is broken: saved\n%s, want\n%s", c.name, got, c.want)
		}
	}
}

// Where there is no namespace to try in, all is saved.
func TestSaveUntried(t *testing.T) {
	in := input(t, t.TempDir(), guard, policy.BackendNftables)
	in.Scratch = func(context.Context, func(tool.Runner) error) error { return errors.New("not permitted") }
	if err := boot.Save(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if got := names(t, in.Root); !strings.Contains(got, "fallback.iptables") || !strings.Contains(got, "close.nft") {
		t.Errorf("saved %s", got)
	}
}

func TestSaveIsSecret(t *testing.T) {
	in := input(t, t.TempDir(), guard, policy.BackendNftables)
	if err := boot.Save(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(bootDir(in.Root), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]
		if e.Type()&fs.ModeSymlink == 0 && info.Mode().Perm() != want {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// No set or list of what is saved holds a source.
func TestSaveHasNoSources(t *testing.T) {
	in := input(t, t.TempDir(), guard, policy.BackendNftables)
	if err := boot.Save(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(bootDir(in.Root), "current", "rules.nft"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		for _, set := range []string{"started", "advanced", "bucket", "grant4", "grant6"} {
			if strings.HasPrefix(line, "add element inet tirl "+set) {
				t.Errorf("an element: %s", line)
			}
		}
	}
}

// Whatever step a crash follows, all of the old set or all of the new is there.
func TestSaveCrash(t *testing.T) {
	root := t.TempDir()
	first, second := input(t, root, guard, policy.BackendNftables), input(t, root, strings.ReplaceAll(guard, "8816", "8817"), policy.BackendNftables)
	hash := func() string {
		s, err := boot.Read(root)
		if err != nil || s == nil {
			t.Fatalf("%v, %v", s, err)
		}
		return s.PolicyHash
	}
	if err := boot.Save(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	same, err := boot.Prepare(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.Readlink(filepath.Join(bootDir(root), "current")); got != same.Name {
		t.Errorf("the same was written again: %s, %s", got, same.Name)
	}
	if err := same.Discard(); err != nil || hash() != first.Program.PolicyHash {
		t.Errorf("what is in force was discarded: %v", err)
	}
	p, err := boot.Prepare(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if hash() != first.Program.PolicyHash {
		t.Error("in force before Commit")
	}
	// What was on the way when the power went is left, and the next one succeeds.
	dir := bootDir(root)
	if err := os.Mkdir(filepath.Join(dir, "set.half"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("set.half", filepath.Join(dir, ".current.tmp")); err != nil {
		t.Fatal(err)
	}
	if err := (&boot.Prepared{Root: root, Name: "set.half"}).Commit(); err == nil {
		t.Error("half a set was put in force")
	}
	if hash() != first.Program.PolicyHash {
		t.Error("half a set is in force")
	}
	// Another process knows the root and the name only.
	if err := (&boot.Prepared{Root: root, Name: p.Name}).Commit(); err != nil {
		t.Fatal(err)
	}
	if hash() != second.Program.PolicyHash {
		t.Error("not in force after Commit")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
	for _, name := range []string{"", "..", "../boot", "none"} {
		if err := (&boot.Prepared{Root: root, Name: name}).Commit(); err == nil {
			t.Errorf("Commit of %q", name)
		}
	}
	for range 2 {
		if err := boot.Remove(root); err != nil {
			t.Fatal(err)
		}
		if s, err := boot.Read(root); s != nil || err != nil {
			t.Errorf("after Remove: %v, %v", s, err)
		}
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPrepareFails(t *testing.T) {
	root := t.TempDir()
	in := input(t, root, guard, policy.BackendNftables)
	if err := boot.Save(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in.Scratch = func(_ context.Context, use func(tool.Runner) error) error { return use(broken{}) }
	if _, err := boot.Prepare(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	in.Rules = backend.Ruleset{}
	if _, err := boot.Prepare(t.Context(), in); err == nil {
		t.Error("no rules are saved")
	}
	if s, err := boot.Read(root); s == nil || err != nil {
		t.Errorf("the old set is gone: %v", err)
	}
}

// What cannot be written leaves the old set as it is.
func TestSaveDiskFull(t *testing.T) {
	labtest.Require(t)
	root := t.TempDir()
	in := input(t, root, guard, policy.BackendNftables)
	if err := boot.Save(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	before := names(t, root)
	in = input(t, root, guard+"open_for = \"1h\"\n", policy.BackendNftables)
	in.Rules[0].Text += strings.Repeat("# filling\n", 1<<20)
	limitFileSize(t, 1<<20)
	if err := boot.Save(t.Context(), in); err == nil {
		t.Fatal("no error")
	}
	if got := names(t, root); got != before {
		t.Errorf("saved %s, was %s", got, before)
	}
	if left, _ := filepath.Glob(bootDir(root) + "/set.*"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
