// Package spec holds what every backend must do, as test vectors. This test
// replays them on the reference interpreter and sees that they can be replayed
// in the laboratory, with real time.
package spec

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/vector"
)

// Bounds that keep the replay in a kernel short and robust.
const (
	minVectors = 60
	maxTime    = 5 * time.Second
	maxSteps   = 60
	maxPackets = 1000
	margin     = 250 * time.Millisecond
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
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			for _, problem := range replay(&v, punctual) {
				t.Error(problem)
			}
		})
	}
}

// TestVectorsWhenLate replays with packets that come late, and sweeps that are
// faster or slower, as they are in a kernel on a busy machine.
func TestVectorsWhenLate(t *testing.T) {
	for _, v := range load(t) {
		t.Run(v.Name, func(t *testing.T) {
			for seed := range uint64(50) {
				r := rand.New(rand.NewPCG(seed, 0))
				late := func(at time.Duration) time.Duration { return at + time.Duration(r.Int64N(int64(margin))) }
				for _, problem := range replay(&v, late) {
					t.Errorf("with seed %d: %s", seed, problem)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

func punctual(at time.Duration) time.Duration { return at }

// replay gives what the interpreter does otherwise than the vector says.
func replay(v *vector.Vector, clock func(time.Duration) time.Duration) []string {
	var problems []string
	in := automaton.NewInterpreter(v.Program)
	var now time.Duration
	for _, s := range v.Steps {
		var last automaton.Packet
		complain := func(what string, got, want any) {
			problems = append(problems, fmt.Sprintf("line %d: %s: %s is %v, want %v", s.Line, s.Text, what, got, want))
		}
		for _, p := range s.Packets {
			now = max(now, clock(p.Time))
			p.Time = now
			out := in.Packet(p)
			if out.Verdict != s.Verdict {
				complain(fmt.Sprintf("the verdict of %s", p.To), out.Verdict, s.Verdict)
			}
			last = p
		}
		got := v.Describe(in.Place(last.Src, last.TTL), in.Grants(last.Src))
		if want := v.Describe(s.Place, s.Open); got != want {
			complain("the place", got, want)
		}
	}
	return problems
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
		case p.Conn == automaton.Related:
			t.Errorf("line %d: a related packet cannot be made", s.Line)
		case p.Conn == automaton.Established && !flows[key]:
			t.Errorf("line %d: %s has no accepted flow to %s that could be continued", s.Line, p.Src, p.To)
		case p.Dest == automaton.ToAnycast || p.Dest == automaton.ToElsewhere || p.Iface != "":
			t.Errorf("line %d: the laboratory has one address and one interface", s.Line)
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
