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

// assumptions are those that a proof may do without, one after the other.
func assumptions() []func(*verify.Scope, bool) {
	return []func(*verify.Scope, bool){
		func(s *verify.Scope, on bool) { s.NoExpiry = on },
		func(s *verify.Scope, on bool) { s.Tracked = on },
		func(s *verify.Scope, on bool) { s.Unicast = on },
		func(s *verify.Scope, on bool) { s.Remote = on },
		func(s *verify.Scope, on bool) { s.NoLimit = on },
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
	for _, set := range assumptions() {
		set(&scope, true)
	}
	check := func(s verify.Scope) verify.Result {
		return verify.Verify(g, r.rules, verify.Options{Scope: s, MaxStates: maxStates})
	}
	out := &Proof{Result: check(scope)}
	var beyond []verify.Difference
	if out.Proved {
		for _, set := range assumptions() {
			wider := scope
			set(&wider, false)
			if res := check(wider); res.Proved {
				scope, out.Result = wider, res
			} else if len(res.Differences) > 0 {
				beyond = append(beyond, res.Differences[0])
			}
		}
	}
	r.tell(out, g, beyond)
	return out
}

// tell says what came out, on standard error and in the policy.
func (r *rulesImport) tell(out *Proof, g *automaton.Program, beyond []verify.Difference) {
	var said []remark.Paragraph
	say := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		out.Told = append(out.Told, text)
		said = append(said, remark.Say(text))
	}
	assumed := strings.Join(out.Assumptions, "; ")
	switch {
	case out.Proved:
		say("proved: for all sequences of packets the policy says what the rules do, assumed: %s", assumed)
	case len(out.Differences) > 0:
		say("the rules do something else than the policy says, assumed: %s", assumed)
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
		say("without one of these assumptions:")
		for _, d := range beyond {
			say("- %s", account.Line(g, d))
		}
	}
	if n, proto, service := account.Sweeps(g, r.rules, out.Differences); n > 0 {
		out.Sweeps = n
		sweeps := "one plain sweep"
		if n > 1 {
			sweeps = fmt.Sprintf("%d plain sweeps, one after the other,", n)
		}
		say("attack: %s over all ports of %s let anybody in to %s by your ruleset; tirl's does not open", sweeps, proto, service)
	}
	r.out.Head = append(append(r.out.Head, remark.Say("")), said...)
}
