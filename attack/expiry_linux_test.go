package attack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"tirl/internal/backend/backendtest/kinds"
)

const (
	expiring = `
[knocking]
step_timeout = "1s"
[door.timed]
opens    = ["tcp/22"]
knocks   = ["udp/1001", "udp/5002"]
open_for = "1s"
[door.once]
opens    = ["tcp/2222"]
knocks   = ["udp/3003", "udp/7004"]
open_for = "once"
`
	// tick is the longest that the kernel's clock of timeouts stands still: HZ is
	// 100 at least.
	tick = 10 * time.Millisecond
	// near is how close to the boundary an attempt has to come to say something.
	near = 60 * time.Millisecond
)

// TestExpiry: a knock, a connection to an open door and the one connection of an
// open-once door count up to their time, and not beyond it.
func TestExpiry(t *testing.T) {
	each(t, func(t *testing.T, v kinds.Kind) {
		for range 10 {
			s := newSite(t, v, expiring)
			if s.expire() {
				return
			}
		}
		t.Error("this machine is too busy to come near the boundary")
	})
}

// attempt does one thing, and another after a gap.
type attempt struct {
	what        string
	src         netip.Addr
	first       func(src netip.Addr)
	then        func(src netip.Addr) bool
	gap         time.Duration
	least, most time.Duration // between the two, as the clock has it
	in          bool
}

// expire makes attempts with gaps around a second, and judges those of which
// it is sure on which side they were. It says false if none came close.
func (s *site) expire() bool {
	s.Helper()
	const limit = time.Second
	all := s.attempts(limit)
	s.makeAttempts(all)
	nearby := make(map[string]bool)
	for _, a := range all {
		early, late := a.most < limit-tick, a.least > limit+tick
		switch {
		case early && !a.in:
			s.Errorf("%s, %s: too late after %v at most", a.src, a.what, a.most)
		case late && a.in:
			s.Errorf("%s, %s: in time after %v at least", a.src, a.what, a.least)
		}
		if early && a.least > limit-near {
			nearby[a.what+" before"] = true
		}
		if late && a.most < limit+near {
			nearby[a.what+" after"] = true
		}
	}
	return len(nearby) == 6
}

func (s *site) attempts(limit time.Duration) []*attempt {
	timed, once := s.knocks(0), s.knocks(1)
	var all []*attempt
	for gap := limit - 120*time.Millisecond; gap <= limit+120*time.Millisecond; gap += 15 * time.Millisecond {
		for _, a := range []attempt{
			{what: "a knock", first: func(src netip.Addr) { s.send(src, timed[0]) },
				then: func(src netip.Addr) bool { s.send(src, timed[1]); return s.getsIn(src, service) }},
			{what: "a connection", first: func(src netip.Addr) { s.send(src, timed...) },
				then: func(src netip.Addr) bool { return s.getsIn(src, service) }},
			{what: "the one connection", first: func(src netip.Addr) { s.send(src, once...) },
				then: func(src netip.Addr) bool { return s.getsIn(src, 2222) }},
		} {
			a.gap, a.src = gap, families(len(all) + 1)[len(all)%2]
			all = append(all, &a)
		}
	}
	return all
}

// makeAttempts begins them one after the other and ends each in its time.
func (s *site) makeAttempts(all []*attempt) {
	s.Helper()
	type event struct {
		at time.Time
		do func()
	}
	var events []event
	start := time.Now().Add(10 * time.Millisecond)
	for i, a := range all {
		var before, after time.Time
		at := start.Add(time.Duration(i) * 2 * time.Millisecond)
		events = append(events,
			event{at, func() {
				before = time.Now()
				a.first(a.src)
				after = time.Now()
			}},
			event{at.Add(a.gap), func() {
				a.least = time.Since(after)
				a.in = a.then(a.src)
				a.most = time.Since(before)
			}})
	}
	slices.SortFunc(events, func(x, y event) int { return x.at.Compare(y.at) })
	for _, e := range events {
		time.Sleep(time.Until(e.at))
		e.do()
	}
}
