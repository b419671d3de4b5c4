package vector

import (
	"fmt"
	"math/rand/v2"
	"time"

	"tirl/internal/automaton"
)

// Replay sends the trace through the reference interpreter and gives what that
// does otherwise than the vector says. Each packet comes at clock of its time, or
// with the one before if that is later.
func (v *Vector) Replay(clock func(time.Duration) time.Duration) []string {
	var problems []string
	in := v.interpreter()
	var now time.Duration
	for _, s := range v.Steps {
		var last automaton.Packet
		live := v.live(in)
		for _, p := range s.Packets {
			now = max(now, clock(p.Time))
			p.Time = now
			if out := in.Packet(p); out.Verdict != s.Verdict {
				problems = append(problems, fmt.Sprintf("line %d: %s: the verdict of %s is %s, want %s", s.Line, s.Text, p.To, out.Verdict, s.Verdict))
			}
			last = p
		}
		got := v.Describe(in.Place(last.Src, last.TTL), in.Grants(last.Src)) + v.describeSpent(v.spent(live, in))
		if want := v.Describe(s.Place, s.Open) + v.describeSpent(s.Spent); got != want {
			problems = append(problems, fmt.Sprintf("line %d: %s: then it is %s, want %s", s.Line, s.Text, got, want))
		}
	}
	return problems
}

// Slack says how late the packets of a vector may be, each by another time,
// without any other outcome: at most a few seconds, less if it is about time.
func (v *Vector) Slack() time.Duration {
	const most = 4 * time.Second
	for slack := most; slack > time.Millisecond; slack = slack * 3 / 4 {
		if v.bears(slack) {
			return slack
		}
	}
	return 0
}

// bears tries the late times that are most likely to matter, and some others.
func (v *Vector) bears(slack time.Duration) bool {
	const tries = 100
	for seed := range uint64(tries) {
		r := rand.New(rand.NewPCG(seed, 0))
		late := func(at time.Duration) time.Duration {
			if seed%2 == 0 {
				return at + slack*time.Duration(r.IntN(2))
			}
			return at + time.Duration(r.Int64N(int64(slack)))
		}
		if len(v.Replay(late)) > 0 {
			return false
		}
	}
	return true
}
