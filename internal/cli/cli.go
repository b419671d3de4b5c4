// Package cli is the command line of tirl: it reads arguments, calls the
// packages that do the work, and prints. Data goes to standard output, messages
// to standard error.
package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/term"
)

// Main runs one command line and gives its exit code. The environment has the
// form of os.Environ.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	a := &app{args: args, in: stdin, out: stdout, err: stderr, colour: term.Auto, env: make(map[string]string)}
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok {
			a.env[name] = value
		}
	}
	root := a.root()
	root.SetArgs(args)
	return a.exit(root, root.ExecuteContext(ctx))
}

// app is what all commands of one invocation share.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      map[string]string

	args    []string // as given
	dir     string   // --root
	colour  term.When
	running bool // the arguments were accepted and a command has begun
}

func (a *app) getenv(name string) string { return a.env[name] }

// style is that of standard output.
func (a *app) style() term.Style { return term.StyleOf(a.out, a.colour, a.getenv) }

// Groups of commands, in the order of the help text.
const (
	groupSetup  = "setup"
	groupLoad   = "load"
	groupLook   = "look"
	groupClient = "client"
)

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tirl",
		Short: "Hide a service until the client has knocked",
		Long: `tirl hides network services of a Linux host until a client has sent the right
packets in the right order. A policy file of a few lines becomes rules of the
kernel's own packet filter; once they are loaded, no process of tirl runs.

Exit status: 0 it worked, 1 it failed, 2 wrong usage, 3 not active (status),
4 the policy or the hosts file has errors, 5 there are differences or findings,
6 a load failed half-way and was taken back, 7 this host cannot do it.`,
		Example: `  tirl check                  is the policy file sound?
  sudo tirl apply             load it
  tirl knock www.example.com ssh && ssh www.example.com`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Suggestions are hints here, not a part of the error.
		DisableSuggestions: true,
		CompletionOptions:  cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:               cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.SetIn(a.in)
	cmd.SetOut(a.out)
	cmd.SetErr(a.err)
	cmd.PersistentFlags().StringVar(&a.dir, "root", "", "`directory` that /etc, /var/lib/tirl and /run/tirl are under")
	cmd.PersistentFlags().Var(&a.colour, "color", "colour the output: auto, always or never")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fail(exitUsage, err, "see "+cmd.CommandPath()+" --help")
	})
	cmd.AddGroup(
		&cobra.Group{ID: groupSetup, Title: "Set up:"},
		&cobra.Group{ID: groupLoad, Title: "Load (as root, on Linux):"},
		&cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupClient, Title: "Client:"},
	)
	cmd.AddCommand(a.commands()...)
	return cmd
}

// commands are those of every system, and those that need Linux.
func (a *app) commands() []*cobra.Command {
	list := []*cobra.Command{
		a.genCommand(),
		a.importCommand(),
		a.checkCommand(),
		a.fmtCommand(),
		a.renderCommand(),
		a.explainCommand(),
		a.verifyCommand(),
		a.knockCommand(),
		a.connectCommand(),
		a.versionCommand(),
		a.completionCommand(),
	}
	return append(list, a.linuxCommands()...)
}

// noArguments is for commands that take flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("see "+cmd.CommandPath()+" --help", "%s takes no argument such as %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// run marks the end of the parsing of arguments: an error of f is no error of usage.
func (a *app) run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.running = true
		return f(cmd, args)
	}
}
