package attack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// TestChurnFlood: a source that begins and goes back to the start with every other
// packet costs what any wrong packet costs, give or take. Without a limit each
// of its packets would leave something for the kernel to clear away later.
func TestChurnFlood(t *testing.T) {
	const (
		rounds = 12
		size   = 1000
		bound  = 3.0
	)
	for _, v := range kinds.All() {
		t.Run(v.Name, func(t *testing.T) {
			s := newSite(t, v, oneDoor)
			s.quiet()
			churn := s.churn(size)
			wrong := s.repeat(lab.Forged4(2), size, udp(9))
			ratio := s.ratio(churn, wrong, rounds)
			t.Logf("a packet of the flood costs %.2f times a wrong packet", ratio)
			if ratio > bound {
				t.Errorf("a packet of the flood costs %.1f times a wrong packet, more than %.0f", ratio, bound)
			}

			s = newSite(t, v, oneDoor, unlimited)
			s.quiet()
			t.Logf("without the limit: %.2f times", s.ratio(churn, wrong, 2))
		})
	}
}

func (s *site) churn(size int) [][]byte {
	return s.repeat(lab.Forged4(1), size, s.knocks(0)[0], udp(9))
}

// repeat makes frames of one source that go to the ports in turn.
func (s *site) repeat(src netip.Addr, size int, to ...port.Port) [][]byte {
	frames := make([][]byte, size)
	for i := range frames {
		frames[i] = s.frame(s.packet(src, to[i%len(to)]))
	}
	return frames
}

// ratio compares what two bursts take. They go by turns, and the best time of
// each counts: whatever else this machine does can only add to it.
func (s *site) ratio(a, b [][]byte, rounds int) float64 {
	s.Helper()
	var took [2][]time.Duration
	for range rounds {
		for i, frames := range [][][]byte{a, b} {
			begin := time.Now()
			s.frames(frames)
			took[i] = append(took[i], time.Since(begin))
		}
	}
	return float64(slices.Min(took[0])) / float64(slices.Min(took[1]))
}
