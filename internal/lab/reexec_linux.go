package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv marks the process that Reexec started.
const insideEnv = "TIRL_LAB_INSIDE"

// Reexec sees to it that this process may make network namespaces.
//
// A process that may is left alone: done is false. Any other starts itself again,
// with the given arguments, as root of a user namespace of its own
// (user_namespaces(7)) with private mounts and an empty /run, where iptables wants
// to keep its lock. Then done is true and exit is what the caller passes to
// os.Exit: the child's exit status, or 128 and the number of the signal that ended it.
// In the child done is false again.
//
// SIGINT and SIGTERM are passed on to the child; it is killed when this process dies.
// The error wraps syscall.EPERM, ENOSPC or EINVAL if the kernel or a security module
// allows no user namespaces.
func Reexec(ctx context.Context, args []string) (done bool, exit int, err error) {
	if os.Getenv(insideEnv) != "" {
		return false, 0, settle()
	}
	n, err := NewNamespace()
	if err == nil {
		return false, 0, n.Close()
	}
	if !errors.Is(err, syscall.EPERM) {
		return false, 0, err
	}
	exit, err = runInside(ctx, args)
	return err == nil, exit, err
}

// settle prepares the mounts of the child.
func settle() error {
	// Children of this process, and what it starts itself later, are just programs.
	if err := os.Unsetenv(insideEnv); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount an empty /run: %w", err)
	}
	// The network namespace of a child is as empty as any other.
	return raise("lo")
}

func runInside(ctx context.Context, args []string) (int, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// A user's PATH need not hold the directories of nft and iptables.
	cmd.Env = append(os.Environ(), insideEnv+"=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	defer signal.Stop(signals)

	// Pdeathsig follows the thread that forks, so it must outlive the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start in a user namespace: %w", err)
	}
	ended := make(chan struct{})
	go passOn(signals, cmd.Process, ended)
	err := cmd.Wait()
	close(ended)

	// After a cancelled context, too, what counts is how the child ended.
	if cmd.ProcessState == nil {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func passOn(signals <-chan os.Signal, child *os.Process, ended <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			if s == unix.SIGINT && inForeground() {
				continue // the terminal has sent it to the child as well
			}
			// It fails only if the child is gone, which Wait is about to report.
			_ = child.Signal(s)
		case <-ended:
			return
		}
	}
}

// inForeground says whether the terminal's Ctrl-C goes to this process group.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
