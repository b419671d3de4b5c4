package attack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// The insider has door mine, and is after the knocks of door theirs.
const mineAndTheirs = `
[door.mine]
opens    = ["tcp/2222"]
knocks   = ["udp/4001", "udp/1702", "udp/4003"]
[door.theirs]
opens    = ["tcp/22"]
knocks   = ["udp/1001", "udp/5002", "udp/3003"]
`

const (
	mine     = 0
	theirs   = 1
	minePort = 2222
)

// TestLimitIsNoOracle: an insider who knows another door's first knock learns no
// later one from the limit, since right and wrong guesses cost the same.
func TestLimitIsNoOracle(t *testing.T) {
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, mineAndTheirs+"[knocking]\nper_source = \"5/second\"\n")
		knocks := s.knocks(theirs)
		next := 0
		// What the insider sees: does its own door open, after a guess and so many
		// wrong packets?
		sees := func(before []port.Port, guess port.Port, wrong int) bool {
			for range 100 {
				next++
				src := lab.Forged4(next)
				packets := append(slices.Clone(before), guess)
				packets = append(packets, slices.Repeat([]port.Port{udp(9)}, wrong)...)
				begin := time.Now()
				s.send(src, append(packets, s.knocks(mine)...)...)
				// Not if a token has come meanwhile.
				if time.Since(begin) < time.Second/time.Duration(s.g.PerSource)/2 {
					return s.getsIn(src, minePort)
				}
			}
			t.Fatal("this machine is too slow to send ten packets within a tenth of a second")
			return false
		}
		for done := 1; done < len(knocks); done++ {
			var seen [2][]bool
			for wrong := range 10 {
				seen[0] = append(seen[0], sees(knocks[:done], knocks[done], wrong))
				seen[1] = append(seen[1], sees(knocks[:done], udp(7777), wrong))
			}
			if !slices.Equal(seen[0], seen[1]) {
				t.Errorf("after %d knocks the limit tells the next: %v, a wrong one: %v", done, seen[0], seen[1])
			}
			if !seen[0][0] || seen[0][9] {
				t.Errorf("the limit is not in sight: %v", seen[0])
			}
		}
	})
}

// TestLimitTellsFirstKnocks: what does not hold. A source pays from its first change of
// place on, so that an insider finds the first knock of every other door: it sends
// half of all ports, more than its share of wrong packets, and its own knock. If
// its door stays shut, it has begun another's sequence on the way. It does that with
// every address anew, and halves.
func TestLimitTellsFirstKnocks(t *testing.T) {
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, mineAndTheirs)
		s.quiet()
		var candidates []uint16
		for _, p := range shuffled(4096, 5) {
			if !slices.Contains(s.knocks(mine), udp(p)) {
				candidates = append(candidates, p)
			}
		}
		tries := 0
		for len(candidates) > 1 {
			half := candidates[:len(candidates)/2]
			tries++
			if s.shutsMine(lab.Forged4(tries), half) {
				candidates = half
			} else {
				candidates = candidates[len(half):]
			}
		}
		if want := s.knocks(theirs)[0].Number; len(candidates) != 1 || candidates[0] != want {
			t.Errorf("the insider has found %v, not %d: docs/security.md says that it finds it", candidates, want)
		}
		t.Logf("found after %d tries", tries)
	})
}

// shutsMine says whether the insider's door stays shut after these ports.
func (s *site) shutsMine(src netip.Addr, ports []uint16) bool {
	s.Helper()
	s.sweep(src, ports)
	// The bucket, what flows into it meanwhile, and then some.
	s.send(src, slices.Repeat([]port.Port{udp(9)}, 10*s.g.PerSource)...)
	s.send(src, s.knocks(mine)...)
	return !s.getsIn(src, minePort)
}

// TestFullTableAsOracle: an insider who can forge sources fills a table up to the
// last place. Who takes that place shows, so that with nftables it learns the
// other's knocks one by one. The lists of iptables are apart for each place.
func TestFullTableAsOracle(t *testing.T) {
	const room = 64
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, mineAndTheirs+"[knocking]\nsources = 64\nstep_timeout = \"60s\"\n")
		knocks := s.knocks(theirs)
		s.fillAdvanced(room - 1)
		// Wrong before right: a place that is taken stays so.
		var shut [2]bool
		for i, guess := range []port.Port{udp(7777), knocks[1]} {
			src := lab.Forged4(1000 + i)
			s.send(src, knocks[0], guess)
			me := lab.Forged4(2000 + i)
			s.send(me, s.knocks(mine)...)
			shut[i] = !s.getsIn(me, minePort)
		}
		if shut[0] {
			t.Error("a wrong guess has taken the last place")
		}
		if tells := shut[1]; tells == isIptables(v) {
			t.Errorf("a right guess shows: %v", tells)
		}
	})
}

// fillAdvanced has so many sources do two knocks of the insider's own door.
func (s *site) fillAdvanced(count int) {
	s.Helper()
	for i := range count {
		s.send(lab.Forged4(100+i), s.knocks(mine)[:2]...)
	}
	// Buckets live for two seconds, and the kernel clears places that were left
	// away once a second: until then they take room.
	time.Sleep(automaton.BucketLife + 1500*time.Millisecond)
	if n := len(s.loaded().Places); n != count {
		s.Fatalf("%d places are taken, not %d", n, count)
	}
}
