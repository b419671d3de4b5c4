package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/term"
)

// Exit codes. They are a part of the interface.
const (
	exitOK          = 0
	exitFailed      = 1 // the operation failed
	exitUsage       = 2 // the command line is wrong
	exitInactive    = 3 // status: nothing is loaded
	exitInvalid     = 4 // the policy has errors
	exitFindings    = 5 // drift, not proved, or findings
	exitRolledBack  = 6 // a load was taken back
	exitUnsupported = 7 // this host cannot do it
)

// failure is an error with what the user should know beyond it.
type failure struct {
	code int
	err  error // nil: all has been said on standard output
	hint string
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func fail(code int, err error, hint string) error { return &failure{code, err, hint} }

// quiet gives an exit code that is an answer, not an error.
func quiet(code int) error { return &failure{code: code} }

func usage(hint, format string, args ...any) error {
	return fail(exitUsage, fmt.Errorf(format, args...), hint)
}

// exit reports an error and turns it into an exit code. It is the only place
// that does.
func (a *app) exit(root *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	f, ok := errors.AsType[*failure](err)
	switch {
	case ok:
	case errors.Is(err, context.Canceled):
		f = &failure{exitFailed, errors.New("interrupted"), ""}
	case a.running:
		f = &failure{exitFailed, err, ""}
	default:
		f = &failure{exitUsage, err, "see " + root.CommandPath() + " --help"}
	}
	if f.err != nil {
		// What wraps the failure belongs to the message.
		a.message("error", err.Error())
	}
	if f.hint != "" {
		a.message("hint", f.hint)
	}
	return f.code
}

// warn prints a warning.
func (a *app) warn(format string, args ...any) { a.message("warning", fmt.Sprintf(format, args...)) }

// hint prints what to do, with the exact command.
func (a *app) hint(format string, args ...any) { a.message("hint", fmt.Sprintf(format, args...)) }

// note prints what is neither data nor trouble.
func (a *app) note(format string, args ...any) {
	fmt.Fprintln(a.err, "tirl: "+fmt.Sprintf(format, args...))
}

func (a *app) message(kind, text string) {
	style := term.StyleOf(a.err, a.colour, a.getenv)
	word := map[string]func(string) string{"error": style.Red, "warning": style.Yellow, "hint": style.Cyan}[kind](kind + ":")
	// Programs that were run may have said several lines.
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
	fmt.Fprintf(a.err, "tirl: %s %s\n", word, text)
}

// commandLine quotes arguments for a shell where they need it.
func commandLine(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:=@%+", r)
		}) {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

func unknownCommand(root *cobra.Command, name string) error {
	hint := "see " + root.CommandPath() + " --help"
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean: " + root.CommandPath() + " " + near[0]
	}
	return usage(hint, "there is no command %q", name)
}
