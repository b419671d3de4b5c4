package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// What the process in the user namespace does.
const (
	modeEnv    = "LAB_TEST_INSIDE"
	modeExit   = "exit"   // checks where it is, ends with status 7
	modeDie    = "die"    // is killed by a signal
	modeWait   = "wait"   // ends with status 5 when told to
	modeCancel = "cancel" // the same, and Reexec's context ends
)

// TestInside is run by TestReexec, in another process.
func TestInside(t *testing.T) {
	switch os.Getenv(modeEnv) {
	case modeExit:
		if err := inspect(t.Context()); err != nil {
			t.Fatal(err)
		}
		os.Exit(7)
	case modeDie:
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case modeWait, modeCancel:
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		fmt.Println("ready")
		<-signals
		os.Exit(5)
	}
}

func inspect(ctx context.Context) error {
	if os.Getuid() != 0 || os.Getgid() != 0 {
		return fmt.Errorf("user %d, group %d", os.Getuid(), os.Getgid())
	}
	if entries, err := os.ReadDir("/run"); err != nil || len(entries) > 0 {
		return fmt.Errorf("/run has %d entries, %v", len(entries), err)
	}
	p, err := lab.NewPair(lab.PairOptions{})
	if err != nil {
		return err
	}
	defer p.Close()
	rules := "*filter\n-A INPUT -p tcp --dport 22 -j DROP\nCOMMIT\n"
	for _, program := range []string{"iptables-legacy-restore", "ip6tables-legacy-restore", "iptables-nft-restore"} {
		if _, err := exec.LookPath(program); errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if _, err := p.Server.Run(ctx, rules, program); err != nil {
			return err
		}
	}
	if _, err := p.Server.Run(ctx, "add table inet t\n", "nft", "-f", "-"); err != nil {
		return err
	}
	// A re-executed process is privileged, and re-executes no more.
	if done, _, err := lab.Reexec(ctx, nil); done || err != nil {
		return fmt.Errorf("again: %t, %v", done, err)
	}
	return nil
}

// unprivileged prepares TestInside as another user's process, with a PATH that has no
// administrator's programs, and away from the terminal.
func unprivileged(t *testing.T, mode string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInside$")
	cmd.Env = append(os.Environ(), modeEnv+"="+mode, "PATH=/usr/bin:/bin")
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
		Setsid:     true,
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, bufio.NewReader(out)
}

func TestReexec(t *testing.T) {
	labtest.Require(t)
	if m, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(m), "4294967295") {
		t.Skip("needs a second user to be unprivileged; these tests were themselves re-executed")
	}
	if err := exec.Command("setpriv", "--reuid=65534", "--clear-groups", "unshare", "-Urn", "true").Run(); err != nil {
		if os.Getenv(labtest.RequireEnv) == "1" {
			t.Fatalf("no user namespaces for users: %v", err)
		}
		t.Skipf("no user namespaces for users: %v", err)
	}
	for _, c := range []struct {
		name, mode string
		signal     syscall.Signal
		want       int
	}{
		{"exit status", modeExit, 0, 7},
		{"killed", modeDie, 0, 128 + 9},
		{"terminated", modeWait, syscall.SIGTERM, 5},
		{"interrupted", modeWait, syscall.SIGINT, 5},
		{"cancelled", modeCancel, 0, 5},
		{"parent killed", modeWait, syscall.SIGKILL, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd, out := unprivileged(t, c.mode)
			if c.signal != 0 {
				if line, err := out.ReadString('\n'); line != "ready\n" {
					t.Fatalf("the child says %q, %v", line, err)
				}
				cmd.Process.Signal(c.signal)
			}
			// The pipe ends when the last process that could write to it does.
			ended := make(chan string)
			go func() {
				rest, _ := io.ReadAll(out)
				ended <- string(rest)
			}()
			select {
			case rest := <-ended:
				cmd.Wait()
				if got := cmd.ProcessState.ExitCode(); got != c.want {
					t.Errorf("status %d, want %d\n%s", got, c.want, rest)
				}
			case <-time.After(20 * time.Second):
				t.Error("the child is still there")
			}
		})
	}
}
