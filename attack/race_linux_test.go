package attack

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// racers run each race, as many as a list of the recent match holds.
const racers = recentTotal

// twoCPUs runs an attack that needs two CPUs to itself.
func twoCPUs(t *testing.T, attack func(t *testing.T, v kinds.Kind)) {
	t.Helper()
	labtest.Require(t)
	if len(cpus(t)) < 2 {
		t.Skip("one CPU races with nobody")
	}
	for _, v := range kinds.All() {
		t.Run(v.Name, func(t *testing.T) { attack(t, v) })
	}
}

// TestTwoCPUsAtAOnceDoor: of two connections of one source at the same moment, at the
// end of a sequence that opens for one, one gets in.
func TestTwoCPUsAtAOnceDoor(t *testing.T) {
	twoCPUs(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, strings.Replace(oneDoor, `"30s"`, `"once"`, 1))
		s.race(0, s.knocks(0), tcp(service), tcp(service))
		in := make(map[netip.Addr]int)
		for _, a := range s.answers() {
			if a.Kind == lab.SynAck {
				in[a.Dst]++
			}
		}
		for i := range racers {
			if n := in[lab.Forged4(i)]; n != 1 {
				t.Errorf("source %d got in %d times", i, n)
			}
			if s.getsIn(lab.Forged4(i), service) {
				t.Errorf("source %d got in later", i)
			}
		}
	})
}

// TestTwoCPUsNeedTheWholeSequence: whatever two CPUs make of packets that come at
// the same moment, a source that has not sent every knock does not get in.
func TestTwoCPUsNeedTheWholeSequence(t *testing.T) {
	one, two, three := udp(1001), udp(5002), udp(3003)
	twoCPUs(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, oneDoor)
		for n, c := range []struct {
			before []port.Port
			a, b   port.Port
			after  []port.Port
		}{
			{nil, one, three, []port.Port{three}},
			{nil, one, one, []port.Port{three}},
			{[]port.Port{one}, one, three, []port.Port{three}},
			{[]port.Port{one}, three, three, []port.Port{three}},
			{[]port.Port{one}, two, two, nil},
			{nil, two, three, []port.Port{two, three}},
			{nil, one, two, nil},
		} {
			s.race(n*racers, c.before, c.a, c.b)
			for i := range racers {
				src := lab.Forged4(n*racers + i)
				s.send(src, c.after...)
				if s.getsIn(src, service) {
					t.Fatalf("%v, then %s and %s at once, then %v: got in", c.before, c.a, c.b, c.after)
				}
			}
		}
	})
}

// TestTwoCPUsMayLoseAPacket: of two packets at the same moment either may come
// first, and a wrong one may go unnoticed, or a knock. Whoever has lost a knock
// knocks again.
func TestTwoCPUsMayLoseAPacket(t *testing.T) {
	one, two, three := udp(1001), udp(5002), udp(3003)
	twoCPUs(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, oneDoor)
		for n, c := range []struct {
			name   string
			before []port.Port
			a, b   port.Port
			after  []port.Port
		}{
			{"a knock and a wrong packet", []port.Port{one}, two, udp(9), []port.Port{three}},
			{"a first knock twice", nil, one, one, []port.Port{two, three}},
			{"a knock twice", []port.Port{one}, two, two, []port.Port{three}},
			{"a knock and the one before it", []port.Port{one}, two, one, []port.Port{three}},
			{"two knocks", []port.Port{one}, two, three, nil},
		} {
			s.race(n*racers, c.before, c.a, c.b)
			in := 0
			for i := range racers {
				src := lab.Forged4(n*racers + i)
				s.send(src, c.after...)
				if s.getsIn(src, service) {
					in++
					continue
				}
				s.send(src, s.knocks(0)...)
				if !s.getsIn(src, service) {
					t.Errorf("%s: source %d does not get in any more", c.name, i)
				}
			}
			t.Logf("%s: %d of %d got in", c.name, in, racers)
		}
	})
}

// TestTwoCPUsShareALimit: what does not wait for a place does wait for a token, so
// that a guesser gains nothing by sending on two CPUs.
func TestTwoCPUsShareALimit(t *testing.T) {
	twoCPUs(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, oneDoor)
		s.quiet()
		var all [2][][]byte
		for i := range all {
			all[i] = s.repeat(lab.Forged4(1), 5000, s.knocks(0)[0], udp(9))
		}
		begin := time.Now()
		s.duel(all[0], all[1])
		most := float64(s.g.PerSource)*(automaton.BucketDepth+time.Since(begin).Seconds()) + 2
		heard := len(all[0]) + len(all[1]) - int(s.counters().Limited)
		t.Logf("%d packets were heard, at most %.0f may be", heard, most)
		if float64(heard) > most || heard < 2*s.g.PerSource-2 {
			t.Errorf("%d packets were heard, from %d to %.0f may be", heard, 2*s.g.PerSource-2, most)
		}
	})
}

// race has sources, from the first on, send some packets and then two at the same moment.
func (s *site) race(first int, before []port.Port, a, b port.Port) {
	s.Helper()
	var left, right [][]byte
	for i := range racers {
		src := lab.Forged4(first + i)
		s.send(src, before...)
		left = append(left, s.frame(s.packet(src, a)))
		right = append(right, s.frame(s.packet(src, b)))
	}
	s.answers()
	s.duel(left, right)
}

// duel sends pairs of frames, each from two CPUs at the same moment.
func (s *site) duel(left, right [][]byte) {
	s.Helper()
	var ready [2]atomic.Int64
	var failed atomic.Value
	var both sync.WaitGroup
	for side, frames := range [][][]byte{left, right} {
		tap := s.tap(s.pair.Client, lab.ClientDevice)
		cpu := cpus(s)[side]
		both.Go(func() {
			// The thread is never unlocked, and so ends with its affinity.
			runtime.LockOSThread()
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				failed.Store(err)
			}
			for i, frame := range frames {
				ready[side].Store(int64(i + 1))
				for ready[1-side].Load() <= int64(i) {
				}
				if err := tap.Write(frame); err != nil {
					failed.Store(err)
				}
			}
		})
	}
	both.Wait()
	if err := failed.Load(); err != nil {
		s.Fatal(err)
	}
}

// cpus are those that this process may run on.
func cpus(t testing.TB) []int {
	t.Helper()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(os.NewSyscallError("sched_getaffinity", err))
	}
	var all []int
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	return all
}
