// Package tool is the seam through which tirl runs other programs: nft,
// iptables-restore and the like. What runs them decides where: on the host, in a
// network namespace, or in a test that fails on purpose.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Runner runs one program to its end.
type Runner interface {
	// Run gives what the program wrote to standard output. An error names the
	// program and holds what it wrote to standard error.
	Run(ctx context.Context, stdin, name string, args ...string) (string, error)
}

// ErrMissing says that a program is not installed.
var ErrMissing = errors.New("not installed")

// Host runs programs as children of this process, in its own namespaces.
type Host struct{}

// Run implements Runner.
func (Host) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	return Finish(Command(ctx, name, args...), stdin, (*exec.Cmd).Run)
}

// Command prepares a program that Find finds.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, Find(name), args...)
	cmd.Args[0] = name
	return cmd
}

// Find gives the path of a program: from PATH, else from where Debian keeps an
// administrator's programs, which the PATH of su(1) and of users lacks. If it is
// nowhere, it is the name itself, and running it fails.
func Find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range [...]string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name
}

// Finish runs a prepared command with its streams connected. The function that
// runs it may do so on a thread of its choice.
func Finish(cmd *exec.Cmd, stdin string, run func(*exec.Cmd) error) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	// The messages of these programs are read by us and by people who search for them.
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	err := run(cmd)
	switch {
	case err == nil:
		return out.String(), nil
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("run %s: %w", cmd.Args[0], ErrMissing)
	}
	return out.String(), &Error{Args: cmd.Args, Stderr: strings.TrimSpace(errs.String()), Err: err}
}

// Error is a program that could not be run or that failed.
type Error struct {
	Args   []string
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("run %s: %v", strings.Join(e.Args, " "), e.Err)
	}
	return fmt.Sprintf("run %s: %s", strings.Join(e.Args, " "), e.Stderr)
}

func (e *Error) Unwrap() error { return e.Err }
