// Package audit says what it takes to open a door without having been told its
// knocks. docs/audit.md has the model and its arithmetic. It is pure.
package audit

import (
	"math"

	"tirl/internal/automaton"
)

// LineRate is how many packets a second a guesser is thought to send in all: a
// line of 10 Gbit/s full of the shortest frames, which take 84 bytes of it with
// preamble and gap (IEEE 802.3).
const LineRate = 10e9 / (84 * 8)

// ManyAddresses is the size of the botnet in Guess.Many.
const ManyAddresses = 10000

// bucketsByTTL is how many buckets one address has with match_ttl: one for each
// TTL that a packet can arrive with.
const bucketsByTTL = 255

// Target is a door's sequence, as somebody sees it who knows all about it but
// the ports.
type Target struct {
	Knocks int
	Bits   float64 // log2 of the number of sequences
	First  float64 // log2 of the number of first knocks
	Once   bool    // the connection has to follow at once
	Stay   bool    // a repeated knock stays
}

// Guesser is what somebody has who guesses.
type Guesser struct {
	Rate      float64 // packets a second that reach the host, from all addresses together
	Buckets   float64 // that limit them; 0: nothing does
	PerSource float64
}

// Time is the expected time to guess a sequence: no guesser needs less on
// average, and one is known that needs little more.
//
// Two things hold a guesser up, and the slower counts. The line: each packet
// begins at most one sequence. The limit: before the first knock is hit packets
// cost nothing, so that one burst after a silence tries all first knocks with the
// same rest; but then each rest costs tokens.
func (t Target) Time(g Guesser) Span {
	line := math.Exp2(t.Bits-1) * t.packets() / g.Rate
	if g.Buckets == 0 {
		return Span(line)
	}
	tokens := math.Exp2(t.Bits-t.First-1) * t.tokens()
	limited := tokens/(g.PerSource*g.Buckets) - automaton.BucketDepth // the buckets are full at first
	return Span(max(line, limited))
}

// packets is how many packets the trial of a sequence takes. Sequences overlap in
// a stream: each packet begins one, that of the next different ports. They do not
// if each has to be followed by a connection, which is wrong for all others; but
// where repetitions stay, one connection can be the end of several sequences:
// 1, 2, 1, 3 and the connection try 1, 2, 3 and 2, 1, 3.
func (t Target) packets() float64 {
	if t.Once && !t.Stay {
		return float64(t.Knocks) + 1
	}
	return 1
}

// tokens is how many heard packets the trial of what follows a known first knock
// takes. Where repetitions stay, the first knock can come before each of the
// others, and each time begins another sequence: 1, 2, 1, 3, 1, 4 tries 1, 2, 3
// and 1, 3, 4.
func (t Target) tokens() float64 {
	switch {
	case t.Stay:
		return min(2, float64(t.Knocks))
	case t.Once:
		return float64(t.Knocks) + 1
	}
	return float64(t.Knocks)
}
