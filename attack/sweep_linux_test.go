package attack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
)

// Doors whose knocks stand in the order of a sweep, up, down and neither.
const sweptDoors = `
[door.up]
opens  = ["tcp/22"]
knocks = ["udp/1001", "udp/3010", "udp/4002"]

[door.down]
opens  = ["tcp/2222"]
knocks = ["udp/3903", "udp/2500", "udp/80"]

[door.mixed]
opens    = ["tcp/2223"]
knocks   = ["udp/2001", "udp/4000", "udp/17"]
open_for = "once"

[door.twice]
opens  = ["tcp/2224"]
knocks = ["udp/3005", "udp/3005", "udp/2222"]
`

// TestPortSweeps: a scan of all ports, in whatever order, opens nothing, even if
// no limit stands in its way.
func TestPortSweeps(t *testing.T) {
	const few = 4095
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, sweptDoors, unlimited)
		for i, c := range []struct {
			name  string
			order []uint16
		}{
			{"ascending", ascending(65535)},
			{"descending", reversed(ascending(few))},
			{"random", shuffled(few, 1)},
			{"random again", shuffled(few, 2)},
			{"strided by 7", strided(few, 7)},
			{"strided by 1024", strided(few, 1024)},
			{"from both ends", fromBothEnds(few)},
			{"each port three times", repeated(few, 3)},
			{"three times over", slices.Concat(ascending(few), ascending(few), ascending(few))},
		} {
			src := lab.Forged4(i)
			s.sweep(src, c.order)
			s.nothingOpened(c.name, src)
		}
		for i, order := range [][]uint16{ascending(few), reversed(ascending(few)), shuffled(few, 3)} {
			s.sweep(lab.Forged6(i), order)
			s.nothingOpened(fmt.Sprintf("IPv6, %d", i), lab.Forged6(i))
		}
		for _, src := range families(100) {
			s.send(src, s.knocks(0)...)
			if !s.getsIn(src, service) {
				t.Errorf("%s: the door does not open at all", src)
			}
		}
	})
}

// TestSweepInTheStepOfAKnock: what check cannot refuse. Knocks in steps of one
// number beyond 16 open to a sweep in just these steps.
func TestSweepInTheStepOfAKnock(t *testing.T) {
	const source = "[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1000\", \"udp/2000\", \"udp/3000\"]\n"
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, source)
		src := lab.Forged4(1)
		s.sweep(src, strided(4095, 999))
		if s.getsIn(src, service) {
			t.Error("opened by a sweep in other steps")
		}
		src = lab.Forged4(2)
		s.sweep(src, []uint16{1000, 2000, 3000, 4000, 5000})
		if !s.getsIn(src, service) {
			t.Error("not opened by a sweep in steps of a thousand, which docs/security.md says")
		}
	})
}

func (s *site) sweep(src netip.Addr, order []uint16) {
	s.Helper()
	frames := make([][]byte, len(order))
	for i, n := range order {
		frames[i] = s.frame(s.packet(src, udp(n)))
	}
	s.frames(frames)
}

func (s *site) nothingOpened(what string, src netip.Addr) {
	s.Helper()
	if c := s.counters(); c.Opened != 0 {
		s.Fatalf("%s: %d doors were opened", what, c.Opened)
	}
	for _, r := range s.g.Hidden() {
		if s.getsIn(src, r.First) {
			s.Fatalf("%s: %s is open", what, r)
		}
	}
}

func ascending(n int) []uint16 {
	all := make([]uint16, n)
	for i := range all {
		all[i] = uint16(i + 1)
	}
	return all
}

func reversed(all []uint16) []uint16 {
	slices.Reverse(all)
	return all
}

func shuffled(n int, seed uint64) []uint16 {
	all := ascending(n)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// strided goes through all ports in steps, from port 1, then from port 2 and so on.
func strided(n, step int) []uint16 {
	var all []uint16
	for from := range step {
		for p := from + 1; p <= n; p += step {
			all = append(all, uint16(p))
		}
	}
	return all
}

func fromBothEnds(n int) []uint16 {
	var all []uint16
	for low, high := 1, n; low <= high; low, high = low+1, high-1 {
		all = append(all, uint16(low), uint16(high))
	}
	return all
}

func repeated(n, times int) []uint16 {
	var all []uint16
	for _, p := range ascending(n) {
		all = append(all, slices.Repeat([]uint16{p}, times)...)
	}
	return all
}
