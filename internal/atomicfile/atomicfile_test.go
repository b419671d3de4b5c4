package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s holds %q, %v, want %q", path, got, err, content)
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm() != mode {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), mode)
	}
}

// alone checks that nothing but the named files is left in a directory.
func alone(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(names) {
		t.Errorf("%s holds %v, want %v", dir, entries, names)
	}
}

func TestCommitNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	for i, content := range []string{"first", "second"} {
		f, err := Create(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.CommitNew([]byte(content)); i == 0 && err != nil || i == 1 && !errors.Is(err, fs.ErrExist) {
			t.Errorf("commit %d: %v", i+1, err)
		}
		expect(t, path, "first", 0o600)
		alone(t, filepath.Dir(path), "record")
	}
}

func TestCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	write(t, path, "old", 0o644)
	f, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, path, "old", 0o644)
	if err := f.Commit([]byte("new")); err != nil {
		t.Fatal(err)
	}
	expect(t, path, "new", 0o600)
	f.Discard()
	alone(t, filepath.Dir(path), "record")
	if err := f.Commit([]byte("twice")); err == nil {
		t.Error("a second commit: no error")
	}
}

func TestDiscard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	write(t, path, "old", 0o644)
	f, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Discard()
	f.Discard()
	expect(t, path, "old", 0o644)
	alone(t, filepath.Dir(path), "record")
}

// A rename that fails leaves what was there.
func TestCommitFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Commit([]byte("new")); err == nil {
		t.Error("in place of a directory: no error")
	}
	alone(t, filepath.Dir(path), "record")
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "policy.toml"), filepath.Join(dir, "link")
	write(t, path, "old", 0o640)
	if err := os.Symlink("policy.toml", link); err != nil {
		t.Fatal(err)
	}
	if err := Replace(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	expect(t, path, "new", 0o640)
	if target, err := os.Readlink(link); err != nil || target != "policy.toml" {
		t.Errorf("the link is %q, %v", target, err)
	}
	if err := Replace(filepath.Join(dir, "none"), nil); err == nil {
		t.Error("of a file that is not there: no error")
	}
	if err := Replace(dir, nil); err == nil {
		t.Error("of a directory: no error")
	}
}

func TestReplaceKeepsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := filepath.Join(t.TempDir(), "policy.toml")
	write(t, path, "old", 0o640)
	if err := os.Chown(path, 0, 4711); err != nil {
		t.Skip(err) // a user namespace has no such group
	}
	if err := Replace(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	expect(t, path, "new", 0o640)
	if err := owned(path, 0, 4711); err != nil {
		t.Error(err)
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	write(t, path, "old", 0o600)
	if _, err := Create(path, 0o600); err != nil {
		t.Fatal(err)
	}
	Clean(path)
	alone(t, dir, "record")
}
