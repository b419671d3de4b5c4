// Package counter keeps a client's place in the numbers of its one-time values.
//
// A number is used until a connection has come by it, and no longer. Whatever
// fails, and however often, the client never runs away from the host: each time it
// tries four numbers at most, all of which are in the host's pool, or where a
// pool may begin. What was on the wire and may be live still is sent once more after
// a connection, so that nothing is left for those who have recorded it.
package counter

import (
	"slices"

	"tirl/internal/onetime"
)

// How many numbers a client tries at a time, and how many it remembers that were
// on the wire: the highest, since the host ends lower ones when it next refills
// its pool.
const (
	maxCandidates = 4
	maxSent       = 16
)

// State is what a client must not forget. Its methods change nothing but itself.
type State struct {
	// Next is the lowest number that no connection has confirmed. Where it is not
	// certain by which number the last connection came, it is several, in the order in
	// which they are to be tried: see Confirm.
	Next []uint64 `json:"next"`
	// Start is the number that the host has last said to begin with.
	Start uint64 `json:"start,omitempty"`
	// Tries counts what was begun since the last connection.
	Tries uint64 `json:"tries,omitempty"`
	// Sent are numbers that were on the wire since the last connection, ascending.
	Sent []uint64 `json:"sent,omitempty"`
	// Left are those of before, which are to be sent once more.
	Left []uint64 `json:"left,omitempty"`
	// Last, if not nil, was sent last where only a person can confirm it.
	Last *uint64 `json:"last,omitempty"`
}

// reach is how far a client goes on from a number that nothing has confirmed. A host
// has a quarter of a pool live at least.
func reach(pool int) uint64 { return uint64(pool)/4 - 1 }

// further gives the number that is n further in a pool, n being taken modulo reach.
func further(i, n uint64, pool int) uint64 {
	for range n % reach(pool) {
		i = onetime.After(i, pool)
	}
	return i
}

// Candidates are the numbers of the try that begins now, four at most, in order:
// the lowest unconfirmed one; one after it; and the first of the next two blocks.
//
// The second moves on from try to try. A value may have been spent, and the
// connection not have come all the same, on a network that lets nothing through
// but datagrams, or while the service was down: were it always the same two, the
// second such try would shut the client out for good.
func (s State) Candidates(pool int) []uint64 {
	all := onetime.Candidates(slices.Max(s.Next), pool)
	if len(s.Next) == 1 {
		all[1] = further(all[1], s.Tries, pool)
		return all
	}
	var candidates []uint64
	for _, i := range s.Next {
		candidates = append(candidates, further(i, s.Tries, pool))
	}
	candidates = append(candidates, all[2:]...)
	return candidates[:min(len(candidates), maxCandidates)]
}

// order gives the numbers that the attempts of one try send, over and over: the
// candidates, and the first one twice where it is certain, since packets get lost
// more often than hosts lose their pools.
func (s State) order(pool int) []uint64 {
	all := s.Candidates(pool)
	if len(s.Next) == 1 {
		all = append([]uint64{all[0]}, all...)
	}
	return all
}

// Unseen gives the numbers of a knock whose success nobody will tell, and counts
// it as a try. The first candidate is always one of them where a second one does
// no harm, and else each other time.
func (s *State) Unseen(pool int, both bool) []uint64 {
	n := s.Tries
	s.Tries++
	other := func(n uint64) uint64 {
		at := *s
		at.Tries = n / 2
		return at.Candidates(pool)[[]int{1, 2, 1, 3}[n%4]]
	}
	first := s.Candidates(pool)[0]
	numbers := []uint64{first}
	switch {
	case both && n > 0:
		numbers = append(numbers, other(n-1))
	case !both && n%2 == 1:
		numbers[0] = other(n / 2)
	}
	s.Last = &numbers[len(numbers)-1]
	return numbers
}

// Take notes that a number is about to be on the wire.
func (s *State) Take(i uint64) { s.Sent = with(s.Sent, i) }

// with adds a number to an ascending list of bounded length.
func with(all []uint64, i uint64) []uint64 {
	at, found := slices.BinarySearch(all, i)
	if found {
		return all
	}
	all = slices.Insert(all, at, i)
	return all[max(0, len(all)-maxSent):]
}

// Confirm notes that a connection came after a number was sent.
//
// It need not have come by that number. Where it begins a block, a lower one may have
// opened the door, unnoticed because the service was down or its answer got lost,
// and the one that was sent last have done nothing: whoever goes on behind it is then
// shut out. So what follows each of them is kept. The lowest is tried first the
// next time: where it is dead nothing is lost but a moment, whereas a number that the
// host has not loaded yet would be shown to whoever listens. If it was not certain
// before either, the likeliest comes first.
func (s *State) Confirm(i uint64, pool int) {
	s.Take(i)
	mine, next := uint64(0), []uint64(nil)
	left := slices.Clone(s.Sent)
	bases := slices.Clone(s.Next)
	slices.Sort(bases)
	for len(left) > 0 {
		// A family is what was sent of the numbers that follow one base.
		first, reaches := left[0], left[0]
		for _, b := range bases {
			if b <= first && first <= b+reach(pool)+1 {
				reaches = b + reach(pool) + 1
			}
		}
		high, has := first, false
		left = slices.DeleteFunc(left, func(n uint64) bool {
			if n != first && (n > reaches || n%uint64(pool) == 0 && !slices.Contains(bases, n)) {
				return false
			}
			high, has = max(high, n), has || n == i
			return true
		})
		after := onetime.After(high, pool)
		next = append(next, after)
		if has {
			mine = after
		}
	}
	slices.Sort(next)
	others := slices.DeleteFunc(slices.Compact(next), func(n uint64) bool { return n == mine })
	switch certain := len(s.Next) == 1; {
	case certain && (i == s.Next[0] || i%uint64(pool) != 0):
		next = []uint64{mine}
	case certain:
		next = append(others[:min(len(others), maxCandidates-1)], mine)
		slices.Sort(next)
	default:
		next = append([]uint64{mine}, others[:min(len(others), maxCandidates-1)]...)
	}
	for _, n := range s.Sent {
		s.Left = with(s.Left, n)
	}
	s.Next, s.Tries, s.Sent, s.Last = next, 0, nil, nil
}

// left gives what is to be sent once more, the highest first, since the host ends
// what is lower.
func (s State) left() []uint64 {
	left := slices.Clone(s.Left)
	slices.Reverse(left)
	return left
}

// Swept notes that all of it was sent once more.
func (s *State) Swept() { s.Left = nil }

// begin takes a state on to where the host has said, anew, that its pool begins.
func (s *State) begin(start uint64) {
	switch {
	case len(s.Next) == 0, start > s.Start && start > slices.Min(s.Next):
		s.Next, s.Tries = []uint64{start}, 0
	}
	s.Start = max(s.Start, start)
}
