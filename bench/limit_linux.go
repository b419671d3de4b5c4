package bench

import (
	"context"
	"fmt"
	"slices"
)

const (
	// A table of this size fills at the same share of its limit as the usual one, and
	// leaves the machine time for several floods at once.
	limitRoom  = usualRoom / 8
	limitTries = 100
)

// limitOfSources measures at which rate a flood of a known first knock keeps others
// from knocking: whose places fill the table within step_timeout. The floods are at as
// many servers at once.
func limitOfSources(ctx context.Context, env *Env) (Table, error) {
	all := assaults()
	known := all[slices.IndexFunc(all, func(a assault) bool { return a.name == knownFlood })]
	env.Log("%s, by the share of what the table has room for", known.title)
	t := Table{Name: "limit", Head: "flood", Title: fmt.Sprintf("**The limit**: floods of the first knock, at a table for %s sources, in the long run.", number(limitRoom, 0)),
		Columns: []Column{{Name: "clients that get in", Unit: "%"}, {Name: "the same of a table for 65,536", Unit: "packets a second"}}}
	var sieges []siege
	for percent := 70; percent <= 130; percent += 10 {
		t.Rows = append(t.Rows, Row{Name: fmt.Sprintf("%d %% of `sources` / `step_timeout`", percent)})
		sieges = append(sieges, siege{sized(guard, limitRoom), known, limitRoom / fillAge * percent / 100, limitTries})
	}
	results, err := runSieges(ctx, sieges)
	for i, r := range results {
		t.Rows[i].Cells = []Cell{{Value: r.visits[knocks].share(), Failed: r.failed}, {Value: float64(sieges[i].rate) * usualRoom / limitRoom}}
	}
	return t, err
}
