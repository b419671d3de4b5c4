package automatontest

import (
	"math/rand/v2"

	"pgregory.net/rapid"
)

// dice gives a number from 0 to n-1. Where rapid throws them it prefers small
// numbers, and what is small is simple; other dice are fair.
type dice func(what string, n int) int

func rolls(t *rapid.T) dice {
	return func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) }
}

func seeded(seed int) dice {
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	return func(_ string, n int) int { return r.IntN(n) }
}

func pick[T any](roll dice, what string, from ...T) T { return from[roll(what, len(from))] }

// some picks one to most, the same ones again maybe.
func some[T any](roll dice, what string, most int, from []T) []T {
	all := make([]T, 1+roll(what, most))
	for i := range all {
		all[i] = pick(roll, what, from...)
	}
	return all
}
