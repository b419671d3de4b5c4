package recipe

import (
	"slices"
	"time"

	"tirl/internal/port"
	"tirl/internal/verify"
)

// place is what a source has made the ruleset remember.
type place struct {
	sim   *verify.Simulator
	depth int
	from  []edge // the packets that lead here
	opens []int  // atoms that are let in here, and not without a knock
	path  []int  // atoms of the first way here
}

// edge is a packet, and the way before it.
type edge struct {
	path []int
	atom int
}

// doors searches, the shortest sequences first, for those after which something gets in
// that does not otherwise.
func (t *trial) doors(v *view) []Door {
	places := []*place{{sim: verify.NewSimulator(t.rs)}}
	known := map[string]*place{places[0].sim.Held(t.hits): places[0]}
	for i := 0; i < len(places) && t.left > 0; i++ {
		at := places[i]
		t.left -= len(t.ports)
		next := make([]*verify.Simulator, len(t.ports))
		for a, atom := range t.ports {
			next[a] = at.sim.Clone()
			if lets(t.send(next[a], v.packet(probe(atom), gap*time.Duration(at.depth+1)))) && !v.accepted[a] {
				at.opens = append(at.opens, a)
			}
		}
		at.sim = nil
		if len(at.opens) > 0 || at.depth >= maxKnocks {
			continue // nobody knocks on at an open door
		}
		for a, sim := range next {
			key := sim.Held(t.hits)
			to := known[key]
			if to == nil {
				to = &place{sim: sim, depth: at.depth + 1, path: append(slices.Clone(at.path), a)}
				known[key] = to
				t.holds(sim)
				places = append(places, to)
			}
			if to != at {
				to.from = append(to.from, edge{at.path, a})
			}
		}
	}
	return t.sort(v, places)
}

// holds notes which sets something has come into.
func (t *trial) holds(sim *verify.Simulator) {
	for i := range t.held {
		t.held[i] = t.held[i] || sim.Holds(i)
	}
}

// word is a sequence of knocks, and what it opens.
type word struct {
	atoms, opens []int
}

// sort leaves out sequences with more in them than is needed.
func (t *trial) sort(v *view, places []*place) []Door {
	var words []word
	for _, p := range places {
		if len(p.opens) == 0 {
			continue
		}
		for _, e := range p.from {
			words = append(words, word{append(slices.Clone(e.path), e.atom), p.opens})
		}
	}
	slices.SortStableFunc(words, func(a, b word) int { return len(a.atoms) - len(b.atoms) })
	var kept []word
	for _, w := range words {
		more := slices.ContainsFunc(kept, func(k word) bool { return contains(w.atoms, k.atoms) && subset(w.opens, k.opens) })
		if !more {
			kept = append(kept, w)
		}
	}
	var doors []Door
	for _, w := range kept {
		doors = append(doors, t.door(v, w))
		if t.bad != nil || len(doors) >= maxDoors {
			break
		}
	}
	return doors
}

// maxDoors bounds what a ruleset that opens in very many ways comes to.
const maxDoors = 64

// contains says whether all of some atoms come in others, in this order.
func contains(all, some []int) bool {
	for _, a := range all {
		if len(some) > 0 && a == some[0] {
			some = some[1:]
		}
	}
	return len(some) == 0
}

func subset(some, all []int) bool {
	return !slices.ContainsFunc(some, func(a int) bool { return !slices.Contains(all, a) })
}

// Same says whether a door is the same but for whom it is for.
func (d Door) Same(o Door) bool {
	return slices.Equal(o.Knocks, d.Knocks) && slices.Equal(o.Opens, d.Opens) && o.Once == d.Once && o.OpenFor == d.OpenFor
}

// harmless are ports that rules name, are open, and do not put a source back where others
// do.
func (t *trial) harmless(v *view) []port.Range {
	i := slices.IndexFunc(v.doors, func(d Door) bool { return d.Wrong && len(d.Knocks) > 1 })
	if i < 0 {
		return nil
	}
	d := v.doors[i]
	var out []port.Range
	for a, atom := range t.ports {
		isKnock := slices.ContainsFunc(v.doors, func(d Door) bool { return slices.ContainsFunc(d.Knocks, atom.Contains) })
		if !v.accepted[a] || !t.named[atom.First] || isKnock {
			continue
		}
		if t.opens(v, slices.Concat(d.Knocks[:1], []port.Port{probe(atom)}, d.Knocks[1:], []port.Port{service(d)})...) {
			out = append(out, atom)
		}
	}
	return out
}

func service(d Door) port.Port { return probe(d.Opens[0]) }
