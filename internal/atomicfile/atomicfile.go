// Package atomicfile replaces a file as a whole: whoever reads it, and whoever
// looks after a crash, sees the old content or the new, never a part.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// suffix marks files that are not finished.
const suffix = ".tmp"

// File is the new content of a file, beside the old one until Commit.
type File struct {
	temp *os.File // nil after Commit or Discard
	path string
}

// Create begins a new content. The file will have the mode given.
func Create(path string, mode fs.FileMode) (*File, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+suffix)
	if err != nil {
		return nil, err
	}
	f := &File{temp, path}
	if err := temp.Chmod(mode.Perm()); err != nil && runtime.GOOS != "windows" {
		f.Discard()
		return nil, err
	}
	return f, nil
}

// Commit writes the content to the disk and puts it in place of the old one. On
// an error the old content stays.
func (f *File) Commit(content []byte) error {
	return f.commit(content, func(temp string) error {
		err := os.Rename(temp, f.path)
		if err == nil {
			f.temp = nil
		}
		return err
	})
}

// CommitNew does the same where there is no file yet; if there is one it fails
// with fs.ErrExist, and that file stays.
func (f *File) CommitNew(content []byte) error {
	return f.commit(content, func(temp string) error { return os.Link(temp, f.path) })
}

func (f *File) commit(content []byte, place func(temp string) error) error {
	if f.temp == nil {
		return os.ErrClosed
	}
	defer f.Discard()
	_, err := f.temp.Write(content)
	if err == nil {
		err = f.temp.Sync()
	}
	if err := errors.Join(err, f.temp.Close()); err != nil {
		return err
	}
	if err := place(f.temp.Name()); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(f.path))
}

// Discard gives the new content up. After Commit it does nothing.
func (f *File) Discard() {
	if f.temp != nil {
		f.temp.Close()
		os.Remove(f.temp.Name())
		f.temp = nil
	}
}

// SyncDir makes what was renamed or removed in a directory last, fsync(2).
func SyncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened there
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Replace changes a file's content and keeps its mode and, where this process
// may, its owner. A symbolic link stays, and the file that it leads to is replaced.
func Replace(path string, content []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	old, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !old.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	f, err := Create(path, old.Mode())
	if err != nil {
		return err
	}
	defer f.Discard()
	if err := keepOwner(f.temp, old); err != nil {
		return err
	}
	return f.Commit(content)
}

// Clean removes what a crash left of contents of this file.
func Clean(path string) {
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".*"+suffix))
	for _, name := range left {
		os.Remove(name)
	}
}
