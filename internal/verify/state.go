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

// renamed is a tick under its canonical name.
type renamed struct{ is, was tick }

// begun is when a time began.
type begun struct {
	tick
	at time.Duration
}

// began looks for a tick.
func began(list []begun, t tick) time.Duration {
	for _, b := range list {
		if b.tick == t {
			return b.at
		}
	}
	return 0
}

// canonical orders a state and numbers its stamps, so that states that differ in
// names alone are the same. Stamps matter only together with a time: of each time
// the stamps are numbered by their own. It gives the state's key, and how its ticks were
// named before; both are to be used up before it is called again.
func (e *explorer) canonical(s *state) ([]byte, []renamed) {
	slices.SortFunc(s.elems, func(a, b elem) int { return compareKeys(a.key, b.key) })
	slices.SortFunc(s.grants, func(a, b exactGrant) int { return a.class - b.class })
	from := e.names[:0]
	rename := func(d time.Duration, stamp int) int {
		if stamp == none {
			return none
		}
		n := 1
		for _, r := range from {
			if r.was == (tick{d, stamp}) {
				return r.is.stamp
			}
			if r.is.d == d {
				n++
			}
		}
		from = append(from, renamed{tick{d, n}, tick{d, stamp}})
		return n
	}
	key := e.key[:0]
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
	timers := 0
	for i := range s.elems {
		timers += len(s.elems[i].timers)
	}
	all := make([]timer, 0, timers)
	for i := range s.elems {
		el := &s.elems[i]
		put(el.key.set)
		put(int(el.key.k[0]))
		put(int(el.key.k[1]))
		put(int(el.val.kind))
		put(int(el.val.v))
		first := len(all)
		for _, t := range el.timers {
			t.stamp = rename(t.d, t.stamp)
			all = append(all, t)
			put(int(t.d))
			put(t.stamp)
		}
		el.timers = slices.Clip(all[first:])
		put(none)
	}
	e.key, e.names = key, from
	return key, from
}

func compareKeys(a, b elemKey) int {
	if a.set != b.set {
		return a.set - b.set
	}
	return slices.Compare(a.k[:], b.k[:])
}
