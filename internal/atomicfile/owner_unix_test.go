//go:build unix

package atomicfile

import (
	"fmt"
	"os"
	"syscall"
)

func owned(path string, uid, gid uint32) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != uid || s.Gid != gid {
		return fmt.Errorf("%s belongs to %d:%d, not %d:%d", path, s.Uid, s.Gid, uid, gid)
	}
	return nil
}
