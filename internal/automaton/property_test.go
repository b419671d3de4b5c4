package automaton_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// TestTableAgrees holds the table, executed as a backend does, against the
// interpreter.
func TestTableAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := automatontest.Program(t, automatontest.Options{})
		in, m := automaton.NewInterpreter(g), newMachine(g)
		for i, p := range automatontest.Trace(t, g, automatontest.Options{}) {
			out, verdict := in.Packet(p), m.packet(p)
			if verdict != out.Verdict {
				t.Fatalf("packet %d: %+v: the table says %s, the interpreter %s (%d)", i, p, verdict, out.Verdict, out.Reason)
			}
			if way := m.way(p); !slices.Equal(way, out.After) {
				t.Fatalf("packet %d: %+v: the table leads to %v, the interpreter to %v", i, p, way, out.After)
			}
			if open, want := m.open(p.Src, p.Time), in.Grants(p.Src); !slices.Equal(open, want) {
				t.Fatalf("packet %d: %+v: the table grants %v, the interpreter %v", i, p, open, want)
			}
		}
	})
}

// heard is a packet that counted for a source.
type heard struct {
	to port.Port
	at time.Duration
}

// TestOnlyTheWholeSequenceOpens is what a door promises: a source is granted, or
// let in once, only if what was heard of it last is the door's knocks, in order,
// each in time, with nothing in between but repeats of knocks on the way.
func TestOnlyTheWholeSequenceOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := automatontest.Program(t, automatontest.Options{})
		in := automaton.NewInterpreter(g)
		log := make(map[who][]heard)
		for _, p := range automatontest.Trace(t, g, automatontest.Options{}) {
			key := who{addr: g.Source(p.Src)}
			if g.MatchTTL {
				key.ttl = p.TTL
			}
			before := in.Grants(p.Src)
			out := in.Packet(p)
			if counts(out.Reason) {
				log[key] = append(log[key], heard{p.To, p.Time})
			}
			opened := !slices.Equal(before, in.Grants(p.Src)) && len(in.Grants(p.Src)) >= len(before)
			switch {
			case out.Reason == automaton.Opened:
				mustHaveKnocked(t, g, out.Door, log[key])
			case out.Reason == automaton.LetIn:
				last := len(log[key]) - 1
				if gap := p.Time - log[key][max(last-1, 0)].at; gap >= g.StepTimeout {
					t.Fatalf("let in %s after the last knock", gap)
				}
				mustHaveKnocked(t, g, out.Door, log[key][:last])
			case opened:
				t.Fatalf("%+v: a grant out of nothing", p)
			}
			service := slices.ContainsFunc(g.Hidden(), func(r port.Range) bool { return r.Contains(p.To) })
			if out.Service && out.Verdict == automaton.Accept && out.Reason != automaton.Granted && out.Reason != automaton.LetIn {
				t.Fatalf("%+v: accepted at a service without a right: %d", p, out.Reason)
			}
			if !g.Firewall && !service && out.Reason != automaton.Incomplete && out.Verdict != automaton.Accept {
				t.Fatalf("%+v: guard mode refuses what is no door's service", p)
			}
		}
	})
}

// counts says whether a packet was heard.
func counts(r automaton.Reason) bool {
	switch r {
	case automaton.LetIn, automaton.Knocked, automaton.Restarted, automaton.Repeated, automaton.Lost,
		automaton.Nothing, automaton.Opened, automaton.Excluded:
		return true
	}
	return false
}

func mustHaveKnocked(t *rapid.T, g *automaton.Program, door int, log []heard) {
	knocks := g.Doors[door].Knocks
	if !ends(log, knocks, g.Stay, g.StepTimeout) {
		t.Fatalf("door %s opened without its knocks %v: %v", g.Doors[door].Name, knocks, log)
	}
}

// ends says whether a log ends with the knocks, each in time. Repeats may stand
// between them.
func ends(log []heard, knocks []port.Port, stay bool, timeout time.Duration) bool {
	if len(knocks) == 0 {
		return true
	}
	if len(log) == 0 {
		return false
	}
	last, rest := log[len(log)-1], log[:len(log)-1]
	inTime := len(rest) > 0 && last.at-rest[len(rest)-1].at < timeout
	if last.to == knocks[len(knocks)-1] {
		// The first knock has no time to keep.
		if done := knocks[:len(knocks)-1]; len(done) == 0 || inTime && ends(rest, done, stay, timeout) {
			return true
		}
	}
	repeats := stay && slices.Contains(knocks, last.to) || len(knocks) == 1 && last.to == knocks[0]
	return repeats && inTime && ends(rest, knocks, stay, timeout)
}

