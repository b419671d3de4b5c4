package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tirl/internal/atomicfile"
	"tirl/internal/policy"
)

// current is the link that dist/load follows.
const current = "current"

func dirOf(root string) string { return filepath.Join(root, "/var/lib/tirl/boot") }

// Prepared is a saved set that is not in force before Commit. Root and Name tell
// another process all that it needs.
type Prepared struct {
	Root, Name string
	// Notes say, for people, what this host lacks.
	Notes []string
}

// write puts files into a directory that nothing leads to, and gives its name.
// If the very files are in force, it gives theirs.
func write(root string, files []file) (string, error) {
	dir := dirOf(root)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	// The rules hold the knocks: they are secret.
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return "", err
	}
	if name, err := os.Readlink(filepath.Join(dir, current)); err == nil && holds(filepath.Join(dir, name), files) {
		return name, nil
	}
	temp, err := os.MkdirTemp(dir, "set.")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(temp, f.name), f.text); err != nil {
			os.RemoveAll(temp)
			return "", err
		}
	}
	return filepath.Base(temp), nil
}

func writeFile(path, text string) error {
	f, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	return f.Commit([]byte(text))
}

// holds says whether a directory has these files and no other.
func holds(dir string, files []file) bool {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(files) {
		return false
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil || string(text) != f.text {
			return false
		}
	}
	return true
}

// Commit puts the set in force and removes all others.
func (p *Prepared) Commit() error {
	dir := dirOf(p.Root)
	err := p.commit(dir)
	if err != nil {
		return fmt.Errorf("put the rules for the next boot in force: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // what is left over does no harm
	}
	for _, e := range entries {
		if e.Name() != current && e.Name() != p.Name {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

func (p *Prepared) commit(dir string) error {
	if p.Name == "" || p.Name != filepath.Base(p.Name) {
		return fmt.Errorf("%q is no name of a set", p.Name)
	}
	if _, err := os.Stat(filepath.Join(dir, p.Name, aboutName)); err != nil {
		return err
	}
	link := filepath.Join(dir, current)
	if name, err := os.Readlink(link); err == nil && name == p.Name {
		return nil
	}
	temp := filepath.Join(dir, ".current.tmp")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(p.Name, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, link); err != nil {
		return err
	}
	// The directory's entries, fsync(2).
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Discard gives the set up, unless it is in force.
func (p *Prepared) Discard() error {
	dir := dirOf(p.Root)
	if name, err := os.Readlink(filepath.Join(dir, current)); err == nil && name == p.Name {
		return nil
	}
	if p.Name == "" || p.Name != filepath.Base(p.Name) {
		return nil
	}
	err := os.RemoveAll(filepath.Join(dir, p.Name))
	os.Remove(dir) // does nothing if a set is in force
	return err
}

// Remove sees to it that the next boot loads nothing. It is no error if nothing
// is saved.
func Remove(root string) error {
	dir := dirOf(root)
	gone := dir + ".gone"
	err := os.RemoveAll(gone)
	if err == nil {
		// All at once: dist/load takes a directory without current for an accident.
		err = os.Rename(dir, gone)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(gone)
	}
	if err != nil {
		return fmt.Errorf("remove the rules for the next boot: %w", err)
	}
	return nil
}

// Saved says what the next boot loads.
type Saved struct {
	PolicyHash string
	Rules      string // the backend's name
	Fallback   string // the other backend's name, "" if there is none
	OnFailure  policy.OnFailure
}

// Read gives what is in force; nil if nothing is.
func Read(root string) (*Saved, error) {
	text, err := os.ReadFile(filepath.Join(dirOf(root), current, aboutName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the rules for the next boot: %w", err)
	}
	var s Saved
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "policy":
			s.PolicyHash = value
		case "rules":
			s.Rules = value
		case "fallback":
			if value != "none" {
				s.Fallback = value
			}
		case "on_failure":
			s.OnFailure = policy.OnFailure(value)
		}
	}
	return &s, nil
}
