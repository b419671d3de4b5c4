package demo_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// tirl builds the program once for a test.
func tirl(t *testing.T) string {
	t.Helper()
	labtest.Require(t)
	binary := filepath.Join(t.TempDir(), "tirl")
	cmd := exec.Command("go", "build", "-o", binary, "tirl/cmd/tirl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tirl: %v\n%s", err, out)
	}
	return binary
}

// run runs the demo with a directory of its own for temporary files.
func run(t *testing.T, binary string, args ...string) (out, temp string, err error) {
	t.Helper()
	temp = t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if err != nil {
		t.Logf("standard error: %s", stderr.String())
	}
	return stdout.String(), temp, err
}

func TestReferencePolicy(t *testing.T) {
	t.Parallel()
	out, temp, err := run(t, tirl(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`0 processes of tirl are left`,
		`(?s)tcp/80 +open.*tcp/22 +closed.*tirl knock udp/12345 udp/23456 udp/34567\n` +
			`client\$ connect to tcp/22 +open.*tcp/22 +closed.*first connection +open.*` +
			`udp/40000.*tcp/22 +closed.*sweep all 65535.*tcp/22 +closed.*tcp/80 +open`,
		`nftables IPv6 +closed +open +closed +open +closed +closed\n`,
		`iptables IPv4 +closed +open +closed +open +closed +closed\n`,
		`iptables IPv6 +closed +open +closed +open +closed +closed\n`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the demo does not show %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "WRONG") {
		t.Errorf("something went wrong:\n%s", out)
	}
	if lines := strings.Count(out, "\n"); lines > 40 {
		t.Errorf("%d lines are too many to read", lines)
	}
	empty(t, temp)
}

func TestOwnPolicy(t *testing.T) {
	t.Parallel()
	binary := tirl(t)
	for _, c := range []struct{ name, policy, want string }{
		{"timed", "[door.web]\nopens = [\"tcp/8443\"]\nknocks = [\"udp/7719\", \"tcp/28816\"]\nopen_for = \"1s\"\n",
			`nftables IPv6 +closed +open +open +open +closed +closed +closed\n`},
		{"udp service", "[door.vpn]\nopens = [\"udp/51820\"]\nknocks = [\"udp/7719\", \"tcp/28816\", \"udp/2222\"]\nopen_for = \"2m\"\n",
			`nftables IPv6 +closed +open +open\n`},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "policy.toml")
			if err := os.WriteFile(file, []byte(c.policy), 0o600); err != nil {
				t.Fatal(err)
			}
			out, temp, err := run(t, binary, "--policy", file, "--backend", "nftables")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("the demo does not show %q:\n%s", c.want, out)
			}
			empty(t, temp)
		})
	}
}

func TestPolicyThatTrustsTheClient(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.toml")
	text := "trust = [\"10.9.0.0/16\", \"2001:db8::/32\"]\n[door.a]\nopens = [\"tcp/22\"]\nknocks = [\"udp/7719\", \"tcp/28816\"]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, tirl(t), "--policy", file); err == nil {
		t.Errorf("the demo shows a door to a client that needs none:\n%s", out)
	}
}

// TestInterrupt: Ctrl-C in the middle leaves neither files nor processes.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	binary := tirl(t)
	temp := t.TempDir()
	cmd := exec.Command(binary, "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the demo did not begin")
		}
	}
	time.Sleep(300 * time.Millisecond)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("an interrupted demo ends with %v, want exit code 1", err)
	}
	empty(t, temp)
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range all {
		if exe, err := os.Readlink(link); err == nil && exe == binary {
			t.Errorf("%s is still running", link)
		}
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("%s is left behind", e.Name())
	}
}
