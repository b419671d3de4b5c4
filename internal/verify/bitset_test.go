package verify

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// modelled is a set with what it ought to be.
type modelled struct {
	set  bitset
	want map[int]bool
}

func (m modelled) check(t *testing.T, n int) {
	t.Helper()
	var got []int
	for i := range m.set.each {
		got = append(got, i)
	}
	want := sortedKeys(m.want)
	if !slices.Equal(got, want) {
		t.Fatalf("each: %v, want %v", got, want)
	}
	first := -1
	if len(want) > 0 {
		first = want[0]
	}
	if m.set.count() != len(want) || m.set.empty() != (len(want) == 0) || m.set.first() != first {
		t.Fatalf("count %d, empty %v, first %d of %v", m.set.count(), m.set.empty(), m.set.first(), want)
	}
	for i := range n {
		if m.set.has(i) != m.want[i] {
			t.Fatalf("has %d: %v", i, m.set.has(i))
		}
	}
}

// TestBitset makes sets of sets, with few and with many numbers, and holds each against
// a plain one.
func TestBitset(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		n := []int{1, 63, 64, 65, 200, 1000}[rng.IntN(6)]
		made := []modelled{{newBitset(n), map[int]bool{}}, {fullBitset(n), map[int]bool{}}}
		for i := range n {
			made[1].want[i] = true
		}
		for range 40 {
			a, b := made[rng.IntN(len(made))], made[rng.IntN(len(made))]
			comparePair(t, a, b)
			made = append(made, another(rng, n, a, b))
		}
		for _, m := range made {
			m.check(t, n)
		}
	}
}

// another makes a set, out of nothing or of two.
func another(rng *rand.Rand, n int, a, b modelled) modelled {
	next := modelled{newBitset(n), make(map[int]bool)}
	keep := func(from modelled, is func(i int) bool) {
		for i := range from.want {
			if is(i) {
				next.want[i] = true
			}
		}
	}
	all := func(int) bool { return true }
	add := func() {
		for range []int{1, 3, maxOdd, 3 * maxOdd}[rng.IntN(4)] {
			i := rng.IntN(n)
			next.set.add(i)
			next.want[i] = true
		}
	}
	switch rng.IntN(5) {
	case 0:
		add()
	case 1:
		next.set = a.set.and(b.set)
		keep(a, func(i int) bool { return b.want[i] })
	case 2:
		next.set = a.set.without(b.set)
		keep(a, func(i int) bool { return !b.want[i] })
	case 3:
		next.set = a.set.or(b.set)
		keep(a, all)
		keep(b, all)
	case 4: // what others hold does not change
		next.set = a.set.without(newBitset(n))
		keep(a, all)
		add()
	}
	return next
}

func comparePair(t *testing.T, a, b modelled) {
	t.Helper()
	inside, meets := true, false
	for i := range a.want {
		inside, meets = inside && b.want[i], meets || b.want[i]
	}
	if a.set.within(b.set) != inside || a.set.meets(b.set) != meets {
		t.Fatalf("within %v, meets %v: %v and %v", a.set.within(b.set), a.set.meets(b.set), a.want, b.want)
	}
	if a.set.key() == b.set.key() && !(inside && len(a.want) == len(b.want)) {
		t.Fatalf("keys of %v and %v", a.want, b.want)
	}
}
