package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tirl/internal/atomicfile"
	"tirl/internal/onetime"
)

// Store is where a host keeps what it knows of its users. Names have the form
// "keys/NAME" or "users/NAME".
type Store interface {
	// Read fails with fs.ErrNotExist where there is nothing.
	Read(name string) ([]byte, error)
	// Write replaces a file as a whole. When it comes back without an error, the
	// content is on the disk.
	Write(name string, text []byte) error
	// Create is Write, and fails with fs.ErrExist where there is a file.
	Create(name string, text []byte) error
	// Remove removes a file for good. It is no error if there is none.
	Remove(name string) error
	// List gives the names of the files of one of the two directories.
	List(dir string) ([]string, error)
}

// ErrExposed says that others may read or change a secret.
var ErrExposed = errors.New("others may read it")

// maxState bounds the size of any file of a store.
const maxState = 1 << 20

// Dir is the store of a host whose files are under Root.
type Dir struct{ Root string }

// KeysDir and UsersDir are where a host keeps its secrets, and what it knows.
const (
	KeysDir  = "/etc/tirl/keys"
	UsersDir = "/var/lib/tirl/users"
)

const (
	keysArea  = "keys"
	usersArea = "users"
)

func (d Dir) area(name string) string {
	if name == keysArea {
		return filepath.Join(d.Root, KeysDir)
	}
	return filepath.Join(d.Root, UsersDir)
}

// Path gives the file that a name stands for.
func (d Dir) Path(name string) string {
	area, file, _ := strings.Cut(name, "/")
	return filepath.Join(d.area(area), file)
}

// Read implements Store. It refuses what others may read or change, as ssh does.
func (d Dir) Read(name string) ([]byte, error) {
	path := d.Path(name)
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s has the mode %04o: %w", path, info.Mode().Perm(), ErrExposed)
	case info.Size() > maxState:
		return nil, fmt.Errorf("%s has %d bytes, which is too much", path, info.Size())
	}
	if above, err := os.Stat(filepath.Dir(path)); err == nil && above.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s has the mode %04o, and so anybody can put other files there: %w",
			filepath.Dir(path), above.Mode().Perm(), ErrExposed)
	}
	return os.ReadFile(path)
}

// Write implements Store.
func (d Dir) Write(name string, text []byte) error {
	return d.put(name, text, (*atomicfile.File).Commit)
}

// Create implements Store.
func (d Dir) Create(name string, text []byte) error {
	return d.put(name, text, (*atomicfile.File).CommitNew)
}

func (d Dir) put(name string, text []byte, commit func(*atomicfile.File, []byte) error) error {
	path := d.Path(name)
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Discard()
	return commit(f, text)
}

// makeDir makes a directory for secrets, and those above it, so that it is still
// there after a crash.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	above := filepath.Dir(dir)
	if err := os.MkdirAll(above, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.SyncDir(above)
}

// Remove implements Store.
func (d Dir) Remove(name string) error {
	path := d.Path(name)
	atomicfile.Clean(path)
	switch err := os.Remove(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// List implements Store.
func (d Dir) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(d.area(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		// What a crash leaves of a file that was to be replaced begins with a dot.
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Used says whether there is anything in the store.
func (d Dir) Used() bool {
	for _, dir := range []string{keysArea, usersArea} {
		if names, err := d.List(dir); err != nil || len(names) > 0 {
			return true
		}
	}
	return false
}

// KeyName names the file of a user's secret, for Dir.Path.
func KeyName(door, user string) string { return keysArea + "/" + door + "." + user }

// ReadKey reads a user's secret.
func ReadKey(s Store, door, user string) (onetime.Key, error) {
	name := KeyName(door, user)
	text, err := s.Read(name)
	switch {
	case missing(err):
		return onetime.Key{}, ErrNoKey
	case err != nil:
		return onetime.Key{}, err
	}
	return onetime.ParseKey(name, text)
}
