package verify

import (
	"fmt"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/verify/ruleset"
)

// rates are the jiffies of a second that kernels are built with, apart from those
// that divide a millisecond.
var rates = [...]int64{24, 48, 100, 128, 250, 256, 300}

// Listed is Verify for a ruleset as a kernel lists it. nftables keeps times in whole
// jiffies, rounded down (nf_msecs_to_jiffies64, net/netfilter/nf_tables_api.c). Where
// the policy's are none, the ruleset is held against what the kernel makes of them, and
// an assumption says so.
func Listed(g *automaton.Program, rs *ruleset.Ruleset, o Options) Result {
	has := times(rs)
	if within(g, has) {
		return Verify(g, rs, o)
	}
	tried := []*automaton.Program{g}
	for _, hz := range rates {
		rounded := inJiffies(g, hz)
		if !within(rounded, has) || slices.ContainsFunc(tried, func(t *automaton.Program) bool { return sameTimes(t, rounded) }) {
			continue
		}
		tried = append(tried, rounded)
		if r := Verify(rounded, rs, o); r.Proved {
			r.Assumptions = append(r.Assumptions, fmt.Sprintf("times are rounded down to whole jiffies, of which this kernel has %d in a second", hz))
			return r
		}
	}
	return Verify(g, rs, o)
}

// inJiffies gives a program with the times that a kernel makes of its own.
func inJiffies(g *automaton.Program, hz int64) *automaton.Program {
	round := func(d time.Duration) time.Duration {
		if d == 0 {
			return 0
		}
		jiffies := max(d.Milliseconds()*hz/1000, 1)
		return time.Duration(jiffies*1000/hz) * time.Millisecond
	}
	out := *g
	out.StepTimeout = round(g.StepTimeout)
	out.Classes = slices.Clone(g.Classes)
	for i := range out.Classes {
		out.Classes[i].OpenFor = round(g.Classes[i].OpenFor)
	}
	return &out
}

func sameTimes(a, b *automaton.Program) bool {
	return a.StepTimeout == b.StepTimeout && slices.Equal(a.OpenTimes(), b.OpenTimes())
}

// within says whether the times of a program are among others. That of a step is in no
// rule if no door has two knocks, or one that opens once.
func within(g *automaton.Program, all map[time.Duration]bool) bool {
	used := g.OpenTimes()
	if len(g.Users) > 0 || slices.ContainsFunc(g.Doors, func(d automaton.Door) bool { return len(d.Knocks) > 1 || g.Classes[d.Class].Once }) {
		used = append(used, g.StepTimeout)
	}
	return !slices.ContainsFunc(used, func(d time.Duration) bool { return !all[d] })
}

// times are those of a ruleset's elements.
func times(rs *ruleset.Ruleset) map[time.Duration]bool {
	all := make(map[time.Duration]bool)
	for _, c := range rs.Chains {
		for _, r := range c.Rules {
			for _, st := range r.Statements {
				if w, ok := st.(ruleset.Write); ok {
					all[w.Timeout] = true
				}
			}
		}
	}
	return all
}
