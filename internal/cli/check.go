package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/audit"
	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
)

type checkFlags struct {
	policy, backend string
	noHost, asJSON  bool
	keys            bool
}

func (a *app) checkCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with a policy",
		Long: `Judge a policy: its errors, all at once, each with its line and column; what is
allowed but better not so; what clashes with this host, such as a knock in the
range of its own connections or a listening port whose clients would spoil their
own knocks; and what the backend cannot do. Then say how strong each door is:
its bits, what makes its knocks easier to guess, and how long it takes to guess
them blindly, from one address and from ten thousand. docs/audit.md has the
arithmetic.

As root it looks at the secrets of users too: whether there is one for each, whether
others could read it, and whether it is of the parameters that the policy has.

It needs no root, changes nothing, and exits with 4 if there are errors.`,
		Example: `  tirl check
  tirl check --no-host --backend iptables draft.toml
  tirl check --json | jq '.doors[] | {name, bits}'`,
		GroupID: groupSetup,
		Args:    atMostOneFile,
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			file, err := oneFile(f.policy, args)
			if err != nil {
				return err
			}
			f.policy = file
			return a.check(f)
		}),
	}
	policyFlag(cmd, &f.policy)
	backendFlag(cmd, &f.backend)
	cmd.Flags().BoolVar(&f.noHost, "no-host", false, "judge the policy alone: it is for another host")
	cmd.Flags().BoolVar(&f.keys, "keys", false, "fail if the secrets of users cannot be looked at")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

// atMostOneFile is for commands that take the policy as an argument too.
func atMostOneFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage("see "+cmd.CommandPath()+" --help", "one policy at a time, not %d", len(args))
	}
	return nil
}

// oneFile is the policy that -c or an argument names.
func oneFile(flag string, args []string) (string, error) {
	switch {
	case len(args) == 0:
		return flag, nil
	case flag != "":
		return "", usage("leave out one of them", "the policy is named twice: -c %s and %s", flag, args[0])
	}
	return args[0], nil
}

// report is what check has found.
type report struct {
	doc      *document
	program  *automaton.Program // nil if the policy has errors
	backends []backendReport
	judgement
}

func (a *app) check(f checkFlags) error {
	r, err := a.examine(f)
	if err != nil {
		return err
	}
	if f.asJSON {
		err = a.printJSON(r.json())
	} else {
		err = a.printReport(r)
	}
	if err != nil {
		return err
	}
	if r.doc.found.HasErrors() {
		return fail(exitInvalid, fmt.Errorf("the policy %s has %s", displayName(r.doc.file), counts(r.doc.found)), "")
	}
	return nil
}

// examine gathers all that can be said.
func (a *app) examine(f checkFlags) (*report, error) {
	d, err := a.parse(f.policy)
	if err != nil {
		return nil, err
	}
	r := &report{doc: d}
	if d.policy == nil {
		_, err := backendName(&policy.Policy{}, f.backend)
		return r, err
	}
	name, err := backendName(d.policy, f.backend)
	if err != nil {
		return nil, err
	}
	if !f.noHost {
		d.found = append(d.found, a.audit(d)...)
	}
	g, err := automaton.Compile(d.policy)
	if err != nil {
		d.found = append(d.found, d.policy.Diagnose("door", policy.Error, err.Error(), ""))
		return r, nil
	}
	r.program, r.judgement = g, judge(d, g, name)
	d.found = append(d.found, r.judgement.found...)
	if !f.noHost {
		d.found = append(d.found, a.keyFindings(d, g, f.keys)...)
	}
	d.found.Sort()
	for _, k := range asked(name) {
		problems := k.New(nil).Check(g)
		able := !slices.ContainsFunc(problems, func(p backend.Problem) bool { return !p.Warning })
		r.backends = append(r.backends, backendReport{k.Name, able, problemReports(problems)})
	}
	return r, nil
}

func (a *app) printReport(r *report) error {
	style := a.style()
	if err := r.doc.found.Write(a.out, diagnosticStyle(style)); err != nil {
		return err
	}
	if r.program == nil || r.doc.found.HasErrors() {
		return nil
	}
	if len(r.doc.found) > 0 {
		fmt.Fprintln(a.out)
	}
	a.printAudit(r.doc.policy, audit.Of(r.doc.policy), style)
	for _, l := range r.lacks {
		fmt.Fprintf(a.out, "note: %s\n", lackNote(l, r.able[0].Name))
	}
	for _, b := range r.backends {
		if n := len(b.Problems); b.Able && n > 0 && b.Name != r.able[0].Name {
			fmt.Fprintf(a.out, "note: %s can carry this policy too, with %s: tirl check --backend %s\n",
				b.Name, plural(n, "difference"), b.Name)
		}
	}
	_, err := fmt.Fprintf(a.out, "%s: %s (%s mode, %s, %s)\n", displayName(r.doc.file), style.Green("ok"),
		r.doc.policy.Mode, r.able[0].Name, counts(r.doc.found))
	return err
}

func lackNote(l apply.Lack, able string) string {
	keys := make([]string, len(l.Problems))
	for i, p := range l.Problems {
		keys[i] = p.Key
	}
	return fmt.Sprintf("%s cannot carry this policy (%s); %s can", l.Backend, strings.Join(slices.Compact(keys), ", "), able)
}

// counts says how many errors and warnings there are.
func counts(ds policy.Diagnostics) string {
	errs, warnings := 0, 0
	for _, d := range ds {
		if d.Severity == policy.Error {
			errs++
		} else {
			warnings++
		}
	}
	switch {
	case errs > 0 && warnings > 0:
		return plural(errs, "error") + " and " + plural(warnings, "warning")
	case errs > 0:
		return plural(errs, "error")
	case warnings > 0:
		return plural(warnings, "warning")
	}
	return "no warnings"
}
