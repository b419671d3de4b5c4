package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tirl/internal/policy"
	"tirl/internal/term"
)

// defaultPolicy is where a host's policy is.
const defaultPolicy = "/etc/tirl/policy.toml"

// stdinName is the file name that stands for standard input.
const stdinName = "-"

// policyFlag adds -c to a command.
func policyFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "policy `file`, - for standard input (default $TIRL_POLICY or "+defaultPolicy+")")
}

// policyPath says which file is the policy, given the value of -c.
func (a *app) policyPath(flag string) string {
	switch {
	case flag != "":
		return flag
	case a.getenv("TIRL_POLICY") != "":
		return a.getenv("TIRL_POLICY")
	}
	return filepath.Join(a.dir, defaultPolicy)
}

// document is a policy file and what it says.
type document struct {
	file   string
	source []byte
	policy *policy.Policy // nil if there are errors
	found  policy.Diagnostics
}

// readSource reads a policy file.
func (a *app) readSource(file string) ([]byte, error) {
	text, err := a.readFile(file)
	if err != nil {
		return nil, missing(file, fmt.Errorf("read the policy: %w", err))
	}
	return text, nil
}

// readFile reads a file, or standard input, but no more of it than it takes to
// be more than is allowed.
func (a *app) readFile(file string) ([]byte, error) {
	if file == stdinName {
		return io.ReadAll(io.LimitReader(a.in, policy.MaxSize+1))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, policy.MaxSize+1))
}

func missing(file string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(exitFailed, err, "name the policy with -c FILE")
	case errors.Is(err, fs.ErrPermission):
		return fail(exitFailed, err, "a policy is secret: read it as root, with sudo")
	}
	return err
}

// parse reads and judges the policy that -c, or its absence, names.
func (a *app) parse(flag string) (*document, error) {
	d := &document{file: a.policyPath(flag)}
	var err error
	if d.source, err = a.readSource(d.file); err != nil {
		return nil, err
	}
	d.policy, d.found = policy.Parse(displayName(d.file), d.source)
	return d, nil
}

// sound is parse for commands that need a policy without errors. What is wrong
// with it goes to standard error; warnings are for check.
func (a *app) sound(flag string) (*document, error) {
	d, err := a.parse(flag)
	if err != nil {
		return nil, err
	}
	if !d.found.HasErrors() {
		return d, nil
	}
	var errs policy.Diagnostics
	for _, x := range d.found {
		if x.Severity == policy.Error {
			errs = append(errs, x)
		}
	}
	return nil, a.invalid(d.file, errs)
}

// invalid prints errors of a policy and gives the error that ends the command.
func (a *app) invalid(file string, errs policy.Diagnostics) error {
	return a.refuse("the policy", file, errs)
}

// refuse does that for any file that is judged like a policy.
func (a *app) refuse(what, file string, errs policy.Diagnostics) error {
	if err := errs.Write(a.err, diagnosticStyle(term.StyleOf(a.err, a.colour, a.getenv))); err != nil {
		return err
	}
	return fail(exitInvalid, fmt.Errorf("%s %s has %s", what, displayName(file), plural(len(errs), "error")), "")
}

func displayName(file string) string {
	if file == stdinName {
		return "<stdin>"
	}
	return file
}

func diagnosticStyle(s term.Style) policy.Style {
	return policy.Style{Location: s.Bold, Error: s.Red, Warning: s.Yellow, Caret: s.Green, Hint: s.Cyan}
}

// plural counts things in English.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