// TestSourcesAreIndependent takes the packets of all other sources away, and
// nothing changes for one. The addresses of one /64 share a bucket, so that they
// are taken together.
func TestSourcesAreIndependent(t *testing.T) {
	network := func(p automaton.Packet) netip.Addr {
		bits := p.Src.BitLen()
		if p.Src.Is6() {
			bits = 64
		}
		return netip.PrefixFrom(p.Src, bits).Masked().Addr()
	}
	rapid.Check(t, func(t *rapid.T) {
		g := automatontest.Program(t, automatontest.Options{})
		packets := automatontest.Trace(t, g, automatontest.Options{})
		one := network(rapid.SampledFrom(packets).Draw(t, "the one"))
		together, alone := automaton.NewInterpreter(g), automaton.NewInterpreter(g)
		for i, p := range packets {
			out := together.Packet(p)
			if network(p) != one {
				continue
			}
			if own := alone.Packet(p); fmt.Sprint(own) != fmt.Sprint(out) {
				t.Fatalf("packet %d: %+v: %+v among others, %+v alone", i, p, out, own)
			}
		}
	})
}

// TestUnheardPacketsChangeNothing leaves out all packets that were not heard.
func TestUnheardPacketsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := automatontest.Program(t, automatontest.Options{})
		all, some := automaton.NewInterpreter(g), automaton.NewInterpreter(g)
		for i, p := range automatontest.Trace(t, g, automatontest.Options{}) {
			out := all.Packet(p)
			if !counts(out.Reason) && out.Reason != automaton.Limited {
				if !slices.Equal(out.Before, out.After) {
					t.Fatalf("packet %d: %+v: was not heard and changed the place", i, p)
				}
				continue
			}
			if own := some.Packet(p); fmt.Sprint(own) != fmt.Sprint(out) {
				t.Fatalf("packet %d: %+v: %+v with unheard packets, %+v without", i, p, out, own)
			}
		}
	})
}

// TestRateIsLimited counts what a source can do to the tables: changes of place,
// each of which costs the kernel a deletion and an insertion.
func TestRateIsLimited(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := automatontest.Policy(t, automatontest.Options{})
		p.Knocking.PerSource = rapid.IntRange(1, 5).Draw(t, "rate")
		p.Trust, p.Knocking.MatchTTL = policy.Trust{}, false
		g, err := automaton.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		in := automaton.NewInterpreter(g)
		src := netip.MustParseAddr("10.9.0.20")
		ports := []port.Port{p.Doors[0].Knocks[0], {Proto: p.Doors[0].Knocks[0].Proto, Number: 9}}
		var changes []time.Duration
		var now time.Duration
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			now += time.Duration(rapid.IntRange(0, 700).Draw(t, "ms")) * time.Millisecond
			to := rapid.SampledFrom(ports).Draw(t, "port")
			out := in.Packet(automaton.Packet{Time: now, Src: src, TTL: 64, To: to, Flags: automaton.SYN})
			if out.Reason == automaton.Opened || !slices.Equal(out.Before, out.After) {
				changes = append(changes, now)
			}
		}
		rate := p.Knocking.PerSource
		for i, from := range changes {
			for j, to := range changes[i:] {
				if most := float64(rate*automaton.BucketDepth) + (to-from).Seconds()*float64(rate); float64(j+1) > most+1e-6 {
					t.Fatalf("%d changes of place in %s, at most %.1f allowed", j+1, to-from, most)
				}
			}
		}
	})
}

// TestSweepsOpenNothing tries every port, in three orders, three times over.
func TestSweepsOpenNothing(t *testing.T) {
	p := reference()
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	ports := make([]uint16, 65535)
	for i := range ports {
		ports[i] = uint16(i + 1)
	}
	random := slices.Clone(ports)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(random), func(i, j int) { random[i], random[j] = random[j], random[i] })
	down := slices.Clone(ports)
	slices.Reverse(down)
	for name, order := range map[string][]uint16{"up": ports, "down": down, "random": random} {
		t.Run(name, func(t *testing.T) {
			in := automaton.NewInterpreter(g)
			k := automaton.Packet{Src: netip.MustParseAddr("192.0.2.7"), TTL: 64}
			for range 3 {
				for _, n := range order {
					k.Time += 100 * time.Microsecond
					k.To = port.Port{Proto: port.UDP, Number: n}
					if out := in.Packet(k); len(out.After) > 1 || out.Verdict != automaton.Dropped {
						t.Fatalf("%s: %s, and %d knocks done", k.To, out.Verdict, len(out.After))
					}
				}
			}
		})
	}
}

// reference is the founding recipe, with a limit that no sweep reaches.
func reference() *policy.Policy {
	udp := func(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }
	return &policy.Policy{
		Mode: policy.Firewall,
		Knocking: policy.Knocking{
			StepTimeout: policy.Day, Duplicates: policy.ResetDuplicates,
			IPv6Prefix: 128, PerSource: policy.MaxPerSource,
		},
		Doors: []policy.Door{{
			Name: "ssh", Opens: []port.Range{{Proto: port.TCP, First: 22, Last: 22}},
			Knocks: []port.Port{udp(12345), udp(23456), udp(34567)}, Once: true,
		}},
	}
}
