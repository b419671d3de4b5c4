// Package verify proves that a ruleset does what a policy says, for all
// sequences of packets, or finds the shortest one on which they differ.
//
// It carries out the ruleset on sets of packets, side by side with the meaning of
// the policy, in every state that a source can bring the two into. Times run out when
// they like, but on both sides together if they began together and are equally long. What a
// ruleset says that the verifier does not understand ends the proof: it is never
// skipped. docs/verification.md says what is proved, and on which assumptions.
//
// The package is pure.
package verify

import (
	"errors"
	"slices"
	"sync"

	"tirl/internal/automaton"
	"tirl/internal/verify/ruleset"
)

// Result is what came out for one ruleset and one policy.
type Result struct {
	// Proved: the ruleset does what the policy says, whatever packets come, under
	// Assumptions.
	Proved      bool
	Assumptions []string
	// Differences are packet sequences on which the two differ, the shortest
	// first. They were tried on the interpreter and on the ruleset.
	Differences []Difference
	// Unproved says why nothing was proved, if no difference was found.
	Unproved error
	States   int // that were tried, of both families
}

// NotProvedError is the Result of a ruleset that was not proved.
type NotProvedError struct{ Result }

func (e *NotProvedError) Error() string {
	switch {
	case len(e.Differences) > 0:
		return "the rules do not do what the policy says"
	case e.Unproved != nil:
		return "not proved: " + e.Unproved.Error()
	}
	return "not proved"
}

func (e *NotProvedError) Unwrap() error { return e.Unproved }

// Err gives a *NotProvedError, unless the ruleset was proved.
func (r Result) Err() error {
	if r.Proved {
		return nil
	}
	return &NotProvedError{r}
}

// Options say how far to go.
type Options struct {
	Scope Scope
	// MaxStates is how many states to try for each family. 0: a million.
	MaxStates int
	// One: a single difference is enough, and it need not be the plainest.
	One bool
	// Tried is called now and then, by several goroutines, with how many more states
	// have been tried. It may be nil.
	Tried func(states int)
}

const defaultMaxStates = 1_000_000

// Verify holds a ruleset against a policy.
func Verify(g *automaton.Program, rs *ruleset.Ruleset, o Options) Result {
	r := Result{Proved: true, Assumptions: o.Scope.Assumptions()}
	if o.MaxStates == 0 {
		o.MaxStates = defaultMaxStates
	}
	if len(g.Users) > 0 {
		r.Assumptions = append(r.Assumptions, "the sets of one-time values hold what tirl puts there")
	}
	if g.MatchTTL && comparesTTL(rs) {
		r.Assumptions = append(r.Assumptions, "all packets of a source have one TTL (recent --rttl)")
	}
	families := []ruleset.Family{ruleset.IPv4, ruleset.IPv6}
	if o.Scope.Families != 0 {
		families = []ruleset.Family{o.Scope.Families}
	}
	results := make([]Result, len(families))
	var both sync.WaitGroup
	for i, family := range families {
		both.Go(func() { results[i] = verifyFamily(family, g, rs, o) })
	}
	both.Wait()
	for _, f := range results {
		r.States += f.States
		r.Proved = r.Proved && f.Proved
		for _, d := range f.Differences {
			r.Differences = addDifference(r.Differences, d)
		}
		if r.Unproved == nil {
			r.Unproved = f.Unproved
		}
	}
	slices.SortStableFunc(r.Differences, func(a, b Difference) int { return len(a.Packets) - len(b.Packets) })
	return r
}

// comparesTTL says whether some rule of the recent match asks for --rttl.
func comparesTTL(rs *ruleset.Ruleset) bool {
	for _, c := range rs.Chains {
		for _, r := range c.Rules {
			for _, st := range r.Statements {
				if l, ok := st.(ruleset.Lookup); ok && l.SameTTL {
					return true
				}
			}
		}
	}
	return false
}

// rounds is how often classes may be found whose grants have to be followed.
const rounds = 4

