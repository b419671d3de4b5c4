// Package labtest is for tests that need a real kernel: it skips them, or fails
// them, where network namespaces cannot be had.
package labtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
)

// RequireEnv is the environment variable that forbids to skip: with the value "1"
// a test that cannot have namespaces fails.
const RequireEnv = "TIRL_REQUIRE_KERNEL"

// Main runs the tests of a package, in a user namespace if they could not make
// network namespaces otherwise. Its result is for os.Exit; see [testing.M].
func Main(m *testing.M) int {
	done, code, err := lab.Reexec(context.Background(), os.Args[1:])
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "no network namespaces: %v\n", err)
	case done:
		return code
	}
	return m.Run()
}

// Require skips the test, or fails it if [RequireEnv] says so, unless network
// namespaces can be had.
func Require(t testing.TB) {
	t.Helper()
	n, err := lab.NewNamespace()
	switch {
	case err == nil:
		n.Close()
	case os.Getenv(RequireEnv) == "1":
		t.Fatalf("%s=1, but: %v", RequireEnv, err)
	default:
		t.Skipf("no network namespaces (%s=1 makes this a failure): %v", RequireEnv, err)
	}
}

// Pair makes a pair that lives as long as the test. It calls [Require].
func Pair(t testing.TB, opts lab.PairOptions) *lab.Pair {
	t.Helper()
	Require(t)
	p, err := lab.NewPair(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return p
}

// CPUTime is what this process has used of the processors, which a busy machine
// hardly changes.
func CPUTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
