package lab_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/tool"
)

// eventually tries for a time that only a defect or a very busy machine exceeds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func ownNetns(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A veth goes away with either end, so the client's shows whether the server's
// namespace is gone.
func TestNamespaceVanishes(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	sleep := exec.Command("sleep", "1000")
	if err := p.Server.Start(sleep); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleep.Wait() }()
	if err := p.Server.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || err.Error() != "signal: killed" {
			t.Errorf("the program in the namespace: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the program outlives its namespace")
	}
	eventually(t, "the client's device vanishes", func() bool {
		var missing netlink.LinkNotFoundError
		err := p.Client.Do(func() error {
			_, err := netlink.LinkByName(lab.ClientDevice)
			return err
		})
		return errors.As(err, &missing)
	})
	if _, err := p.Server.Run(t.Context(), "", "true"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("run in a closed namespace: %v", err)
	}
	if err := p.Server.Do(func() error { return nil }); err == nil {
		t.Error("do in a closed namespace: no error")
	}
	// As with a file, to close it again is an error and no more.
	if err := p.Server.Close(); err == nil {
		t.Error("closed twice without an error")
	}
}

func TestDoRestoresTheThread(t *testing.T) {
	labtest.Require(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home := ownNetns(t)
	failure := errors.New("own error")
	err = n.Do(func() error {
		if ownNetns(t) == home {
			t.Error("do did not enter the namespace")
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("do gave %v", err)
	}
	func() {
		defer func() { recover() }()
		n.Do(func() error { panic("for the test") })
	}()
	if got := ownNetns(t); got != home {
		t.Errorf("left in %s, home is %s", got, home)
	}
}

func TestRun(t *testing.T) {
	labtest.Require(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx := t.Context()
	if out, err := n.Run(ctx, "a line", "cat"); out != "a line" || err != nil {
		t.Errorf("cat: %q, %v", out, err)
	}
	if out, err := n.Run(ctx, "", "ip", "-br", "link"); err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("devices of an empty namespace: %q, %v", out, err)
	}
	var failed *tool.Error
	if _, err := n.Run(ctx, "", "sh", "-c", "echo text >&2; exit 3"); !errors.As(err, &failed) || failed.Stderr != "text" {
		t.Errorf("a failing program: %v", err)
	}
	if _, err := n.Run(ctx, "", "no-such-program"); !errors.Is(err, tool.ErrMissing) {
		t.Errorf("a missing program: %v", err)
	}
}

// Many goroutines in many namespaces must neither mix them up nor leave a thread
// of the runtime in a wrong one.
func TestNamespacesInParallel(t *testing.T) {
	labtest.Require(t)
	home := ownNetns(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			n, err := lab.NewNamespace()
			if err != nil {
				t.Error(err)
				return
			}
			defer n.Close()
			var inside string
			for range 20 {
				err := n.Do(func() error {
					s, err := os.Readlink("/proc/thread-self/ns/net")
					if s == home || (inside != "" && s != inside) {
						t.Errorf("in %s instead of %s", s, inside)
					}
					inside = s
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
			out, err := n.Run(t.Context(), "", "readlink", "/proc/self/ns/net")
			if err != nil || strings.TrimSpace(out) != inside {
				t.Errorf("a program is in %q (%v) instead of %s", out, err, inside)
			}
		})
	}
	wg.Wait()
	for range 64 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if s, _ := os.Readlink("/proc/thread-self/ns/net"); s != home {
				t.Errorf("a thread was left in %s", s)
			}
			time.Sleep(10 * time.Millisecond)
		})
	}
	wg.Wait()
}

// Nothing may outlive a process that dies without a chance to clean up.
func TestDeathCleansUp(t *testing.T) {
	labtest.Require(t)
	if os.Getenv("LAB_TEST_DIE") == "1" {
		p := labtest.Pair(t, lab.PairOptions{})
		sleep := exec.Command("sleep", "1000")
		if err := p.Server.Start(sleep); err != nil {
			t.Fatal(err)
		}
		out, err := p.Server.Run(t.Context(), "", "readlink", "/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("namespace " + out)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDeathCleansUp$")
	cmd.Env = append(os.Environ(), "LAB_TEST_DIE=1")
	out, err := cmd.Output()
	if err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the child ended with %v\n%s", err, out)
	}
	_, rest, ok := strings.Cut(string(out), "namespace ")
	if !ok {
		t.Fatalf("the child said %q", out)
	}
	link := strings.TrimSpace(rest)
	eventually(t, "no process is in "+link, func() bool {
		tasks, err := os.ReadDir("/proc")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if s, _ := os.Readlink("/proc/" + task.Name() + "/ns/net"); s == link {
				return false
			}
		}
		return true
	})
}
