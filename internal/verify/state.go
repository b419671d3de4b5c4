package verify

import (
	"encoding/binary"
	"slices"
	"time"

	"tirl/internal/automaton"
)

// state is one source as both sides see it: the place, the bucket and the grants
// of the policy, and the elements of the ruleset's sets.
type state struct {
	place  automaton.State
	since  int // stamp of the place; none at the root
	bucket int // stamp; none if there is none
	grants []exactGrant
	elems  []elem
}

// none is no stamp.
const none = -1

// exactGrant is a grant that is followed, not chosen.
type exactGrant struct {
	class int
	stamp int
}

// tick is a time that can run out: of a place, a bucket, a grant, an element.
type tick struct {
	d     time.Duration
	stamp int
}

func (e *explorer) ticks(s *state) []tick {
	var out []tick
	add := func(d time.Duration, stamp int) {
		if t := (tick{d, stamp}); stamp != none && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	add(e.g.StepTimeout, s.since)
	add(automaton.BucketLife, s.bucket)
	for _, g := range s.grants {
		add(e.g.Classes[g.class].OpenFor, g.stamp)
	}
	for i := range s.elems {
		for _, t := range s.elems[i].timers {
			add(t.d, t.stamp)
		}
	}
	return out
}

// after is the state once a time has run out, on both sides.
func (e *explorer) after(s *state, out tick) state {
	n := state{place: s.place, since: s.since, bucket: s.bucket}
	if s.since == out.stamp && e.g.StepTimeout == out.d {
		n.place, n.since = automaton.Root, none
	}
	if s.bucket == out.stamp && automaton.BucketLife == out.d {
		n.bucket = none
	}
	for _, g := range s.grants {
		if g.stamp != out.stamp || e.g.Classes[g.class].OpenFor != out.d {
			n.grants = append(n.grants, g)
		}
	}
	for _, el := range s.elems {
		if i := slices.Index(el.timers, timer(out)); i >= 0 {
			el.timers = slices.Delete(slices.Clone(el.timers), i, i+1)
			if len(el.timers) == 0 {
				continue
			}
		}
		n.elems = append(n.elems, el)
	}
	return n
}

// canonical orders a state and numbers its stamps, so that states that differ in
// names alone are the same. Stamps matter only together with a time: of each time
// the stamps are numbered by their own. It gives the state's key, and the ticks of the
// old state that those of the new one come from.
func (e *explorer) canonical(s *state) (string, map[tick]tick) {
	slices.SortFunc(s.elems, func(a, b elem) int { return compareKeys(a.key, b.key) })
	slices.SortFunc(s.grants, func(a, b exactGrant) int { return a.class - b.class })
	from := make(map[tick]tick)
	names := make(map[tick]int)
	counts := make(map[time.Duration]int)
	rename := func(d time.Duration, stamp int) int {
		if stamp == none {
			return none
		}
		t := tick{d, stamp}
		n, ok := names[t]
		if !ok {
			counts[d]++
			n = counts[d]
			names[t] = n
			from[tick{d, n}] = t
		}
		return n
	}
	key := make([]byte, 0, 64)
	put := func(v int) { key = binary.AppendVarint(key, int64(v)) }
	put(int(s.place))
	s.since = rename(e.g.StepTimeout, s.since)
	put(s.since)
	s.bucket = rename(automaton.BucketLife, s.bucket)
	put(s.bucket)
	for i := range s.grants {
		g := &s.grants[i]
		g.stamp = rename(e.g.Classes[g.class].OpenFor, g.stamp)
		put(g.class)
		put(g.stamp)
	}
	put(none)
	for i := range s.elems {
		el := &s.elems[i]
		put(el.key.set)
		put(int(el.key.k[0]))
		put(int(el.key.k[1]))
		put(int(el.val.kind))
		put(int(el.val.v))
		timers := make([]timer, len(el.timers))
		for j, t := range el.timers {
			timers[j] = timer{t.d, rename(t.d, t.stamp)}
			put(int(t.d))
			put(timers[j].stamp)
		}
		el.timers = timers
		put(none)
	}
	return string(key), from
}

func compareKeys(a, b elemKey) int {
	if a.set != b.set {
		return a.set - b.set
	}
	return slices.Compare(a.k[:], b.k[:])
}
