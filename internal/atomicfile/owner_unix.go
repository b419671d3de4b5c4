//go:build unix

package atomicfile

import (
	"io/fs"
	"os"
	"syscall"
)

func keepOwner(f *os.File, old fs.FileInfo) error {
	was, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	err := f.Chown(int(was.Uid), int(was.Gid))
	if err != nil && os.Geteuid() != 0 {
		return nil // only root may give a file away
	}
	if err == nil {
		// Changing the owner may take mode bits away, chown(2).
		err = f.Chmod(old.Mode().Perm())
	}
	return err
}
