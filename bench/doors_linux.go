package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// doors is the section about what doors cost a packet.
func doors() Section {
	return Section{Name: "doors", Title: "Up to ten thousand doors", Time: 45 * time.Second, Run: runDoors}
}

// doorCounts are the sizes that are measured.
func doorCounts() []int { return []int{1, 10, 100, 1000, 10000} }

// Ports of the knocks of many doors.
const (
	firstKnock = 1025
	lastKnock  = firstWrong - 1
)

// manyDoors draws n doors, each with four knocks, no two of which begin alike in all.
func manyDoors(n int) [][]port.Port {
	random := rand.New(rand.NewPCG(uint64(n), 3))
	taken := make(map[[3]uint16]bool)
	var all [][]port.Port
	for len(all) < n {
		var knocks []port.Port
		for range 4 {
			knocks = append(knocks, port.Port{Proto: port.UDP, Number: uint16(firstKnock + random.IntN(lastKnock-firstKnock))})
		}
		if key := [3]uint16{knocks[0].Number, knocks[1].Number, knocks[2].Number}; !taken[key] {
			taken[key] = true
			all = append(all, knocks)
		}
	}
	return all
}

// doorsPolicy has a door of its own for each administrator of one service.
func doorsPolicy(mode string, doors [][]port.Port) string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode = %q\npublic = [\"tcp/%d\"]\n", mode, publicPort)
	for i, knocks := range doors {
		words := make([]string, len(knocks))
		for n, k := range knocks {
			words[n] = strconv.Quote(k.String())
		}
		fmt.Fprintf(&b, "[door.d%d]\nopens = [%q]\nknocks = [%s]\n", i, doorService, strings.Join(words, ", "))
	}
	return b.String()
}

// guardOf is a guard with n doors.
func guardOf(n int) contender {
	doors := manyDoors(n)
	c := contender{name: number(float64(n), 0), doors: doors}
	c.load = func(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
		return tirl(doorsPolicy("guard", doors), kinds.All()[0])(ctx, server)
	}
	return c
}

// firsts are first knocks of up to a thousand doors. A source always knocks at the
// same one: some is a multiple of their number.
func firsts(s *stage, f family) []lab.Packet {
	var ports []uint16
	for _, knocks := range s.sequences()[:min(wrongPorts, len(s.sequences()))] {
		ports = append(ports, knocks[0].Number)
	}
	for len(ports) < wrongPorts { // as many as others have
		ports = append(ports, ports...)
	}
	return f.datagrams(ports[:wrongPorts])
}

// wholes are whole knocks and a SYN, at a thousand doors in turn.
func wholes(s *stage, f family) []lab.Packet {
	var packets []lab.Packet
	sequences := s.sequences()
	for i := range wrongPorts {
		for n, k := range append(sequences[i%len(sequences)][:4:4], doorService) {
			packets = append(packets, f.to(k, n))
		}
	}
	return packets
}

// otherDoors takes more doors than one.
const otherDoors = "first knocks, ever other doors; 30,000 sources"

func doorPatterns() []pattern {
	closed := func(int) int { return 0 }
	return []pattern{
		{name: establishedTCP, packets: segment, passes: true},
		{name: freshPublic, packets: syns(publicPort), sources: some, passes: true},
		{name: "wrong knocks, 30,000 sources", packets: wrongKnocks, sources: some, lets: closed},
		{name: "first knocks, 30,000 sources", packets: firsts, sources: some, lets: closed},
		{name: otherDoors, packets: firsts, sources: some + 1, lets: closed},
		{name: "first knock, then wrong; 30,000 sources", packets: steps(0, wrong), sources: some, hold: 2, lets: closed},
		{name: whole, packets: wholes, sources: some, hold: 5, before: 5 * some, lets: func(n int) int { return n / 5 }},
	}
}

func runDoors(ctx context.Context, env *Env) (r *Result, err error) {
	var contenders []contender
	for _, n := range doorCounts() {
		contenders = append(contenders, guardOf(n))
	}
	list := doorPatterns()
	all := make(costs)
	f := families()[0]
	stages, err := newStages(ctx, contenders, list[0], f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeStages(stages)) }()
	r = &Result{Plots: []Plot{{Name: "costs", Title: "What a packet costs with many doors",
		X: Axis{Label: "doors", Log: true}, Y: Axis{Label: "ns a packet"}}}}
	for i, p := range list {
		env.Log("%s", p.name)
		if err := all.measure(ctx, stages, p, f.block(i), env.share(len(list)*len(contenders))); err != nil {
			return nil, err
		}
		line := Line{Name: p.name}
		for i, c := range contenders {
			if v, ok := all.of(p.name, c.name); ok {
				line.Points = append(line.Points, [2]float64{float64(doorCounts()[i]), v})
			}
		}
		r.Plots[0].Lines = append(r.Plots[0].Lines, line)
		least, words := contenders[0], "one"
		if p.name == otherDoors {
			least, words = contenders[1], "ten"
		}
		few, ok1 := all.of(p.name, least.name)
		many, ok2 := all.of(p.name, contenders[len(contenders)-1].name)
		g := Goal{Text: p.name + ": 10,000 doors, of " + words, Bound: 1.2, Digits: 2}
		if g.Failed = "see the table"; ok1 && ok2 {
			g.Got, g.Failed = many/few, ""
		}
		r.Goals = append(r.Goals, g)
	}
	t := all.table("costs", contenders, list)
	t.Head = "ns a packet, by doors"
	r.Tables = []Table{t}
	return r, nil
}
