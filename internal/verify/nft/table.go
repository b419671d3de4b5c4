package nft

import (
	"cmp"
	"slices"
	"time"

	"tirl/internal/verify/ruleset"
)

// table is a table as the kernel would hold it after the commands so far.
type table struct {
	family   ruleset.Family
	name     string
	sets     map[string]*set
	chains   map[string]*chain
	order    []*chain // in which they were made
	counters map[string]bool
}

// chain keeps its rules as tokens: what they refer to may come later, and
// chains that no packet on its way in meets are never understood.
type chain struct {
	table *table
	name  string
	line  int
	base  *base
	rules []rule
}

// base is what makes a chain a base chain.
type base struct {
	kind     string // filter, nat, route
	hook     string
	priority int
	drop     bool
	line     int
}

type rule struct {
	tokens []token
	text   string
	line   int
}

// set is a set or a map.
type set struct {
	name    string
	line    int
	key     []valueKind
	value   valueKind // other: a set
	isMap   bool
	strange string        // the word for a key or value that is not understood
	timed   bool          // flags dynamic or timeout: elements come and go
	timeout time.Duration // of elements that have none of their own

	elements []ruleset.Element
	targets  []string // chains that the verdicts of a map lead to, by element
	names    []string // of interfaces, which elements give the index of
	// Elements that are not tcp or udp: they have no destination port, whatever
	// th dport reads.
	portless bool
	forever  *token // an element of a timed set that does not expire
	spare    []ruleset.Range
}

func (t *table) chain(name string, line int) *chain {
	c := t.chains[name]
	if c == nil {
		c = &chain{table: t, name: name, line: line}
		t.chains[name] = c
		t.order = append(t.order, c)
	}
	return c
}

func (s *set) flush() {
	s.elements, s.targets, s.names, s.portless, s.forever = nil, nil, nil, false, nil
}

// hold copies a key into memory that the elements of the set share.
func (s *set) hold(key []ruleset.Range) []ruleset.Range {
	if len(s.spare) < len(key) {
		s.spare = make([]ruleset.Range, 4096+len(key))
	}
	held := s.spare[:len(key):len(key)]
	s.spare = s.spare[len(key):]
	copy(held, key)
	return held
}

// sorted gives the indexes of the elements of a set with one field in an order
// that does not depend on how they were written.
func (s *set) sorted() []int {
	order := make([]int, len(s.elements))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := s.elements[a].Key[0].First, s.elements[b].Key[0].First
		if s.key[0] == ifname {
			return cmp.Compare(s.names[x], s.names[y])
		}
		return cmp.Compare(x, y)
	})
	return order
}
