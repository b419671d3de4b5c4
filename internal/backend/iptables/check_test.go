package iptables

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

func TestCheck(t *testing.T) {
	many := func(g *automaton.Program) {
		*g = *program(t, deep(90))
	}
	for _, c := range []struct {
		name   string
		change func(*automaton.Program)
		key    string // of the only problem; "" for none
		warns  bool
	}{
		{"nothing", func(*automaton.Program) {}, "", false},
		{"half a second a step", func(g *automaton.Program) { g.StepTimeout = 2500 * time.Millisecond }, "knocking.step_timeout", false},
		{"no time for a step", func(g *automaton.Program) { g.StepTimeout = time.Millisecond }, "knocking.step_timeout", false},
		{"an age for a step", func(g *automaton.Program) { g.StepTimeout = 5_000_000 * time.Second }, "knocking.step_timeout", false},
		{"half a second open", func(g *automaton.Program) { g.Classes[0].OpenFor = 1500 * time.Millisecond }, "door.ssh.open_for", false},
		{"reset in a guard", func(g *automaton.Program) { g.Reset = true }, "refuse", false},
		{"reset in a firewall", func(g *automaton.Program) { g.Reset, g.Firewall = true, true }, "", false},
		{"too many packets", func(g *automaton.Program) { g.PerSource = 500_001 }, "knocking.per_source", false},
		{"all protocols", func(g *automaton.Program) { g.Protos = []port.Proto{0} }, "public", false},
		{"some interfaces", func(g *automaton.Program) { g.Ifaces = []string{"wg+"} }, "trust", false},
		{"a long interface", func(g *automaton.Program) { g.Ifaces = []string{"sixteen-letters-"} }, "trust", false},
		{"a strange interface", func(g *automaton.Program) { g.Ifaces = []string{`a" -j ACCEPT`} }, "trust", false},
		{"a user", func(g *automaton.Program) { g.Users = []automaton.User{{Name: "alice"}} }, "door.ssh.users", false},
		{"many sources", func(g *automaton.Program) { g.Sources = 101 }, "knocking.sources", true},
		{"a TTL", func(g *automaton.Program) { g.MatchTTL = true }, "knocking.match_ttl", true},
		{"many places", many, "door", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := program(t, guardPolicy+"[knocking]\nsources = 100\n")
			c.change(g)
			g.Sources = min(g.Sources, 101)
			b := New(nil)
			problems := b.Check(g)
			if c.name == "many places" {
				problems = problems[:1]
			}
			if (len(problems) == 0) != (c.key == "") || len(problems) > 1 {
				t.Fatalf("%+v", problems)
			}
			_, err := b.Render(g)
			if len(problems) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if p := problems[0]; p.Key != c.key || p.Warning != c.warns || p.Text == "" {
				t.Errorf("%+v", p)
			}
			if (err != nil) == c.warns {
				t.Errorf("render: %v", err)
			}
			if err != nil && b.Load(t.Context(), g) == nil {
				t.Error("loaded")
			}
		})
	}
}

// deep is a policy of n doors with four knocks that share nothing.
func deep(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[door.d%d]\nopens = [\"tcp/22\"]\nknocks = [\"udp/%d\", \"udp/%d\", \"udp/%d\", \"udp/%d\"]\n", i, 1000+i, 9000+i*17, 4000+i*3, 30000-i*19)
	}
	return b.String()
}

func TestMoreSources(t *testing.T) {
	g := program(t, guardPolicy)
	g.Sources = 65536
	// A list of each of two places, one of the grants and one of the buckets, twice.
	if got := moreSources(g); !strings.Contains(got, "ip_list_tot=65536'") || !strings.Contains(got, "xt_recent.ip_list_tot=65536") || !strings.Contains(got, "8 lists then take 16 MB") {
		t.Error(got)
	}
}
