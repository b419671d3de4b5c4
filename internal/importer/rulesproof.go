package importer

import (
	"fmt"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/remark"
	"tirl/internal/verify"
	"tirl/internal/verify/account"
	"tirl/internal/verify/ruleset"
)

// Proof is what became of holding a policy against the rules that it was made of.
type Proof struct {
	verify.Result
	// Told is one line for each thing to say.
	Told []string
	// Sweeps is how many plain sweeps of ports let anybody in by the rules; 0: none do.
	Sweeps int
}

// assumption is one that a proof may do without.
type assumption struct {
	unless string
	set    func(*verify.Scope, bool)
}

// assumptions are tried to be left out in this order.
func assumptions() []assumption {
	return []assumption{
		{"to ports of no door", func(s *verify.Scope, on bool) { s.Services = on }},
		{"TCP that is no SYN", func(s *verify.Scope, on bool) { s.Syn = on }},
		{"when times end", func(s *verify.Scope, on bool) { s.NoExpiry = on }},
		{"RELATED, INVALID or UNTRACKED", func(s *verify.Scope, on bool) { s.Tracked = on }},
		{"to no address of the host's own", func(s *verify.Scope, on bool) { s.Unicast = on }},
		{"by the loopback device", func(s *verify.Scope, on bool) { s.Remote = on }},
		{"more packets than tirl's limit", func(s *verify.Scope, on bool) { s.NoLimit = on }},
	}
}

// maxStates bounds how far a proof goes, in each family.
const maxStates = 50_000

// prove holds the policy against the rules under as few assumptions as will do, and
// says what is otherwise.
func (r *rulesImport) prove(p *policy.Policy) *Proof {
	g, err := automaton.Compile(p)
	if err != nil {
		return nil // policy.Parse has accepted it
	}
	scope := verify.Scope{}
	if r.seen != ruleset.Both {
		scope.Families = r.seen
	}
	check := func(s verify.Scope) verify.Result {
		return verify.Verify(g, r.rules, verify.Options{Scope: s, MaxStates: maxStates})
	}
	// Most often something differs, and here it does not matter what.
	out := &Proof{Result: verify.Verify(g, r.rules, verify.Options{Scope: scope, MaxStates: maxStates, One: true})}
	if out.Proved {
		r.tell(out, g, nil)
		return out
	}
	for _, a := range assumptions() {
		a.set(&scope, true)
	}
	if out.Result = check(scope); out.Unproved != nil {
		// Rules with a limit of their own cannot be held against a policy without.
		scope.NoLimit = false
		out.Result = check(scope)
	}
	var beyond []string
	for _, a := range assumptions() {
		if !out.Proved {
			break
		}
		wider := scope
		if a.set(&wider, false); wider == scope {
			continue
		}
		if res := check(wider); res.Proved {
			scope, out.Result = wider, res
		} else if len(res.Differences) > 0 {
			beyond = append(beyond, a.unless+": "+account.Line(g, res.Differences[0]))
		}
	}
	r.tell(out, g, beyond)
	return out
}

// tell says what came out, on standard error and in the policy.
func (r *rulesImport) tell(out *Proof, g *automaton.Program, beyond []string) {
	var said []remark.Paragraph
	say := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		out.Told = append(out.Told, text)
		said = append(said, remark.Say(text))
	}
	assumed := ""
	if len(out.Assumptions) > 0 {
		assumed = ", assumed: " + strings.Join(out.Assumptions, "; ")
	}
	switch {
	case out.Proved:
		say("proved: for all sequences of packets the policy says what the rules do%s", assumed)
	case len(out.Differences) > 0:
		say("the rules do something else than the policy says%s", assumed)
		d := out.Differences[0]
		out.Told = append(out.Told, account.Line(g, d))
		for line := range strings.Lines(account.Difference(g, r.rules, d)) {
			said = append(said, remark.Show(strings.TrimSpace(line)))
		}
		for _, d := range out.Differences[1:] {
			say("- %s", account.Line(g, d))
		}
	default:
		say("not proved: %v", out.Unproved)
	}
	if len(beyond) > 0 {
		say("beyond that the two differ, for example:")
		for _, text := range beyond {
			say("- %s", text)
		}
	}
	if n, proto, service := account.Sweeps(g, r.rules, out.Differences); n > 0 {
		out.Sweeps = n
		sweeps := "one plain sweep over all ports of " + proto.String()
		if n > 1 {
			sweeps = fmt.Sprintf("%d plain sweeps over all ports of %s, one after the other", n, proto)
		}
		say("attack: your ruleset opens %s to anybody after %s; tirl's does not", service, sweeps)
	}
	r.out.Head = append(append(r.out.Head, remark.Say("")), said...)
}
