package pool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tirl/internal/onetime"
)

func TestDir(t *testing.T) {
	t.Parallel()
	d := Dir{t.TempDir()}
	if d.Used() {
		t.Error("a host without users has some")
	}
	if _, err := ReadKey(d, "ssh", "alice"); !errors.Is(err, ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	key := onetime.Key{Params: params(alice), Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	k := &Keeper{Store: d, Kernel: Unloaded{}, Now: time.Now}
	if had, err := k.Add(alice, key); had || err != nil {
		t.Fatal(had, err)
	}
	if had, err := k.Add(alice, onetime.Key{Params: key.Params, Secret: onetime.Secret{1}, Created: key.Created}); !had || err != nil {
		t.Fatal(had, err)
	}
	if got, err := ReadKey(d, "ssh", "alice"); err != nil || got != key {
		t.Errorf("%v, %v", got, err)
	}
	other := key
	other.Pool++
	if _, err := k.Add(alice, other); !errors.Is(err, ErrUnlike) {
		t.Errorf("other parameters: %v", err)
	}
	if err := (mark{key.Secret.ID(), 7}).write(d, "ssh", "alice"); err != nil {
		t.Fatal(err)
	}
	if names, err := Keys(d); err != nil || !slices.Equal(names, []Name{alice}) || !d.Used() {
		t.Errorf("%v, %v", names, err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "ssh.alice": 0o600, "ssh.alice.next": 0o600} {
		info, err := os.Stat(filepath.Join(d.Root, KeysDir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	for range 2 { // the second time there is nothing
		if err := k.Delete(alice); err != nil {
			t.Error(err)
		}
	}
	if d.Used() {
		t.Error("something is left")
	}
}

// What others may read or change is no secret.
func TestDirRefuses(t *testing.T) {
	t.Parallel()
	d := Dir{t.TempDir()}
	name := KeyName("ssh", "alice")
	key := onetime.Key{Params: params(alice), Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err := d.Create(name, key.Format()); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(name, key.Format()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o610} {
		if err := os.Chmod(d.Path(name), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKey(d, "ssh", "alice"); !errors.Is(err, ErrExposed) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := os.Chmod(d.Path(name), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(d.Path(name)), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(d, "ssh", "alice"); !errors.Is(err, ErrExposed) {
		t.Errorf("a directory that anybody may write to: %v", err)
	}
	if err := os.Chmod(filepath.Dir(d.Path(name)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.Path(name), d.Path(name)+"x"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("ssh.alicex", d.Path(name)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(d, "ssh", "alice"); err == nil {
		t.Error("a symbolic link is read")
	}
}

// A revoked secret does not come back with a restored file.
func TestRevokedKeyIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Fatalf)
	w.apply()
	w.add(alice, alice)
	saved := w.backup(keysArea)
	w.remove(alice)
	w.restore(keysArea, saved)
	w.apply(alice)
	report, err := w.keeper().Refill(t.Context())
	if err != nil || len(report.Warnings) != 1 || !errors.Is(report.Warnings[0], ErrRevoked) || report.Loaded != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if infos, err := w.keeper().Users(t.Context()); err != nil || !infos[0].Empty() || !errors.Is(infos[0].Problem, ErrRevoked) {
		t.Errorf("%+v, %v", infos, err)
	}
	w.replay()
	w.add(alice, alice)
	w.use(alice, 1)
}

func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(`{"format":1,"id":"00","params":{"Pool":16},"next":32,"live":[{"from":0,"to":16},{"from":17,"to":32,"serial":3}]}`))
	f.Add([]byte(`{"format":1,"id":"00","next":1,"live":[{"from":0,"to":2}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := newWorld(t.Fatalf)
		w.disk[recordName("00")] = string(text)
		r, err := ReadRecord(w, "00")
		if err != nil {
			return
		}
		for _, l := range r.Live {
			if l.From >= l.To || l.To > r.Next {
				t.Errorf("%+v", r)
			}
		}
		if len(r.Live) > 0 {
			r.Reachable()
			r.AtRisk()
		}
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add([]byte("0123456789abcdef 256\n"))
	f.Add([]byte("x -1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseMark(text)
		if err != nil {
			return
		}
		w := newWorld(t.Fatalf)
		if err := m.write(w, "ssh", "alice"); err != nil {
			t.Fatal(err)
		}
		if again, err := readMark(w, "ssh", "alice", m.id); err != nil || again != m {
			t.Errorf("%+v is read as %+v, %v", m, again, err)
		}
	})
}

func FuzzReadJournal(f *testing.F) {
	f.Add([]byte(`{"marker":1,"entries":[{"id":"00","load":[{"from":0,"to":16}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := newWorld(t.Fatalf)
		w.disk[journalName] = string(text)
		if j, err := readJournal(w); err == nil && j == nil || err != nil && !errors.Is(err, errJournal) {
			t.Errorf("%v, %v", j, err)
		}
	})
}
