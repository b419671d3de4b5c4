package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultPatience = 10 * time.Second
	lockPause       = 25 * time.Millisecond
)

// ErrBusy says that another tirl held the lock for too long.
var ErrBusy = errors.New("another tirl is at work")

// lock is the exclusive right to change this host's rules, a flock(2) that ends
// with its process.
type lock struct {
	file     *os.File
	path     string
	refilled bool // the pools of users are seen to
}

func (e *Engine) runDir() string { return filepath.Join(e.Root, "/run/tirl") }

// lock waits until no other tirl changes anything.
func (e *Engine) lock(ctx context.Context) (*lock, error) {
	if err := os.MkdirAll(e.runDir(), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the lock: %w", err)
	}
	l := &lock{path: filepath.Join(e.runDir(), "lock")}
	patience := e.Patience
	if patience == 0 {
		patience = defaultPatience
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w: %s is locked", ErrBusy, l.path))
	defer cancel()
	for {
		ok, err := l.attempt()
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if ok {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

// attempt locks the file if nobody else has. A holder may have removed the file
// that was opened here, so that what counts is that the locked one is still there.
func (l *lock) attempt() (bool, error) {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		// Another tirl has just removed the directory.
		return false, os.MkdirAll(filepath.Dir(l.path), 0o755)
	}
	if err != nil {
		return false, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return false, os.NewSyscallError("flock", err)
	}
	mine, err := f.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Stat(l.path); err == nil && os.SameFile(mine, there) {
			l.file = f
			return true, nil
		}
	}
	f.Close()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return false, nil
}

func (l *lock) unlock() { l.file.Close() }

// lend makes programs that are started hold the lock too, until they end, so
// that it tells of the death of this process and of all that it began.
func (l *lock) lend(on bool) error {
	flags := unix.FD_CLOEXEC
	if on {
		flags = 0
	}
	if _, err := unix.FcntlInt(l.file.Fd(), unix.F_SETFD, flags); err != nil {
		return fmt.Errorf("share the lock: %w", os.NewSyscallError("fcntl", err))
	}
	return nil
}

// remove unlocks and leaves nothing behind.
func (l *lock) remove() {
	os.Remove(l.path)
	os.Remove(filepath.Dir(l.path))
	l.unlock()
}
