package audit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// target is a door whose knocks are known to be among n ports.
func target(n, k int, once, stay bool) Target {
	each := math.Log2(float64(n))
	return Target{Knocks: k, Bits: float64(k) * each, First: each, Once: once, Stay: stay}
}

// unlimited is a per_source that limits nothing.
const unlimited = 1e9

// Without a limit a stream with every sequence in it, overlapping, opens after
// half of it on average.
func TestStream(t *testing.T) {
	const n, k = 10, 3
	for _, stay := range []bool{true, false} {
		stream := knocks(deBruijn(n, k)...)
		sum, secrets := 0, 0
		for a := range n {
			for b := range n {
				for c := range n {
					if a == b || b == c || a == c {
						continue
					}
					s := newSender(compile(t, unlimited, false, stay, knocks(a, b, c)), 1e6)
					for _, to := range stream {
						if s.send(to); s.opened {
							break
						}
					}
					if !s.opened {
						t.Fatalf("%d, %d, %d never opens", a, b, c)
					}
					sum += s.sent
					secrets++
				}
			}
		}
		mean := float64(sum) / float64(secrets)
		want := float64(target(n, k, false, stay).Time(Guesser{Rate: 1}))
		if mean < 0.9*want || mean > 1.1*want {
			t.Errorf("repetitions stay: %v: %.0f packets on average, want %.0f", stay, mean, want)
		}
	}
}

// No stream tries more sequences of different ports than it has packets for, and
// none tries more with one first knock than it has tokens for.
func TestCosts(t *testing.T) {
	const n, k = 5, 3
	var secrets [][]port.Port
	for a := range n {
		for b := range n {
			for c := range n {
				if a != b && b != c && a != c {
					secrets = append(secrets, knocks(a, b, c))
				}
			}
		}
	}
	for _, once := range []bool{false, true} {
		for _, stay := range []bool{false, true} {
			t.Run(fmt.Sprintf("once=%v,stay=%v", once, stay), func(t *testing.T) {
				t.Parallel()
				programs := make([]*automaton.Program, len(secrets))
				for i, s := range secrets {
					programs[i] = compile(t, unlimited, once, stay, s)
				}
				cost := target(n, k, once, stay)
				letter := rapid.SampledFrom(append(knocks(0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0), service))
				rapid.Check(t, func(rt *rapid.T) {
					stream := rapid.SliceOfN(letter, 0, 30).Draw(rt, "stream")
					all, first := 0, 0
					for i, g := range programs {
						s := newSender(g, 1e6)
						if s.send(stream...); s.opened {
							all++
							if secrets[i][0] == knocks(0)[0] {
								first++
							}
						}
					}
					if most := float64(len(stream)) / cost.packets(); float64(all) > most {
						rt.Fatalf("%d sequences, at most %g were expected", all, most)
					}
					if most := float64(len(stream)) / cost.tokens(); float64(first) > most {
						rt.Fatalf("%d sequences with one first knock, at most %g were expected", first, most)
					}
				})
			})
		}
	}
}

// burst is the stream of one burst after a silence: for each first knock as many
// rests, from the list on, as a full bucket can hear. It gives how many those are.
func burst(n, k, perSource int, once, stay bool, rests [][]int) (stream []port.Port, tried int) {
	// With the first knock before each of the others rests could overlap. These do
	// not, so that they can be in any order, nor do they share a connection.
	each := k
	if stay && !once {
		each = 2 * (k - 1)
	} else if once {
		each = k + 1
	}
	tried = min(len(rests), perSource*automaton.BucketDepth/each)
	for x := range n {
		for _, rest := range rests[:tried] {
			if !stay || once {
				stream = append(stream, knocks(x)...)
				stream = append(stream, knocks(rest...)...)
				if once {
					stream = append(stream, service)
				}
				continue
			}
			for _, r := range rest {
				stream = append(stream, knocks(x, r)...)
			}
		}
	}
	return stream, tried
}

// A guesser who is silent for two seconds, and then tries some rests with every
// first knock as fast as the line allows, needs little more than Time says, and
// not less: the limit counts for the rests alone.
func TestBurst(t *testing.T) {
	tests := []struct {
		n, k, perSource int
		once, stay      bool
		most            float64 // times what Time says
	}{
		{200, 2, 2, false, true, 1.2},
		{200, 2, 2, false, false, 1.2},
		{200, 2, 3, true, true, 1.7}, // a connection for each
		{32, 3, 3, false, false, 1.2},
		{32, 3, 4, true, false, 1.2},
		{32, 3, 4, false, true, 2.2}, // no overlap
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(3, 4))
			const secrets, rate = 12, 1e7
			sum := 0.0
			for i := range secrets {
				var rests [][]int
				for w := range windows(deBruijn(tt.n, tt.k-1), tt.k-1) {
					rests = append(rests, w)
				}
				r.Shuffle(len(rests), func(i, j int) { rests[i], rests[j] = rests[j], rests[i] })
				secret := r.Perm(tt.n)[:tt.k]
				// In even parts of the search, for fewer secrets to do.
				at := (2*i + 1) * len(rests) / (2 * secrets)
				copy(secret[1:], rests[at])
				for slices.Contains(secret[1:], secret[0]) {
					secret[0] = r.IntN(tt.n)
				}
				if tt.k == 3 && secret[1] == secret[2] {
					continue // no guesser need try it
				}
				s := newSender(compile(t, tt.perSource, tt.once, tt.stay, knocks(secret...)), rate)
				for !s.opened {
					if len(rests) == 0 {
						// A rest with the first knock in it has spoilt a burst.
						t.Logf("%v was missed", secret)
						break
					}
					stream, tried := burst(tt.n, tt.k, tt.perSource, tt.once, tt.stay, rests)
					rests = rests[tried:]
					s.send(stream...)
					s.wait(automaton.BucketLife)
				}
				sum += s.now.Seconds()
			}
			mean := sum / secrets
			want := float64(target(tt.n, tt.k, tt.once, tt.stay).Time(Guesser{Rate: rate, Buckets: 1, PerSource: float64(tt.perSource)}))
			t.Logf("%.0f s on average; Time says %.0f", mean, want)
			if mean < 0.9*want || mean > tt.most*want {
				t.Errorf("%.0f s on average, want %.0f to %.0f", mean, want, tt.most*want)
			}
		})
	}
}
