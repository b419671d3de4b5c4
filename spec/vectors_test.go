// Package spec holds what every backend must do, as test vectors. This test
// replays them on the reference interpreter and sees that they can be replayed
// in the laboratory, with real time.
package spec

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/vector"
)

// Bounds that keep the replay in a kernel short and robust.
const (
	minVectors = 60
	maxTime    = 5 * time.Second
	maxSteps   = 60
	maxPackets = 1000
	margin     = 200 * time.Millisecond
)

func load(t *testing.T) []vector.Vector {
	t.Helper()
	all, err := vector.Load("vectors")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVectors(t *testing.T) {
	all := load(t)
	if len(all) < minVectors {
		t.Errorf("%d vectors, want at least %d", len(all), minVectors)
	}
	punctual := func(at time.Duration) time.Duration { return at }
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			for _, problem := range v.Replay(punctual) {
				t.Error(problem)
			}
			// In a kernel packets come late, and sweeps are faster or slower.
			if slack := v.Slack(); slack < margin {
				t.Errorf("packets that are %v late change what happens", slack)
			}
		})
	}
}

// TestVectorsNameTheirBackends sees that every backend that can carry a policy
// is put to the test.
func TestVectorsNameTheirBackends(t *testing.T) {
	backends := map[string]backend.Backend{
		policy.BackendNftables: nftables.New(nil),
		policy.BackendIptables: iptables.New(nil),
	}
	for _, v := range load(t) {
		for name, b := range backends {
			able, same := true, true
			for _, p := range b.Check(v.Program) {
				able = able && p.Warning
				same = same && (!p.Warning || p.Key == "knocking.sources")
			}
			switch {
			case v.On(name) && !able:
				t.Errorf("%s: the backend %s cannot do it", v.Name, name)
			case !v.On(name) && able && same:
				t.Errorf("%s: the backend %s is left out, and could do it", v.Name, name)
			}
		}
	}
}

// TestVectorsAreFeasible sees that vectors keep to what the laboratory can do.
func TestVectorsAreFeasible(t *testing.T) {
	for _, v := range load(t) {
		t.Run(v.Name, func(t *testing.T) {
			n := 0
			for _, s := range v.Steps {
				n += len(s.Packets)
			}
			last := v.Steps[len(v.Steps)-1].Packets
			if len(v.Steps) > maxSteps || n > maxPackets || last[len(last)-1].Time > maxTime {
				t.Errorf("%d steps, %d packets, %s: more than %d, %d, %s", len(v.Steps), n, last[len(last)-1].Time, maxSteps, maxPackets, maxTime)
			}
			flows := make(map[flow]bool)
			for _, s := range v.Steps {
				if v.Kernel {
					feasible(t, s, flows)
				}
			}
		})
	}
}

type flow struct {
	src netip.Addr
	to  port.Port
}

func feasible(t *testing.T, s vector.Step, flows map[flow]bool) {
	for _, p := range s.Packets {
		if !slices.ContainsFunc(sources(), func(n netip.Prefix) bool { return n.Contains(p.Src) }) || slices.Contains(servers(), p.Src) {
			t.Errorf("line %d: %s is no source of the laboratory", s.Line, p.Src)
		}
		key := flow{p.Src, p.To}
		switch {
		case p.Conn == automaton.Established && !flows[key]:
			t.Errorf("line %d: %s has no accepted flow to %s that could be continued", s.Line, p.Src, p.To)
		case p.Dest == automaton.ToAnycast || p.Dest == automaton.ToElsewhere || p.Iface == "lo":
			t.Errorf("line %d: the laboratory has one address and no way in by loopback", s.Line)
		}
		if s.Verdict == automaton.Accept && p.Conn == automaton.New {
			flows[key] = true
		}
	}
}

// sources are the networks whose packets reach the server, which answers by the
// way they came.
func sources() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("2001:db8:9::/64"), netip.MustParsePrefix("2001:db8:a::/48"),
	}
}

func servers() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("2001:db8:9::1")}
}
