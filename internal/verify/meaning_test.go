package verify

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// only gives the box of packets that the space cannot tell from p.
func (s *space) only(p automaton.Packet) box {
	b := box{ports: newBitset(len(s.atoms)), srcs: newBitset(len(s.srcs))}
	if hasPorts(p.To.Proto) {
		b.ports.add(s.atomOf(p.To))
	} else {
		b.ports.add(slices.IndexFunc(s.atoms, func(a portAtom) bool { return a.proto <= p.To.Proto && p.To.Proto <= a.lastProto }))
	}
	inner, at := -1, 0
	for i, a := range s.srcs {
		// The atom of an address is that of its longest prefix.
		if a.prefix.Contains(p.Src) && a.prefix.Bits() > inner {
			inner, at = a.prefix.Bits(), i
		}
	}
	b.srcs.add(at)
	b.ifaces = s.ifaceSet(func(n string) bool { return n == p.Iface })
	if b.ifaces == 0 {
		b.ifaces = 1 << (len(s.ifaces) - 1)
	}
	for i, first := range s.sports {
		if p.SrcPort >= first {
			b.sports = 1 << i
		}
	}
	b.flags = 1 << (p.Flags & (allFlags - 1))
	b.icmp[p.ICMP/64] = 1 << (p.ICMP % 64)
	for _, o := range connOrder() {
		if o.value == p.Conn {
			b.conns = o.bit
		}
	}
	for _, o := range destOrder() {
		if o.value == p.Dest {
			b.dests = o.bit
		}
	}
	return b
}

// TestMeaningIsTheInterpreters holds what the verifier takes for the meaning of a
// policy against the reference, packet by packet.
func TestMeaningIsTheInterpreters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := automatontest.Program(t, automatontest.Options{})
		spaces := make(map[ruleset.Family]*meaning)
		for _, f := range []ruleset.Family{ruleset.IPv4, ruleset.IPv6} {
			_, pl, err := withSamples(g, &ruleset.Ruleset{})
			if err != nil {
				t.Fatal(err)
			}
			sp, err := newSpace(f, g, &ruleset.Ruleset{}, pl)
			if err != nil {
				t.Fatal(err)
			}
			spaces[f] = newMeaning(g, sp, pl, true)
		}
		in := automaton.NewInterpreter(g)
		for _, p := range automatontest.Trace(t, g, automatontest.Options{}) {
			if !p.Cut.Comes() || p.Flags >= allFlags {
				continue
			}
			s := spaces[ruleset.IPv6]
			if p.Src.Is4() {
				s = spaces[ruleset.IPv4]
			}
			in.Advance(p.Time)
			place := stateOf(g, in.Place(p.Src, p.TTL))
			exact := make(map[int]bool)
			for c := range g.Classes {
				exact[c] = slices.Contains(in.Grants(p.Src), c)
			}
			got := s.outcomes(place, exact, p)
			want := in.Packet(p)
			i := slices.IndexFunc(got, func(v verdictOf) bool { return (v.limit == isEmpty) == (want.Reason == automaton.Limited) })
			if i < 0 {
				t.Fatalf("%+v at %d: the interpreter says %+v; nothing of the kind in %+v", p, place, want, got)
			}
			v := got[i]
			if v.verdict != want.Verdict || v.reason != want.Reason {
				t.Fatalf("%+v at %d: verdict %s reason %d, the interpreter says %s %d", p, place, v.verdict, v.reason, want.Verdict, want.Reason)
			}
			if next := v.next(s, place); next != stateOf(g, in.Place(p.Src, p.TTL)) {
				t.Fatalf("%+v at %d: leads to %d, the interpreter says %v", p, place, next, want.After)
			}
			if opened := want.Reason == automaton.Opened; opened != (v.grant >= 0) || opened && v.grant != g.Doors[want.Door].Class {
				t.Fatalf("%+v at %d: grants class %d, the interpreter opens door %d", p, place, v.grant, want.Door)
			}
		}
	})
}

// outcomes are what may become of a packet, with a bucket: that of one that is not empty,
// and of one that is.
func (s *meaning) outcomes(place automaton.State, exact map[int]bool, p automaton.Packet) []verdictOf {
	var out []verdictOf
	add := func(v verdictOf) { out = append(out, v) }
	s.sift(s.sp.only(p), add, func(v verdictOf, service bool) { s.judge(place, true, exact, v, service, add) })
	return out
}

// next is the place after a packet to one port.
func (v verdictOf) next(s *meaning, place automaton.State) automaton.State {
	switch {
	case !v.moves:
		return place
	case v.first:
		return automaton.State(s.first.value[v.b.ports.first()])
	}
	return v.place
}

func stateOf(g *automaton.Program, way []port.Port) automaton.State {
	at := automaton.Root
	for _, k := range way {
		at, _ = g.Child(at, k)
	}
	return at
}
