package verify_test

import (
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/vector"
	"tirl/internal/verify"
	"tirl/internal/verify/nft"
	"tirl/internal/verify/ruleset"
	"tirl/internal/verify/xtables"
)

// rendered is what the backends make of a program, parsed back. A backend that
// cannot carry it has none.
func rendered(t testing.TB, g *automaton.Program) map[string]*ruleset.Ruleset {
	t.Helper()
	out := make(map[string]*ruleset.Ruleset)
	files, err := nftables.New(nil).Render(g)
	if err != nil {
		t.Fatalf("render for nftables: %v", err)
	}
	if out["nftables"], err = nft.Parse(files[0].Text); err != nil {
		t.Fatalf("parse nftables: %v\n%s", err, files[0].Text)
	}
	if files, err = iptables.New(nil).Render(g); err != nil {
		return out
	}
	if out["iptables"], err = xtables.Parse(xtables.Join(files[0].Text, files[1].Text), ruleset.Both); err != nil {
		t.Fatalf("parse iptables: %v\n%s", err, files[0].Text)
	}
	return out
}

func vectors(t *testing.T) []vector.Vector {
	t.Helper()
	all, err := vector.Load("../../spec/vectors")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestVectorsAreProved proves the rules for every vector's policy.
func TestVectorsAreProved(t *testing.T) {
	for _, v := range vectors(t) {
		for name, rs := range rendered(t, v.Program) {
			if r := verify.Verify(v.Program, rs, verify.Options{}); !r.Proved {
				t.Errorf("%s, %s: %v %v", v.Name, name, r.Unproved, r.Differences)
			}
		}
	}
}

// TestSimulatorPassesVectors holds the verifier's reading of a ruleset against the
// vectors, which real kernels pass.
func TestSimulatorPassesVectors(t *testing.T) {
	for _, v := range vectors(t) {
		for name, rs := range rendered(t, v.Program) {
			if name == "iptables" && v.Program.MatchTTL {
				continue // one TTL for each source: check says so
			}
			sim := verify.NewSimulator(rs)
			sim.Load(v.Program, v.Values)
			for _, s := range v.Steps {
				for _, p := range s.Packets {
					got, err := sim.Packet(p)
					if err != nil {
						t.Fatalf("%s, %s: %v", v.Name, name, err)
					}
					if got.Verdict != s.Verdict.String() {
						t.Errorf("%s, %s, line %d: %s: %s (rule of line %d), want %s", v.Name, name, s.Line, s.Text, got.Verdict, got.Line, s.Verdict)
					}
				}
			}
		}
	}
}
