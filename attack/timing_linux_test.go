package attack

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// TestTimingOfKnockPorts: what does not hold. On a cable without any noise, and with
// a new address for each probe, a first knock is told from a closed port by the
// time that the answer takes: the kernel makes it a place and a bucket. A later knock
// is told from a wrong packet hardly at all, since both change the place. Two
// closed ports are told apart by nothing, or the measurement is not worth anything.
func TestTimingOfKnockPorts(t *testing.T) {
	labtest.Require(t)
	for _, v := range kinds.All() {
		t.Run(v.Name, func(t *testing.T) {
			s := newSite(t, v, oneDoor)
			var wrong string
			for range 5 {
				if wrong = s.timing(); wrong == "" {
					return
				}
				t.Logf("again: %s", wrong)
			}
			t.Error(wrong)
		})
	}
}

// timing says what is otherwise than TestTimingOfKnockPorts claims, if anything.
func (s *site) timing() string {
	s.Helper()
	const samples = 1000
	knocks, closed := s.knocks(0), udp(9)
	took := s.time(samples, map[string]probe{
		"first":  {to: knocks[0]},
		"closed": {to: closed},
		"other":  {to: udp(10)},
		"next":   {before: knocks[:1], to: knocks[1]},
		"wrong":  {before: knocks[:1], to: closed},
	})
	median := func(name string) time.Duration { return quantile(took[name], .5) }
	for _, c := range []struct {
		a, b        string
		least, most float64
	}{
		{"closed", "other", 0.4, 0.6},
		{"first", "closed", 0.6, 1},
		{"next", "wrong", 0.2, 0.8},
	} {
		chance := told(took[c.a], took[c.b])
		s.Logf("%s %v, %s %v: told apart with %.2f", c.a, median(c.a), c.b, median(c.b), chance)
		if chance < c.least || chance > c.most {
			return fmt.Sprintf("%s and %s are told apart with %.2f, from %.1f to %.1f may be", c.a, c.b, chance, c.least, c.most)
		}
	}
	if median("first") > 2*median("closed") {
		return fmt.Sprintf("a first knock takes %v, a closed port %v", median("first"), median("closed"))
	}
	return ""
}

// probe is a packet of a source that has sent some others before.
type probe struct {
	before []port.Port
	to     port.Port
}

// time sends each probe so many times in random order, each from a source of its
// own, and measures how long the answers take.
func (s *site) time(samples int, probes map[string]probe) map[string][]time.Duration {
	s.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tap := s.tap(s.pair.Client, lab.ClientDevice)
	var order []string
	for _, name := range slices.Sorted(maps.Keys(probes)) {
		order = append(order, slices.Repeat([]string{name}, samples)...)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	took := make(map[string][]time.Duration)
	for i, name := range order {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 2<<28+uint32(i))
		src := netip.AddrFrom4(a)
		for _, to := range probes[name].before {
			tap.write(s.frame(s.packet(src, to)))
			tap.next(time.Second)
		}
		frame := s.frame(s.packet(src, probes[name].to))
		begin := time.Now()
		tap.write(frame)
		if tap.next(time.Second) == nil {
			s.Fatalf("%s: no answer", name)
		}
		took[name] = append(took[name], time.Since(begin))
	}
	return took
}

// told is the chance that of two samples the larger is of a: a half if nothing
// tells them apart (the area under the ROC curve).
func told(a, b []time.Duration) float64 {
	type sample struct {
		took time.Duration
		isA  bool
	}
	var all []sample
	for _, d := range a {
		all = append(all, sample{d, true})
	}
	for _, d := range b {
		all = append(all, sample{d, false})
	}
	slices.SortFunc(all, func(x, y sample) int { return cmp.Compare(x.took, y.took) })
	wins, below := 0, 0
	for _, x := range all {
		if x.isA {
			wins += below
		} else {
			below++
		}
	}
	return float64(wins) / float64(len(a)*len(b))
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1))]
}
