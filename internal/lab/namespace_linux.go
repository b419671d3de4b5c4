package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/tool"
)

// How long Run waits for the output of a program that was told to end, or that
// left children behind which hold its pipes.
const waitDelay = 2 * time.Second

// Namespace is a network namespace. It is safe for concurrent use.
type Namespace struct {
	file   *os.File // an nsfs file, which keeps the namespace alive
	keeper *thread  // lives in the namespace and is the parent of its programs
}

var _ tool.Runner = (*Namespace)(nil)

// NewNamespace makes an empty network namespace, whose only device is lo, down.
// It fails with an error that wraps syscall.EPERM where that is not permitted.
func NewNamespace() (*Namespace, error) {
	var n Namespace
	var err error
	n.keeper, err = newThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return &n, nil
}

// Close gives the namespace up. Programs started in it are killed, unless they
// have left their parent. The kernel removes the namespace in the background,
// when the last socket and process in it are gone.
func (n *Namespace) Close() error {
	n.keeper.stop()
	return n.file.Close()
}

// Do runs f in the namespace: the sockets that f opens belong to it for good,
// and /proc/sys/net is the namespace's. Only the calling goroutine is moved;
// goroutines that f starts are not, and nor are the name resolver and the parallel
// dials of package net. Listening on and dialing literal addresses is fine.
func (n *Namespace) Do(f func() error) (err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	defer home.Close()
	if err := setns(n.file); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	defer func() {
		if back := setns(home); back != nil {
			// The thread stays locked, and so ends with its goroutine.
			err = errors.Join(err, fmt.Errorf("leave a network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

func setns(f *os.File) error {
	err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	runtime.KeepAlive(f)
	return os.NewSyscallError("setns", err)
}

// Start starts a prepared command in the namespace. It is killed when the
// namespace is closed and when this process dies.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// "Parent" in PR_SET_PDEATHSIG(2const) is the thread that forks: the keeper.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return n.keeper.do(cmd.Start)
}

// Run runs a program in the namespace to its end. It implements [tool.Runner].
func (n *Namespace) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := tool.Command(ctx, name, args...)
	cmd.WaitDelay = waitDelay
	return tool.Finish(cmd, stdin, func(cmd *exec.Cmd) error {
		if err := n.Start(cmd); err != nil {
			return err
		}
		return cmd.Wait()
	})
}
