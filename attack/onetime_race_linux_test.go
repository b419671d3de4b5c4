package attack

import (
	"net/netip"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
)

// withoutTestAndSet is nftables without what lets only one of two CPUs on.
func withoutTestAndSet() kinds.Kind {
	return altered(" limit rate 1/hour burst 1 packets } goto use", " } goto use")
}

// duels is how often, for each kind of value.
const duels = 100

// TestTwoCPUsWithOneValue: of two packets on two CPUs with the same value at the
// same moment, from two addresses, one opens. What becomes of it without the test and
// set is measured beside that.
func TestTwoCPUsWithOneValue(t *testing.T) {
	labtest.Require(t)
	if len(cpus(t)) < 2 {
		t.Skip("one CPU races with nobody")
	}
	race := func(v kinds.Kind) map[policy.OneTime]int {
		slow := strings.ReplaceAll(userDoors, "opens ", "open_for = \"1h\"\nopens ") + "[knocking]\nstep_timeout = \"10m\"\n"
		s := usersBy(t, v, slow, duels, unlimited)
		s.quiet()
		twice := make(map[policy.OneTime]int)
		for _, name := range []string{"alice", "bob"} {
			values := s.of(name)
			kind := s.g.Users[values[0].User].Kind
			twice[kind] = s.duelWith(values)
		}
		return twice
	}
	for kind, n := range race(kinds.All()[0]) {
		if n > 0 {
			t.Errorf("of %d values of the kind %s %d opened twice", duels, kind, n)
		}
	}
	for kind, n := range race(withoutTestAndSet()) {
		t.Logf("without the test and set %d of %d values of the kind %s opened twice", n, duels, kind)
	}
}

// duelWith has pairs of sources use the same value at the same moment, and counts
// how often both get in. That neither does is rare: the table of what is spent grows
// just then.
func (s *userSite) duelWith(values []automaton.Value) int {
	s.Helper()
	var left, right [][]byte
	for i, v := range values {
		for side, frames := range []*[][]byte{&left, &right} {
			all := s.packets(rival(side, i), v)
			s.put(all[:len(all)-1]...)
			*frames = append(*frames, s.frame(all[len(all)-1]))
		}
	}
	s.answers()
	s.duel(left, right)
	if err := s.wire.Settle(s.Context()); err != nil {
		s.Fatal(err)
	}
	granted := make(map[netip.Addr]bool)
	class := s.g.Classes[s.g.Doors[s.g.Users[values[0].User].Door].Class].ID
	for _, g := range s.loaded().Grants {
		granted[g.Source] = granted[g.Source] || g.Class == class
	}
	twice, lost := 0, 0
	for i := range values {
		switch a, b := granted[rival(0, i)], granted[rival(1, i)]; {
		case a && b:
			twice++
		case !a && !b:
			lost++
		}
	}
	if lost > len(values)/5 {
		s.Errorf("%d of %d values opened for nobody", lost, len(values))
	}
	return twice
}

func rival(side, i int) netip.Addr { return lab.Forged4(1000 + 2*i + side) }
