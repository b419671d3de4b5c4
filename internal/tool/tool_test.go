package tool

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestHostRun(t *testing.T) {
	out, err := Host{}.Run(context.Background(), "in", "cat")
	if err != nil || out != "in" {
		t.Errorf("cat gave %q, %v", out, err)
	}
}

func TestHostRunFails(t *testing.T) {
	_, err := Host{}.Run(context.Background(), "", "sh", "-c", "echo half; echo why >&2; exit 3")
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("error is %v, want an *Error", err)
	}
	if failed.Stderr != "why" || !strings.Contains(err.Error(), "run sh -c") {
		t.Errorf("error is %q, standard error %q", err, failed.Stderr)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("exit code is lost: %v", err)
	}
}

func TestHostRunMissing(t *testing.T) {
	if _, err := (Host{}).Run(context.Background(), "", "tirl-no-such-program"); !errors.Is(err, ErrMissing) {
		t.Errorf("error is %v, want %v", err, ErrMissing)
	}
}

func TestHostRunCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (Host{}).Run(ctx, "", "sleep", "60"); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}

func TestFindLooksWhereAdministratorsProgramsAre(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	if got := Find("tirl-no-such-program"); got != "tirl-no-such-program" {
		t.Errorf("Find gave %q for what is nowhere", got)
	}
	if _, err := exec.LookPath("/usr/sbin/nft"); err != nil {
		t.Skip("nft is not in /usr/sbin")
	}
	if got := Find("nft"); got != "/usr/sbin/nft" {
		t.Errorf("Find gave %q, want /usr/sbin/nft", got)
	}
}
