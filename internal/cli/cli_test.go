package cli

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/*.txtar")

func TestMain(m *testing.M) {
	testscript.Main(privileged{m}, map[string]func(){"tirl": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}})
}

// TestScripts runs testdata/*.txtar, each a session with the real program.
func TestScripts(t *testing.T) {
	testscript.Run(t, params("testdata"))
}

func params(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               sober,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	}
}

// sober takes from the environment what would change the output.
func sober(env *testscript.Env) error {
	for _, name := range []string{"NO_COLOR", "FORCE_COLOR", "TIRL_POLICY"} {
		env.Setenv(name, "")
	}
	env.Setenv("LC_ALL", "C.UTF-8")
	env.Setenv("TZ", "UTC")
	return nil
}

// exits is exec for a program that ends with the exit code given.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT]...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// Every command says what it does and shows how it is used.
func TestHelp(t *testing.T) {
	a := &app{env: map[string]string{}}
	for _, cmd := range a.root().Commands() {
		if cmd.Long == "" || cmd.Example == "" || cmd.Short == "" || cmd.GroupID == "" {
			t.Errorf("%s: text is missing", cmd.Name())
		}
		if cmd.RunE == nil || cmd.Run != nil {
			t.Errorf("%s: not RunE", cmd.Name())
		}
	}
}
