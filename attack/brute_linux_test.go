package attack

import (
	"net/netip"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest/kinds"
)

const twoKnocks = `
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/1001", "udp/5002"]
[knocking]
per_source = "20/second"
`

// TestBlindBruteForce: a guesser who sends as fast as it can is heard at the rate
// of per_source and no faster. It knows the first knock, so that it is
// at work all the time; without the limit every one of its packets is heard.
func TestBlindBruteForce(t *testing.T) {
	const lasts = time.Second
	each(t, func(t *testing.T, v kinds.Kind) {
		guessers := families(1)
		s := newSite(t, v, twoKnocks)
		begin := time.Now()
		sent := 0
		for time.Since(begin) < lasts {
			sent += s.guess(guessers, 500)
		}
		took := time.Since(begin)
		heard := sent - int(s.counters().Limited)
		most := float64(len(guessers)*s.g.PerSource) * (automaton.BucketDepth + took.Seconds())
		t.Logf("%d packets in %v, %d heard, of at most %.0f", sent, took.Round(time.Millisecond), heard, most)
		if float64(heard) > most+float64(len(guessers)) {
			t.Errorf("%d packets were heard in %v, at most %.0f may be", heard, took, most)
		}
		if float64(heard) < most/2 {
			t.Errorf("only %d packets were heard in %v: this says nothing about the limit", heard, took)
		}
		if c := s.counters(); c.Opened != 0 {
			t.Errorf("guessed right %d times", c.Opened)
		}

		s = newSite(t, v, twoKnocks, unlimited)
		sent = s.guess(guessers, 1000)
		if heard := sent - int(s.counters().Limited); heard != sent {
			t.Errorf("without the limit %d of %d packets were heard", heard, sent)
		}
	})
}

// guess has each source send the first knock and a guess that is wrong by turns,
// and gives how many packets it has sent.
func (s *site) guess(sources []netip.Addr, times int) int {
	s.Helper()
	var frames [][]byte
	for n := range times {
		for _, src := range sources {
			frames = append(frames,
				s.frame(s.packet(src, s.knocks(0)[0])),
				s.frame(s.packet(src, udp(uint16(10000+n)))))
		}
	}
	s.frames(frames)
	s.answers()
	return len(frames)
}
