package automatontest

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// TestText sees that a policy that a person could have written is read as what it
// was.
func TestText(t *testing.T) {
	read := 0
	rapid.Check(t, func(t *rapid.T) {
		want := Policy(t, Options{Users: rapid.Bool().Draw(t, "users")})
		got, found := policy.Parse("p", []byte(Text(want)))
		if found.HasErrors() {
			return
		}
		if read++; got.Hash() != want.Hash() {
			t.Fatalf("%s\nis %+v\nwas %+v", Text(want), got, want)
		}
	})
	if read == 0 {
		t.Error("no policy could be read")
	}
}

// TestSeeded sees that a seed always gives the same case, and that the laboratory
// gets to see everything that it can make.
func TestSeeded(t *testing.T) {
	o := Options{Laboratory: true, Span: 3 * time.Second}
	var with automaton.Headers
	cuts, conns := make(map[automaton.Cut]bool), make(map[automaton.Conn]bool)
	firewalls, late, flags := 0, 0, 0
	for seed := range 60 {
		c := Seeded(seed, o)
		if !reflect.DeepEqual(c, Seeded(seed, o)) {
			t.Fatalf("seed %d gives two cases", seed)
		}
		if c.Policy.Mode == policy.Firewall {
			firewalls++
		}
		for _, p := range c.Packets {
			with |= p.With
			cuts[p.Cut], conns[p.Conn] = true, true
			if p.Time > time.Second {
				late++
			}
			if p.Time > o.Span {
				t.Fatalf("seed %d goes on until %s", seed, p.Time)
			}
			if p.To.Proto == port.TCP && p.Flags != automaton.SYN {
				flags++
			}
		}
	}
	if with != ^automaton.Headers(0) || len(cuts) != int(automaton.Overlapping)+1 || len(conns) != int(automaton.Untracked)+1 ||
		firewalls < 10 || firewalls > 50 || late == 0 || flags == 0 {
		t.Errorf("drawn were only: headers %s, cuts %v, states %v; %d firewalls, %d late packets, %d odd flags", with, cuts, conns, firewalls, late, flags)
	}
}

// TestShrink makes cases small that go wrong for reasons which are known.
func TestShrink(t *testing.T) {
	o := Options{Laboratory: true, Span: 3 * time.Second}
	for _, test := range []struct {
		name    string
		wrong   func(Case) bool
		packets int
	}{
		{"a fragment to a service", func(c Case) bool {
			return slices.ContainsFunc(c.Packets, func(p automaton.Packet) bool { return p.Cut != automaton.Uncut && p.To.Number < 31 })
		}, 1},
		{"two sources", func(c Case) bool {
			var seen []string
			for _, p := range c.Packets {
				if s := p.Src.String(); !slices.Contains(seen, s) {
					seen = append(seen, s)
				}
			}
			return len(seen) > 1
		}, 2},
		{"a place of depth two", func(c Case) bool {
			g, err := c.Program()
			if err != nil {
				return false
			}
			in := automaton.NewInterpreter(g)
			return slices.ContainsFunc(c.Packets, func(p automaton.Packet) bool { return len(in.Packet(p).After) == 2 })
		}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range 30 {
				c := Seeded(seed, o)
				if !test.wrong(c) {
					continue
				}
				valid := func(c Case) bool { _, err := c.Program(); return err == nil && test.wrong(c) }
				small := Shrink(c, valid)
				if !valid(small) {
					t.Fatalf("seed %d: what is left has lost it", seed)
				}
				if len(small.Packets) != test.packets || len(small.Policy.Doors) != 1 || small.Packets[len(small.Packets)-1].Time != 0 {
					t.Errorf("seed %d: %d packets are left, and %d doors:\n%s%+v", seed, len(small.Packets), len(small.Policy.Doors), Text(small.Policy), small.Packets)
				}
			}
		})
	}
}
