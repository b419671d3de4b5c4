package cli

import (
	"bytes"
	"fmt"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"tirl/internal/atomicfile"
	"tirl/internal/policy"
)

type fmtFlags struct {
	policy             string
	write, diff, check bool
}

func (a *app) fmtCommand() *cobra.Command {
	var f fmtFlags
	cmd := &cobra.Command{
		Use:   "fmt [FILE]",
		Short: "Give a policy file its usual layout",
		Long: `Print a policy file in its usual layout. What it says, its comments and the order
of its keys stay as they are. The name - stands for standard input.

With --write the file is replaced as a whole and keeps its mode. With --diff or
--check nothing is written, and the exit status is 5 if something would change.`,
		Example: `  tirl fmt -w
  tirl fmt --check policy.toml
  tirl fmt - < draft.toml`,
		GroupID: groupSetup,
		Args:    atMostOneFile,
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			file, err := oneFile(f.policy, args)
			if err != nil {
				return err
			}
			f.policy = a.policyPath(file)
			return a.format(f)
		}),
	}
	policyFlag(cmd, &f.policy)
	cmd.Flags().BoolVarP(&f.write, "write", "w", false, "write the file instead of printing")
	cmd.Flags().BoolVarP(&f.diff, "diff", "d", false, "print what would change")
	cmd.Flags().BoolVar(&f.check, "check", false, "print the file's name if it would change")
	return cmd
}

func (a *app) format(f fmtFlags) error {
	if f.write && (f.diff || f.check) {
		return usage("", "--write excludes --diff and --check")
	}
	if f.write && f.policy == stdinName {
		return usage("tirl fmt - < FILE", "--write needs a file, not standard input")
	}
	text, err := a.readSource(f.policy)
	if err != nil {
		return err
	}
	name := displayName(f.policy)
	better, found := policy.Format(name, text)
	if found.HasErrors() {
		return a.invalid(f.policy, found)
	}
	same := bytes.Equal(text, better)
	switch {
	case f.write && same:
		return nil
	case f.write:
		if err := atomicfile.Replace(f.policy, better); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		return nil
	case !f.diff && !f.check:
		return a.print(string(better))
	case same:
		return nil
	case f.diff:
		err = a.print(string(diff.Diff(name, text, name+" (formatted)", better)))
	default:
		err = a.print(name + "\n")
	}
	if err != nil {
		return err
	}
	return quiet(exitFindings)
}
