// Package counter keeps a client's place in the numbers of its one-time values.
//
// A number is used until a connection has come by it, and no longer. Whatever
// fails, and however often, the client tries the same four numbers at most, and
// so never runs away from the host. What was on the wire and may be live
// still is sent once more after a connection, so that nothing is left for those who
// have recorded it.
package counter

import (
	"slices"

	"tirl/internal/onetime"
)

// maxSent bounds what is remembered of values that were on the wire. The host ends
// all older ones when it next refills its pool.
const maxSent = 8

// State is what a client must not forget. Its methods change nothing but itself.
type State struct {
	// Next is the lowest number that no connection has confirmed.
	Next uint64 `json:"next"`
	// Back, if not 0, is where to go on if the last connection came by an older
	// number than the one that it seemed to come by: see Confirm.
	Back uint64 `json:"back,omitempty"`
	// Sent are numbers that were on the wire, and not yet sent once more after a
	// connection; the last one stands last.
	Sent []uint64 `json:"sent,omitempty"`
	// Blind counts the knocks in a row that nothing can confirm but a person.
	Blind int `json:"blind,omitempty"`
}

// Candidates are the numbers to try, in order.
func (s State) Candidates(pool int) []uint64 {
	if s.Back == 0 {
		return onetime.Candidates(s.Next, pool)
	}
	all := []uint64{s.Back, s.Next}
	if more := onetime.Candidates(s.Next, pool); len(more) > 2 {
		all = append(all, more[2])
	}
	return all
}

// order gives the numbers that the attempts of one connection send, over and over:
// the candidates, the first one twice, since packets get lost more often than
// hosts lose their pools.
func order(candidates []uint64) []uint64 {
	return append([]uint64{candidates[0]}, candidates...)
}

// unseen gives the numbers of a knock whose success nobody will tell. The first
// candidate is always one of them where a second one does no harm, and else each
// other time.
func (s *State) unseen(candidates []uint64, both bool) []uint64 {
	n, first, others := s.Blind, candidates[0], candidates[1:]
	s.Blind++
	switch {
	case both && n > 0:
		return []uint64{first, others[(n-1)%len(others)]}
	case !both && n%2 == 1:
		return []uint64{others[n/2%len(others)]}
	}
	return []uint64{first}
}

// Take notes that a number is about to be on the wire.
func (s *State) Take(i uint64) {
	s.Sent = append(slices.DeleteFunc(s.Sent, func(n uint64) bool { return n == i }), i)
	if over := len(s.Sent) - maxSent; over > 0 {
		s.Sent = slices.Delete(s.Sent, 0, over)
	}
}

// Confirm notes that a connection came after a number was sent.
//
// That number need not be the one that opened the door. Had the host not lost its
// pool, and a number before have opened it unnoticed, the first number of another
// block would have opened nothing, and to go on behind it would mean to be shut out.
// Therefore what follows the lower numbers is kept, and tried first the next
// time: where the host has lost its pool that costs one attempt.
func (s *State) Confirm(i uint64, pool int) {
	usual := onetime.Candidates(s.Next, pool)
	jumped := s.Back == 0 && len(usual) > 2 && slices.Contains(usual[2:], i)
	if back := onetime.After(usual[min(1, len(usual)-1)], pool); jumped && slices.Contains(s.Sent, usual[0]) {
		s.Back = back
	} else {
		s.Back = 0
	}
	s.Next = onetime.After(i, pool)
	s.Blind = 0
}

// Left gives what is to be sent once more: what was confirmed last first, since the
// host ends by itself what is older.
func (s State) Left() []uint64 {
	left := slices.Clone(s.Sent)
	slices.Reverse(left)
	return left
}

// Swept notes that all of it was sent once more.
func (s *State) Swept() { s.Sent = nil }

// begin takes a state on to where the host has said that its pool begins.
func (s *State) begin(start uint64) {
	if start > s.Next {
		s.Next, s.Back, s.Blind = start, 0, 0
	}
}
