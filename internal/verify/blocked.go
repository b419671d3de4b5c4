package verify

import (
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/verify/ruleset"
)

// blocked proves what one-time knocks do while an administrator has blocked all doors,
// which the set of that name says: a token is spent all the same, and nothing opens or
// moves. It begins with a source that the sets do not know; one that they do is let in by
// nothing that is asked without a look at that set, which is for a policy without users
// as well the attack tests' to show.
func blocked(family ruleset.Family, g *automaton.Program, rs *ruleset.Ruleset, o Options) error {
	shut := *rs
	shut.Sets = append([]ruleset.Set(nil), rs.Sets...)
	found := false
	for i := range shut.Sets {
		s := &shut.Sets[i]
		if s.Name[strings.LastIndexByte(s.Name, ' ')+1:] == "blocked" && !s.Dynamic {
			found = true
			s.Elements = []ruleset.Element{{Key: []ruleset.Range{number32(4)}}, {Key: []ruleset.Range{number32(6)}}}
		}
	}
	if !found {
		return &ruleset.UnknownError{What: "no set `blocked`, so that nothing is known of one-time knocks while doors are blocked"}
	}
	e, _, err := newExplorer(family, g, &shut, o)
	if err != nil {
		return err
	}
	fail := func(p *path, what string) {
		if err == nil {
			err = &ruleset.UnknownError{Line: p.line, What: "while doors are blocked " + what}
		}
	}
	for _, b := range e.scope.cut(e.sp, e.sp.possible(e.scope.narrow(e.sp.all()), e.scope.Remote)) {
		e.m.execute(b, nil, func(p *path, got ruleset.Verdict) {
			if len(p.elems) > 0 {
				fail(p, "a packet changes what the sets hold")
			}
			e.s.sift(p.b, func(v verdictOf) {
				if (v.spends == spendsToken) != p.spent.tokenGone || p.spent.pathGone {
					fail(p, "a token is not spent, or another value is")
				}
			}, func(_ verdictOf, service bool) {
				if service && got == ruleset.Accept {
					fail(p, "a service is open")
				}
			})
		})
	}
	if e.m.unknown != nil {
		return e.m.unknown
	}
	return err
}
