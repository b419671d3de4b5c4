package verify

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelled is a set with what it ought to be.
type modelled struct {
	set  bitset
	want map[int]bool
}

func (m modelled) check(t *rapid.T, n int) {
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
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 63, 64, 65, 200, 1000}).Draw(t, "n")
		number := rapid.IntRange(0, n-1)
		made := []modelled{{newBitset(n), map[int]bool{}}, {fullBitset(n), map[int]bool{}}}
		for i := range n {
			made[1].want[i] = true
		}
		some := func(label string) modelled { return rapid.SampledFrom(made).Draw(t, label) }
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			a, b := some("a"), some("b")
			next := modelled{newBitset(n), make(map[int]bool)}
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0: // few numbers, or many
				for range rapid.SampledFrom([]int{1, 3, maxOdd, 3 * maxOdd}).Draw(t, "how many") {
					i := number.Draw(t, "number")
					next.set.add(i)
					next.want[i] = true
				}
			case 1:
				next.set = a.set.and(b.set)
				for i := range a.want {
					if b.want[i] {
						next.want[i] = true
					}
				}
			case 2:
				next.set = a.set.without(b.set)
				for i := range a.want {
					if !b.want[i] {
						next.want[i] = true
					}
				}
			case 3:
				next.set = a.set.or(b.set)
				for _, s := range []map[int]bool{a.want, b.want} {
					for i := range s {
						next.want[i] = true
					}
				}
			case 4: // what others hold does not change
				next.set = a.set.or(newBitset(n))
				for j := range a.want {
					next.want[j] = true
				}
				for range rapid.SampledFrom([]int{1, 3 * maxOdd}).Draw(t, "how many") {
					i := number.Draw(t, "number")
					next.set.add(i)
					next.want[i] = true
				}
			}
			made = append(made, next)
			inside, meets := true, false
			for i := range a.want {
				inside, meets = inside && b.want[i], meets || b.want[i]
			}
			if a.set.within(b.set) != inside || a.set.meets(b.set) != meets {
				t.Fatalf("within %v, meets %v: %v and %v", a.set.within(b.set), a.set.meets(b.set), a.want, b.want)
			}
			if (a.set.key() == b.set.key()) != (inside && len(a.want) == len(b.want)) {
				t.Fatalf("keys of %v and %v", a.want, b.want)
			}
		}
		for _, m := range made {
			m.check(t, n)
		}
	})
}
