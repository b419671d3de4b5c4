package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/policy"
	"tirl/internal/term"
)

type applyFlags struct {
	policy, backend   string
	dryRun, noConfirm bool
	noVerify          bool
	force             bool
	confirm           time.Duration
}

func (a *app) applyCommand() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Load a policy into the kernel",
		Long: `Load a policy into the kernel in one transaction: either all of it is in force, or
nothing has changed. It replaces the policy that was loaded before. Doors that
are open to somebody stay open if the policy still has them; half-finished
knocks are forgotten. If the very policy is loaded already, nothing is done.

If the policy leaves the backend to tirl, nftables is taken if this host can do
with it what the policy needs, which is found out by loading the rules in a
private network namespace; else iptables. Rules that are up to date stay with
the backend that holds them.

Before anything is loaded, and once more on what the kernel then holds, it is proved
that the rules do what the policy says; see tirl verify.

You may have locked yourself out. So a watchdog stands ready before anything is
loaded, and takes the policy back in two minutes, or whatever --confirm says,
unless one of two things happens: you type tirl confirm in a connection that you
have opened since; or you knock and connect again from the address that you have
applied from. It does so even if your connection breaks and this command is
killed. With --no-confirm the policy stays in any case.

Once it is confirmed, no process of tirl is left.`,
		Example: `  sudo tirl apply
  sudo tirl apply --dry-run
  sudo tirl apply --confirm 5m
  sudo tirl apply -c draft.toml --backend iptables`,
		GroupID: groupLoad,
		Args:    noArguments,
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return a.apply(cmd, f) }),
	}
	policyFlag(cmd, &f.policy)
	backendFlag(cmd, &f.backend)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would change, and change nothing")
	cmd.Flags().BoolVar(&f.noConfirm, "no-confirm", false, "keep the policy without asking for a confirmation")
	cmd.Flags().DurationVar(&f.confirm, "confirm", 2*time.Minute, "`time` until the policy is taken back unless confirmed")
	cmd.Flags().BoolVar(&f.noVerify, "no-verify", false, "load the rules without a proof that they do what the policy says")
	cmd.Flags().BoolVar(&f.force, "force", false, "load the policy though it would lock you out")
	cmd.MarkFlagsMutuallyExclusive("confirm", "no-confirm")
	return cmd
}

// Bounds of --confirm.
const (
	minConfirm = time.Second
	maxConfirm = 24 * time.Hour
)

func (a *app) apply(cmd *cobra.Command, f applyFlags) error {
	if f.confirm < minConfirm || f.confirm > maxConfirm {
		return usage("such as --confirm 5m", "--confirm %s is not between %s and %s", f.confirm, minConfirm, maxConfirm)
	}
	p, err := a.compile(f.policy, f.backend)
	if err != nil {
		return err
	}
	if err := a.needRoot("load rules"); err != nil {
		return err
	}
	in := apply.Input{Program: p.Program, Source: p.source, File: p.file, Backend: p.backend}
	if in.File != stdinName {
		if in.File, err = filepath.Abs(in.File); err != nil {
			return err
		}
	}
	if in.Session, err = a.session(); err != nil {
		a.warn("find out by which connection you came: %v", err)
	}
	if f.dryRun {
		// What apply would refuse is a warning here.
		if err := a.lockOut(in, true); err != nil {
			return err
		}
		return a.dryRun(cmd, in)
	}
	if err := a.lockOut(in, f.force); err != nil {
		return err
	}
	if !f.noConfirm {
		in.Wait = f.confirm
	}
	e := a.engine()
	if f.noVerify {
		e.Prove = nil
	}
	res, err := e.Apply(cmd.Context(), in)
	if err != nil {
		return a.explainFailure(err)
	}
	a.warnings(res.Warnings)
	if res.Already {
		return a.print(res.Backend + ": already active\n")
	}
	a.backendNotes(res.Lacks, res.Unread)
	a.differences(p, res.Backend)
	if err := a.print(fmt.Sprintf("%s: loaded %s\n", res.Backend, plural(len(p.Doors), "door"))); err != nil {
		return err
	}
	if res.Replaced != "" {
		if err := a.print(res.Replaced + ": removed\n"); err != nil {
			return err
		}
	}
	if res.Pending != nil {
		a.pendingNote(res)
	}
	return nil
}

// backendNotes tells why a better backend was not taken, and what is not known.
func (a *app) backendNotes(lacks []apply.Lack, unread []error) {
	for _, l := range lacks {
		a.note("not taken: %s", strings.ReplaceAll(l.String(), "\n", " "))
	}
	for _, err := range unread {
		a.warn("%v", err)
	}
}

// differences prints what a backend does otherwise than the policy says.
func (a *app) differences(p *program, name string) {
	var found policy.Diagnostics
	for _, k := range asked(name) {
		for _, problem := range k.New(nil).Check(p.Program) {
			found = append(found, diagnose(p.policy, name, problem))
		}
	}
	found.Sort()
	// A message that cannot be written is no reason to fail after the load.
	_ = found.Write(a.err, diagnosticStyle(term.StyleOf(a.err, a.colour, a.getenv)))
}

// dryRun prints a unified diff of the ruleset that was last loaded and the one
// that would be.
func (a *app) dryRun(cmd *cobra.Command, in apply.Input) error {
	plan, err := a.engine().Plan(cmd.Context(), in)
	if err != nil {
		return a.explainFailure(err)
	}
	a.backendNotes(plan.Lacks, plan.Unread)
	if plan.Already {
		a.note("%s: already active, nothing would change", plan.Backend)
		return nil
	}
	for _, name := range plan.Unknown {
		a.note("%s: holds rules that tirl has no record of; they would be replaced", name)
	}
	if plan.BeforeBackend != "" && plan.BeforeBackend != plan.Backend {
		a.note("%s: its rules would be removed", plan.BeforeBackend)
	}
	if plan.Listed != plan.Kernel {
		a.note("%s: somebody has changed the rules; that would be undone:", plan.BeforeBackend)
		if err := a.print(string(diff.Diff("kernel", []byte(plan.Kernel), "kernel (as it was loaded)", []byte(plan.Listed)))); err != nil {
			return err
		}
	}
	return a.printChanges(plan)
}

func (a *app) printChanges(plan *apply.Plan) error {
	before, after := make(map[string]string), make(map[string]string)
	var names []string
	for _, f := range plan.Before {
		before[f.Name] = f.Text
		names = append(names, f.Name)
	}
	for _, f := range plan.After {
		after[f.Name] = f.Text
		if _, ok := before[f.Name]; !ok {
			names = append(names, f.Name)
		}
	}
	for _, name := range names {
		if err := a.print(string(diff.Diff("loaded/"+name, []byte(before[name]), "new/"+name, []byte(after[name])))); err != nil {
			return err
		}
	}
	a.note("%s: would be loaded", plan.Backend)
	return nil
}