func verifyFamily(family ruleset.Family, g *automaton.Program, rs *ruleset.Ruleset, o Options) Result {
	e, relevant, err := newExplorer(family, g, rs, o)
	if err != nil {
		return Result{Unproved: err}
	}
	var found []Difference
	var states int
	for range rounds {
		e.learnGrants()
		if e.m.unknown != nil {
			return Result{Unproved: e.m.unknown}
		}
		if e.coarse, err = e.structure(g.MatchTTL && !comparesTTL(rs)); err == nil && e.s.limited {
			err = e.limits(relevant)
		}
		if err != nil {
			break
		}
		e.mixed, e.fault = make(map[int]bool), nil
		err = e.explore()
		states += len(e.nodes)
		if len(e.suspects) > 0 && !o.One {
			// Once more, so that the way to each is one of plain packets if there is one.
			e.plainest = true
			err = e.explore()
			e.plainest = false
		}
		for _, d := range e.confirm() {
			found = addDifference(found, d)
		}
		if err == nil && len(e.suspects) == 0 && len(e.mixed) == 0 {
			if len(g.Users) > 0 {
				err = blocked(family, g, rs, o)
			}
			return Result{Proved: err == nil, Unproved: err, States: states}
		}
		if err != nil || len(e.mixed) == 0 {
			break
		}
		// Whether it shows that grants are treated otherwise, only following them tells.
		// One class is enough to begin with.
		e.exact[sortedKeys(e.mixed)[0]] = true
	}
	if len(found) == 0 {
		found = e.search()
	}
	if len(found) > 0 {
		return Result{Differences: found, States: states}
	}
	if err == nil {
		err = errUnconfirmed
	}
	return Result{Unproved: err, States: states}
}

var errUnconfirmed = errors.New("the two seem to differ, but no sequence of packets was found that shows it")

func newExplorer(family ruleset.Family, g *automaton.Program, rs *ruleset.Ruleset, o Options) (*explorer, map[string]bool, error) {
	filled, pl, err := withSamples(g, rs)
	if err != nil {
		return nil, nil, err
	}
	sp, err := newSpace(family, g, filled, pl)
	if err != nil {
		return nil, nil, err
	}
	m, relevant, err := newMachine(filled, sp, pl)
	if err != nil {
		return nil, nil, err
	}
	e := &explorer{g: g, sp: sp, m: m, scope: o.Scope, max: o.MaxStates, one: o.One, tried: o.Tried, exact: make(map[int]bool)}
	e.s = newMeaning(g, sp, pl, !o.Scope.NoLimit)
	m.limited, m.oneTTL = e.s.limited, g.MatchTTL
	return e, relevant, nil
}

// newMachine prepares a ruleset for one family.
func newMachine(rs *ruleset.Ruleset, sp *space, pl *pool) (*machine, map[string]bool, error) {
	own := *rs
	own.Hooks = slices.DeleteFunc(slices.Clone(rs.Hooks), func(h ruleset.Hook) bool { return h.Families&sp.family == 0 })
	roots, relevant, err := slice(&own)
	if err != nil {
		return nil, nil, err
	}
	m := &machine{
		rs: &own, sp: sp, pool: pl, names: make(map[string]int), end: &node{kind: atEnd},
		foreign: make(map[int]bool), tables: make(map[tableKey]*table), ranges: make(map[portKey]bitset), flags: make(map[elemKey]int),
	}
	for i, h := range own.Hooks {
		m.hooks = append(m.hooks, hook{roots[i], h.Stage, h.Policy})
	}
	m.gather(relevant)
	return m, relevant, nil
}

// gather finds out what the rules ask of each dynamic set.
func (m *machine) gather(relevant map[string]bool) {
	for _, s := range m.rs.Sets {
		m.sets = append(m.sets, setInfo{name: s.Name, line: s.Line, relevant: relevant[s.Name]})
	}
	for _, c := range m.rs.Chains {
		for _, r := range c.Rules {
			for _, st := range r.Statements {
				m.gatherOf(st, relevant)
			}
		}
	}
	for i := range m.sets {
		slices.Sort(m.sets[i].times)
		m.sets[i].times = slices.Compact(m.sets[i].times)
	}
}

func (m *machine) gatherOf(st ruleset.Statement, relevant map[string]bool) {
	switch st := st.(type) {
	case ruleset.Lookup:
		if st.Within > 0 {
			m.sets[st.Set].list = true
			m.sets[st.Set].times = append(m.sets[st.Set].times, st.Within)
		}
	case ruleset.Write:
		if st.Op == ruleset.Mark || st.Op == ruleset.Remove {
			m.sets[st.Set].list = true
		}
	case ruleset.HashLimit:
		name := hashLimitSet(st.Name)
		if _, ok := m.names[name]; !ok {
			m.names[name] = len(m.sets)
			m.sets = append(m.sets, setInfo{name: name, relevant: relevant[name]})
		}
	}
}
