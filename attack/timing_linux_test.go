package attack

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// TestTimingOfKnockPorts measures how well knock ports are told from closed ones
// by the time that their answers take, on a cable without any noise and with as
// many addresses as the attacker likes.
func TestTimingOfKnockPorts(t *testing.T) {
	const samples = 1500
	labtest.Require(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			s := newSite(t, v, oneDoor)
			knocks := s.knocks(0)
			closed, other := udp(9), udp(10)
			took := s.time(samples, map[string]probe{
				"first":  {to: knocks[0]},
				"closed": {to: closed},
				"other":  {to: other},
				"next":   {before: knocks[:1], to: knocks[1]},
				"wrong":  {before: knocks[:1], to: closed},
			})
			for name, all := range took {
				t.Logf("%s: median %v, quartiles %v %v", name, quantile(all, .5), quantile(all, .25), quantile(all, .75))
			}
			t.Logf("first and closed %.2f, next and wrong %.2f, closed and other %.2f",
				told(took["first"], took["closed"]), told(took["next"], took["wrong"]), told(took["closed"], took["other"]))
		})
	}
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
	for name := range probes {
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
