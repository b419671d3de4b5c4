package bench

import (
	"context"
	"fmt"
	"io"
	"slices"

	"tirl/internal/lab"
)

const (
	// A table of this size fills at the same share of its limit as the usual one, and
	// leaves the machine time for several floods at once.
	limitRoom  = usualRoom / 8
	limitTries = 100
)

// hurried is a guard that keeps most places after one knock for a second only while
// more first knocks come than half of what its table can hold. A place may be
// forgotten for lack of room, so that is within what a policy means.
func hurried(sources int) gate {
	g := sized(guard+", hurried", sources)
	usual := g.load
	g.load = func(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
		c, err := usual(ctx, server)
		if err != nil {
			return c, err
		}
		// The chain that nftables renders, but for the limit and the rule behind it.
		_, err = server.Run(ctx, fmt.Sprintf(`flush chain inet tirl start4
add rule inet tirl start4 meta priority vmap @opens
add rule inet tirl start4 limit rate %d/second burst %[1]d packets add @started4 { ip saddr timeout %ds : meta priority } goto clean
add rule inet tirl start4 add @started4 { ip saddr timeout 1s : meta priority }
add rule inet tirl start4 meta priority set none
`, sources/fillAge/2, fillAge), "nft", "-f", "-")
		return c, err
	}
	return g
}

// limitOfSources measures at which rate a flood of a known first knock keeps others
// from knocking: whose places fill the table within step_timeout. The floods are at as
// many servers at once.
func limitOfSources(ctx context.Context, env *Env) (Table, error) {
	all := assaults()
	known := all[slices.IndexFunc(all, func(a assault) bool { return a.name == knownFlood })]
	env.Log("%s, by the share of what the table has room for", known.title)
	t := Table{Name: "limit", Head: "flood, of `sources` / `step_timeout`",
		Title: fmt.Sprintf("**The limit**: how many of a hundred clients got in during floods of the first knock, at a table for %s sources, in the long run.", number(limitRoom, 0))}
	gates := []gate{sized(guard, limitRoom), hurried(limitRoom)}
	for _, g := range gates {
		t.Columns = append(t.Columns, Column{Name: g.name})
	}
	t.Columns = append(t.Columns, Column{Name: "such a flood with 65,536 sources", Unit: "packets a second"})
	percent := []int{80, 100, 150, 200, 300, 400}
	var sieges []siege
	for _, p := range percent {
		for _, g := range gates {
			sieges = append(sieges, siege{g, known, limitRoom / fillAge * p / 100, limitTries})
		}
	}
	results, err := runSieges(ctx, sieges)
	if err != nil {
		return t, err
	}
	for i, p := range percent {
		line := Row{Name: fmt.Sprintf("%d %%", p)}
		for n := range gates {
			r := results[i*len(gates)+n]
			line.Cells = append(line.Cells, Cell{Value: r.visits[knocks].share(), Failed: r.failed})
		}
		line.Cells = append(line.Cells, Cell{Value: float64(usualRoom) / fillAge * float64(p) / 100})
		t.Rows = append(t.Rows, line)
	}
	return t, nil
}
