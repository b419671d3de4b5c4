package automaton

import (
	"slices"

	"tirl/internal/port"
)

// Edge is one step of the automaton: a knock that leads from one place to another.
type Edge struct {
	From State
	On   port.Port
	To   State
}

// Stay is a knock that leaves a source where it is and refreshes its time.
type Stay struct {
	At State
	On port.Port
}

// Edges lists the edges of the trie, parents before children. What leads users
// on is none of them: that is data, which changes while the policy stays.
func (g *Program) Edges() []Edge {
	edges := make([]Edge, 0, len(g.Places)-1)
	for s := 1; s < len(g.Places); s++ {
		if p := g.Places[s]; !g.Detached(State(s)) {
			edges = append(edges, Edge{p.Parent, p.Knock, State(s)})
		}
	}
	return edges
}

// Stays lists the repeats that stay, for every place where a source can stand.
//
// With Stay these are all knocks on the way to the place that are not the next
// knock too. Without it a first knock at the place that it leads to is still
// one: the root would lead to the same place again, and a table that need not
// delete an entry to add it again is cheaper and loses nothing.
func (g *Program) Stays() []Stay {
	var stays []Stay
	for s := 1; s < len(g.Places); s++ {
		at := State(s)
		if g.passing(at) || g.Detached(at) || !g.Stay && g.Places[at].Depth > 1 {
			continue
		}
		var seen []port.Port
		for up := at; up != Root; up = g.Places[up].Parent {
			k := g.Places[up].Knock
			if _, next := g.Child(at, k); next || slices.Contains(seen, k) {
				continue
			}
			seen = append(seen, k)
			stays = append(stays, Stay{at, k})
		}
	}
	return stays
}

// passing says whether a source never stands at s: the end of a timed door,
// which leads to the root at once.
func (g *Program) passing(s State) bool {
	d := g.DoorAt(s)
	return d != nil && !g.Classes[d.Class].Once
}

// Standing says whether a source can stand at s.
func (g *Program) Standing(s State) bool { return s != Root && !g.passing(s) }
