package audit

import (
	"math/rand/v2"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// What per_source holds, and what it does not. All guessers send for a minute.
func TestLimit(t *testing.T) {
	const perSource, minute = 20, 60
	secret := knocks(1, 2, 3)
	noise := func(r *rand.Rand) port.Port { return knocks(4 + r.IntN(1000))[0] }
	tests := []struct {
		name        string
		play        func(s *sender, r *rand.Rand)
		least, most float64 // heard a second
		furthest    int
	}{
		{"sends as fast as it can", func(s *sender, r *rand.Rand) {
			s.send(secret[0])
			for s.now < minute*time.Second {
				s.send(noise(r))
			}
		}, 20, 21, 1},
		{"pauses until its bucket is forgotten", func(s *sender, r *rand.Rand) {
			for s.now < minute*time.Second {
				s.send(secret[0])
				for range 100 {
					s.send(noise(r))
				}
				s.wait(automaton.BucketLife)
			}
		}, 19, 21, 1},
		{"pauses until its bucket is full", func(s *sender, r *rand.Rand) {
			for s.now < minute*time.Second {
				s.send(secret[0])
				for range 100 {
					s.send(noise(r))
				}
				s.wait(automaton.BucketLife - 10*time.Millisecond)
			}
		}, 19, 21, 1},
		{"sends the first knock only", func(s *sender, _ *rand.Rand) {
			for s.now < minute*time.Second {
				s.send(secret[0])
			}
		}, 20, 21, 1},
		{"knows the first knock and tries all second ones", func(s *sender, r *rand.Rand) {
			for s.now < minute*time.Second {
				s.send(secret[0], noise(r))
			}
		}, 20, 21, 1},
		// Nothing has to be remembered of it, and it gets nowhere.
		{"never changes place", func(s *sender, r *rand.Rand) {
			for s.now < minute*time.Second {
				s.send(noise(r))
			}
		}, 2000, 2000, 0},
		// The packets before its first change of place are free: that is the sweep
		// that finds the first knock, without its knowing.
		{"sweeps, then pauses", func(s *sender, r *rand.Rand) {
			for s.now < minute*time.Second {
				for range 4000 {
					s.send(noise(r))
				}
				s.send(secret[0])
				for range 100 {
					s.send(noise(r))
				}
				s.wait(automaton.BucketLife)
			}
		}, 900, 1100, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSender(compile(t, perSource, false, true, secret), 2000)
			tt.play(s, rand.New(rand.NewPCG(1, 2)))
			heard := float64(s.heard) / s.now.Seconds()
			if heard < tt.least || heard > tt.most || s.furthest != tt.furthest || s.opened {
				t.Errorf("%.1f packets a second were heard, want %g to %g; %d knocks done, want %d; opened: %v",
					heard, tt.least, tt.most, s.furthest, tt.furthest, s.opened)
			}
		})
	}
}

// With match_ttl each TTL has its bucket, so that one address is like 255.
func TestBucketsByTTL(t *testing.T) {
	secret := knocks(1, 2, 3)
	g := compile(t, 20, false, true, secret)
	g.MatchTTL = true
	s := newSender(g, 1e6)
	for s.ttl = 1; s.ttl != 0; s.ttl++ {
		s.send(secret[0])
		for range 100 {
			s.send(knocks(9)[0])
		}
	}
	if s.heard != bucketsByTTL*automaton.BucketDepth*20 {
		t.Errorf("%d packets were heard, want %d buckets of 40", s.heard, bucketsByTTL)
	}
}

// Who owns a door can find the first knocks of the others, many at a time: a
// first knock makes a bucket, and takes a token that is missing in the end.
// Further knocks cannot be found so, for by then each packet takes one.
func TestOwnerFindsFirstKnocks(t *testing.T) {
	own, other := knocks(1, 2, 3), knocks(500, 700, 600)
	opens := func(noise int, probe ...port.Port) bool {
		s := newSender(compile(t, 20, false, true, own, other), 1e5)
		s.send(probe...)
		for range noise {
			s.send(knocks(9)[0])
		}
		s.send(own...)
		return s.last.Reason == automaton.Opened
	}
	const depth = 20 * automaton.BucketDepth
	var without, with []port.Port
	for n := 10; n < 1000; n++ {
		with = append(with, knocks(n)...)
		if n != 500 {
			without = append(without, knocks(n)...)
		}
	}
	if !opens(depth-len(own), without...) {
		t.Error("the own door stays shut although no first knock was among the probes")
	}
	if opens(depth-len(own), with...) {
		t.Error("the own door opens although another's first knock took a token")
	}
	for _, second := range []port.Port{other[1], knocks(9)[0]} {
		if !opens(depth-len(own)-2, other[0], second) || opens(depth-len(own)-1, other[0], second) {
			t.Errorf("%s as a second knock does not take one token", second)
		}
	}
}
