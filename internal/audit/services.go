package audit

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// Service is what more than one door opens to everybody. A guesser needs any one
// of them.
type Service struct {
	Ports []port.Range
	Doors []string
	Bits  float64 // what all the doors' sequences together leave to guess
	Guess
}

// services finds them, in the order of their ports.
func services(doors []policy.Door, audited []Door) []Service {
	type cut struct {
		proto port.Proto
		at    int // first port of a piece; 65536 ends the last
		door  int
	}
	var cuts []cut
	for i, d := range doors {
		if len(d.From) > 0 {
			continue
		}
		for _, r := range d.Opens {
			cuts = append(cuts, cut{r.Proto, int(r.First), i}, cut{r.Proto, int(r.Last) + 1, i})
		}
	}
	slices.SortStableFunc(cuts, func(a, b cut) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.at, b.at))
	})
	var list []Service
	known := map[string]int{}
	open := map[int]bool{}
	for i, c := range cuts {
		if open[c.door] = !open[c.door]; !open[c.door] {
			delete(open, c.door)
		}
		if len(open) < 2 || cuts[i+1].at == c.at && cuts[i+1].proto == c.proto {
			continue
		}
		piece := port.Range{Proto: c.proto, First: uint16(c.at), Last: uint16(cuts[i+1].at - 1)}
		members := make([]int, 0, len(open))
		for door := range open {
			members = append(members, door)
		}
		slices.Sort(members)
		key := make([]byte, 0, 4*len(members))
		for _, m := range members {
			key = binary.BigEndian.AppendUint32(key, uint32(m))
		}
		at, ok := known[string(key)]
		if !ok {
			at = len(list)
			known[string(key)] = at
			list = append(list, together(audited, members))
		}
		list[at].Ports = append(list[at].Ports, piece)
	}
	return list
}

// together says what is left to guess if any of some doors will do.
func together(audited []Door, members []int) Service {
	var s Service
	chance := 0.0
	for _, m := range members {
		d := audited[m]
		s.Doors = append(s.Doors, d.Name)
		bits := d.Bits
		if d.Pattern.Text != "" {
			bits = d.Pattern.Bits
		}
		chance += math.Exp2(-bits)
	}
	s.Bits = max(0, -math.Log2(chance))
	of := func(span func(Guess) Span) Span {
		rate, least := 0.0, math.Inf(1)
		for _, m := range members {
			t := float64(span(audited[m].Guess))
			rate += 1 / t
			least = min(least, t)
		}
		return either(rate, least)
	}
	s.One = of(func(g Guess) Span { return g.One })
	s.Many = of(func(g Guess) Span { return g.Many })
	s.Unlimited = of(func(g Guess) Span { return g.Unlimited })
	return s
}

// either is the expected time until the first of several sequences is found, each
// of which is somewhere in a search that finds it after its own time on average.
// Of n alike it is 2/(n+1) of that time: the mean of the least of n places.
func either(rate, least float64) Span {
	return Span(2 / (rate + 1/least))
}
