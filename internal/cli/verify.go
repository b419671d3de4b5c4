package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/term"
	"tirl/internal/verify"
	"tirl/internal/verify/account"
	"tirl/internal/verify/parse"
	"tirl/internal/verify/ruleset"
)

type verifyFlags struct {
	policy, backend string
	rules, rules6   string
	assume          []string
	live, asJSON    bool
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that rules do what a policy says",
		Long: `Prove that rules do what a policy says, for all sequences of packets: nobody gets
in without the whole sequence, everybody who knocks right gets in, no source
changes the state of another, and nothing else is touched. If they do not, the
shortest sequence of packets on which they differ is printed, and the exit status
is 5.

Without --live and --ruleset the rules are those that apply would load. --live
takes them as the kernel lists them. --ruleset takes them from a file that
anybody may have written: for nft -f, for iptables-restore (IPv4; --ruleset6 names
that of IPv6), or a shell script of iptables commands, which is read and not run.

What the verifier does not understand ends the proof, with the line that it is on;
it is never skipped. Rules that others wrote often mean the same only as far as
they go; --assume leaves packets out of the proof: ` + strings.Join(verify.ScopeWords(), ", ") + `.`,
		Example: `  tirl verify
  sudo tirl verify --live
  tirl verify -c policy.toml --ruleset knock.sh --assume ipv4,no-limit`,
		GroupID: groupLook,
		Args:    noArguments,
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return a.verify(cmd, f) }),
	}
	policyFlag(cmd, &f.policy)
	cmd.Flags().StringVar(&f.policy, "policy", "", "the same as --config")
	backendFlag(cmd, &f.backend)
	cmd.Flags().BoolVar(&f.live, "live", false, "prove what the kernel holds (as root, on Linux)")
	cmd.Flags().StringVar(&f.rules, "ruleset", "", "`file` with the rules, - for standard input")
	cmd.Flags().StringVar(&f.rules6, "ruleset6", "", "`file` with the rules of ip6tables, beside those of iptables")
	cmd.Flags().StringSliceVar(&f.assume, "assume", nil, "`packets` to leave out of the proof: "+strings.Join(verify.ScopeWords(), ", "))
	complete(cmd, "assume", verify.ScopeWords())
	jsonFlag(cmd, &f.asJSON)
	cmd.MarkFlagsMutuallyExclusive("live", "ruleset")
	cmd.MarkFlagsMutuallyExclusive("config", "policy")
	return cmd
}

// proof is a ruleset with its result.
type proof struct {
	what   string // that was proved
	rules  *ruleset.Ruleset
	beside []string // what is assumed of rules that were not read
	verify.Result
}

func (a *app) verify(cmd *cobra.Command, f verifyFlags) error {
	scope, err := verify.ParseScope(f.assume)
	if err != nil {
		return usage("tirl verify --assume ipv4,no-limit", "--assume: %w", err)
	}
	if f.rules6 != "" && f.rules == "" {
		return usage("tirl verify --ruleset FILE --ruleset6 FILE", "--ruleset6 needs --ruleset")
	}
	p, err := a.compile(f.policy, f.backend)
	if err != nil {
		return err
	}
	pr, err := a.rulesToProve(cmd, p, f, &scope)
	if err != nil {
		return err
	}
	if pr.Unproved == nil {
		progress := term.NewProgress(a.err, a.getenv, "states tried", 0)
		pr.Result = proving(f.live)(p.Program, pr.rules, verify.Options{Scope: scope, Tried: progress.Add})
		progress.Done()
		pr.Assumptions = append(pr.Assumptions, pr.beside...)
	}
	if f.asJSON {
		err = a.printJSON(pr.report(p.Program))
	} else {
		err = a.print(pr.text(p.Program, a.style().Green, a.style().Red))
	}
	if err == nil && !pr.Proved {
		return quiet(exitFindings)
	}
	return err
}

// rulesToProve reads the rules from wherever they are. Rules that cannot be understood
// are a result, not an error.
func (a *app) rulesToProve(cmd *cobra.Command, p *program, f verifyFlags, scope *verify.Scope) (*proof, error) {
	var pr *proof
	var err error
	switch {
	case f.live:
		pr, err = a.liveRules(cmd.Context(), p.Program)
	case f.rules != "":
		pr, err = a.writtenRules(f, scope)
	default:
		pr = &proof{what: "the rules of " + p.able[0].Name}
		var files backend.Ruleset
		if files, err = p.able[0].New(nil).Render(p.Program); err == nil {
			pr.rules, err = parse.Backend(p.able[0].Name, files)
		}
	}
	if unknown, ok := errors.AsType[*ruleset.UnknownError](err); ok && pr != nil {
		pr.Result = verify.Result{Unproved: unknown}
		return pr, nil
	}
	return pr, err
}

// writtenRules reads rules that somebody has written.
func (a *app) writtenRules(f verifyFlags, scope *verify.Scope) (*proof, error) {
	text, err := a.readFile(f.rules)
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	pr := &proof{what: displayName(f.rules)}
	rs, kind, err := parse.Text(string(text), ruleset.IPv4)
	if err != nil {
		return pr, named(f.rules, err)
	}
	pr.rules = rs
	if f.rules6 != "" {
		if kind != parse.Iptables {
			return nil, usage("leave out --ruleset6", "%s holds the rules of both families", displayName(f.rules))
		}
		more, err := a.readFile(f.rules6)
		if err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		rs6, _, err := parse.Text(string(more), ruleset.IPv6)
		if err != nil {
			return pr, named(f.rules6, err)
		}
		pr.rules = ruleset.Join(rs, rs6)
	}
	if kind == parse.Iptables && f.rules6 == "" && scope.Families == 0 && parse.Families(rs) == ruleset.IPv4 {
		// Nobody has said what ip6tables holds.
		scope.Families = ruleset.IPv4
	}
	return pr, nil
}

