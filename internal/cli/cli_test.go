package cli

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
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

// walk visits every command that does something and is not hidden.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	for _, c := range cmd.Commands() {
		if c.Hidden {
			continue
		}
		if len(c.Commands()) == 0 {
			visit(c)
		}
		walk(c, visit)
	}
}

// Every command says what it does and shows how it is used.
func TestHelp(t *testing.T) {
	root := (&app{env: map[string]string{}}).root()
	walk(root, func(cmd *cobra.Command) {
		name := cmd.CommandPath()
		if cmd.Long == "" || cmd.Example == "" || cmd.Short == "" || cmd.Parent() == root && cmd.GroupID == "" {
			t.Errorf("%s: text is missing", name)
		}
		if cmd.RunE == nil || cmd.Run != nil {
			t.Errorf("%s: not RunE", name)
		}
		own := false
		for line := range strings.Lines(cmd.Example) {
			for _, args := range typed(line) {
				found, rest, err := root.Find(args)
				if err == nil {
					err = found.ParseFlags(rest)
				}
				if err != nil || found == root {
					t.Errorf("%s: example %q: %v", name, strings.TrimSpace(line), err)
				}
				own = own || found == cmd
			}
		}
		if !own {
			t.Errorf("%s: no example of its own", name)
		}
	})
}

// typed gives the arguments of each tirl in a line of shell; a quoted argument is one.
func typed(line string) [][]string {
	var all [][]string
	for _, part := range regexp.MustCompile(`[|;<>&]+`).Split(line, -1) {
		words := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(part, -1)
		i := slices.Index(words, "tirl")
		if i < 0 {
			continue
		}
		all = append(all, words[i+1:])
	}
	return all
}
