package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tirl/internal/verify/ruleset"
)

// Clone gives a second simulator that goes on from here by itself.
func (s *Simulator) Clone() *Simulator {
	c := *s
	c.sets = make([]map[string]*entryOf, len(s.sets))
	for i, set := range s.sets {
		c.sets[i] = make(map[string]*entryOf, len(set))
		for key, e := range set {
			copied := *e
			copied.marks = slices.Clone(e.marks)
			copied.limit = e.limit.clone()
			c.sets[i][key] = &copied
		}
	}
	c.hashes = make(map[string]map[string]*tokens, len(s.hashes))
	for name, hash := range s.hashes {
		c.hashes[name] = make(map[string]*tokens, len(hash))
		for key, t := range hash {
			c.hashes[name][key] = t.clone()
		}
	}
	c.global = make(map[ruleset.Limit]*tokens, len(s.global))
	for l, t := range s.global {
		c.global[l] = t.clone()
	}
	return &c
}

func (t *tokens) clone() *tokens {
	if t == nil {
		return nil
	}
	c := *t
	return &c
}

// Held says what packets have put into the sets, times and limits aside: two simulators
// of one ruleset for which it is the same treat the next packet alike if both come
// soon. Of the marks in a list it counts up to marks, which is by set.
func (s *Simulator) Held(marks []int) string {
	var b strings.Builder
	for i, set := range s.sets {
		for _, key := range slices.Sorted(maps.Keys(set)) {
			if e := s.live(i, key); e != nil {
				fmt.Fprintf(&b, "%d %x %d %d\n", i, key, e.value, min(len(e.marks), marks[i]))
			}
		}
	}
	return b.String()
}

// Holds says whether something has been put into a set and is alive.
func (s *Simulator) Holds(set int) bool {
	for key := range s.sets[set] {
		if s.live(set, key) != nil {
			return true
		}
	}
	return false
}