// named puts the file's name before an error, but keeps what is not understood as it
// is: that is a result.
func named(file string, err error) error {
	if _, ok := errors.AsType[*ruleset.UnknownError](err); ok {
		return err
	}
	return fail(exitInvalid, fmt.Errorf("%s: %w", displayName(file), err), "")
}

// text is the result for people.
func (pr *proof) text(g *automaton.Program, good, bad func(string) string) string {
	var b strings.Builder
	switch {
	case pr.Proved:
		fmt.Fprintf(&b, "%s %s: what the policy says, for all sequences of packets (%s)\n", good("proved:"), pr.what, plural(pr.States, "state"))
	case len(pr.Differences) == 0:
		fmt.Fprintf(&b, "%s %s: %v\n", bad("not proved:"), pr.what, pr.Unproved)
	}
	for i, d := range pr.Differences {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s %s, %s:\n", bad("differs:"), pr.what, plural(len(d.Packets), "packet"))
		b.WriteString(account.Difference(g, pr.rules, d))
	}
	if n, proto, service := account.Sweeps(g, pr.rules, pr.Differences); n > 0 {
		fmt.Fprintf(&b, "\n%s %s over all ports of %s, one after the other, open %s to anybody\n", bad("attack:"), plural(n, "plain sweep"), proto, service)
	}
	for _, s := range pr.Assumptions {
		fmt.Fprintf(&b, "assumed: %s\n", s)
	}
	return b.String()
}

// verifyReport is the result for programs.
type verifyReport struct {
	Rules       string             `json:"rules"`
	Proved      bool               `json:"proved"`
	States      int                `json:"states"`
	Assumptions []string           `json:"assumptions,omitempty"`
	Unproved    string             `json:"unproved,omitempty"`
	Line        int                `json:"line,omitempty"` // of what was not understood
	Differences []differenceReport `json:"differences,omitempty"`
	Sweeps      int                `json:"sweeps,omitempty"` // plain port sweeps that open a door
}

type differenceReport struct {
	Packets []string `json:"packets"` // as explain reads them
	Policy  string   `json:"policy"`  // what the last packet gets by the policy
	Rules   string   `json:"rules"`   // and by the rules
	Line    int      `json:"line,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	Seconds float64  `json:"seconds"` // from the first packet to the last
}

func (pr *proof) report(g *automaton.Program) verifyReport {
	r := verifyReport{Rules: pr.what, Proved: pr.Proved, States: pr.States, Assumptions: pr.Assumptions}
	if pr.Unproved != nil && len(pr.Differences) == 0 {
		r.Unproved = pr.Unproved.Error()
		if unknown, ok := errors.AsType[*ruleset.UnknownError](pr.Unproved); ok {
			r.Line = unknown.Line
		}
	}
	r.Sweeps, _, _ = account.Sweeps(g, pr.rules, pr.Differences)
	for _, d := range pr.Differences {
		first, last := d.Packets[0], d.Packets[len(d.Packets)-1]
		r.Differences = append(r.Differences, differenceReport{
			Packets: account.Packets(d),
			Policy:  d.Want.Verdict.String(),
			Rules:   d.Got.Verdict,
			Line:    d.Got.Line,
			Rule:    strings.TrimPrefix(account.Rule(pr.rules, d.Got.Line), ", "),
			Seconds: (last.Time - first.Time).Round(time.Millisecond).Seconds(),
		})
	}
	return r
}

// notProved says whether an error is that rules were not proved.
func notProved(err error) bool {
	_, ok := errors.AsType[*verify.NotProvedError](err)
	return ok
}

// proving is how rules are proved that were written, or that a kernel lists.
func proving(listed bool) func(*automaton.Program, *ruleset.Ruleset, verify.Options) verify.Result {
	if listed {
		return verify.Listed
	}
	return verify.Verify
}

// sameAsRendered says whether rules mean the very same as those that a backend renders.
func sameAsRendered(g *automaton.Program, name string, rs *ruleset.Ruleset) bool {
	kinds := asked(name)
	if len(kinds) != 1 {
		return false
	}
	files, err := kinds[0].New(nil).Render(g)
	if err != nil {
		return false
	}
	own, err := parse.Backend(name, files)
	return err == nil && ruleset.Equal(own, rs)
}

// prove is what apply asks before and after it loads.
func (a *app) prove(g *automaton.Program, name string, files backend.Ruleset, listed bool) error {
	rs, err := parse.Backend(name, files)
	if err != nil {
		return &verify.NotProvedError{Result: verify.Result{Unproved: err}}
	}
	if listed && sameAsRendered(g, name, rs) {
		return nil // as those that were proved before they were loaded
	}
	progress := term.NewProgress(a.err, a.getenv, "states tried", 0)
	defer progress.Done()
	if err := proving(listed)(g, rs, verify.Options{One: true, Tried: progress.Add}).Err(); err != nil {
		if not, ok := errors.AsType[*verify.NotProvedError](err); ok && len(not.Differences) > 0 {
			return fmt.Errorf("%w:\n%s", err, strings.TrimSuffix(account.Difference(g, rs, not.Differences[0]), "\n"))
		}
		return err
	}
	return nil
}
