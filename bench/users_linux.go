package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"tirl/internal/lab"
	"tirl/internal/policy"
)

// users is the section about what users with one-time values cost.
func users() Section {
	return Section{Name: "users", Title: "Up to a thousand users with one-time knocks", Time: 90 * time.Second,
		Run: func(ctx context.Context, env *Env) (*Result, error) { return runUsers(ctx, env, userCounts(), rounds) }}
}

// userCounts are the sizes that are measured.
func userCounts() []int { return []int{1, 10, 100, 1000} }

// guesses are datagrams of 16 random bytes, which no token is. There are so many that what
// they are looked up in does not stay in a cache.
func guesses(_ *stage, f family) []lab.Packet {
	random := rand.New(rand.NewPCG(7, 7))
	packets := make([]lab.Packet, 1<<16)
	for i := range packets {
		guess := make([]byte, policy.TokenBytes)
		for n := range guess {
			guess[n] = byte(random.Uint32())
		}
		packets[i] = f.token(guess)
	}
	return packets
}

// astray are first knocks, each with a wrong one behind it, ever another. Each source has
// a first knock of its own: there are a multiple of [wrongPorts].
func astray(s *stage, f family) []lab.Packet {
	var packets []lab.Packet
	first, ports := firsts(s, f), shuffled(firstWrong, lastWrong)
	for i, wrong := range f.datagrams(ports[:len(ports)/wrongPorts*wrongPorts]) {
		packets = append(packets, first[i%wrongPorts], wrong)
	}
	return packets
}

// userPatterns are what is sent to users of a kind. The first is what packets that spend
// a value are compared with.
func userPatterns(kind policy.OneTime) []pattern {
	closed := func(int) int { return 0 }
	if kind == policy.Token {
		return []pattern{
			{name: "tokens: 16 random bytes", packets: guesses, lets: closed},
			{name: "tokens: a wrong knock, of another length", packets: wrongKnocks, lets: closed},
		}
	}
	return []pattern{
		{name: "sequences: wrong knocks", packets: wrongKnocks, lets: closed},
		{name: "sequences: first knocks, 30,000 sources", packets: firsts, sources: some, lets: closed},
		{name: "sequences: first knock, then wrong; 30,000 sources", packets: astray, sources: some, hold: 2, lets: closed},
	}
}

// spendsOf names the packets that spend a value.
func spendsOf(kind policy.OneTime) string {
	if kind == policy.Token {
		return "tokens: one that opens"
	}
	return "sequences: the six knocks of one that opens"
}

func runUsers(ctx context.Context, env *Env, counts []int, rounds int) (*Result, error) {
	loads := Table{Name: "loads", Head: "users", Columns: []Column{
		{Name: "live values"}, {Name: "load them all", Unit: "s", Digits: 2}, {Name: "refill 250", Unit: "ms"},
		{Name: "kernel memory", Unit: "MB", Digits: 1}, {Name: "of a value", Unit: "bytes"},
		{Name: "clients meanwhile"}, {Name: "of them got in"},
	}}
	costs := Table{Name: "costs", Head: "ns a packet, by users"}
	for _, n := range counts {
		costs.Columns = append(costs.Columns, Column{Name: number(float64(n), 0)})
	}
	most := number(float64(counts[len(counts)-1]), 0)
	costs.Columns = append(costs.Columns, Column{Name: most + ", of one", Digits: 2})
	r := &Result{Plots: []Plot{{Name: "costs", Title: "What a packet costs by users with one-time values",
		X: Axis{Label: "users", Log: true}, Y: Axis{Label: "ns a packet"}}}}
	var met visits
	for _, kind := range []policy.OneTime{policy.Token, policy.Sequence} {
		all, rows, err := measureCrowds(ctx, env, kind, counts, rounds)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		for _, c := range all {
			loads.Rows = append(loads.Rows, c.row(kind))
			met.tries += c.visits.tries
			met.in += c.visits.in
		}
		for _, row := range rows {
			line := Line{Name: row.Name}
			for i, cell := range row.Cells {
				line.Points = append(line.Points, [2]float64{float64(counts[i]), cell.Value})
			}
			r.Plots[0].Lines = append(r.Plots[0].Lines, line)
			g := Goal{Text: fmt.Sprintf("%s: %s users, of one", row.Name, most), Bound: 1.5, Digits: 2}
			one, many := row.Cells[0], row.Cells[len(row.Cells)-1]
			ratio := Cell{Value: many.Value / one.Value}
			if one.Failed != "" || many.Failed != "" {
				ratio = Cell{Failed: "see the row"}
			}
			g.Got, g.Failed = ratio.Value, ratio.Failed
			r.Goals = append(r.Goals, g)
			row.Cells = append(row.Cells, ratio)
			costs.Rows = append(costs.Rows, row)
		}
	}
	r.Goals = append(r.Goals, Goal{Text: "clients that did not get in while values were loaded", Got: float64(met.tries - met.in)})
	r.Tables = []Table{loads, costs}
	return r, nil
}

// measureCrowds measures one kind of users: each size alone as it is loaded, all of them
// in turn as packets come. What it gives is closed.
func measureCrowds(ctx context.Context, env *Env, kind policy.OneTime, counts []int, rounds int) (crowds []*crowd, rows []Row, err error) {
	defer func() {
		for _, c := range crowds {
			err = errors.Join(err, c.Close())
		}
	}()
	var stages []*stage
	var contenders []contender
	for _, n := range counts {
		env.Log("%d users, %s", n, kind)
		c, err := newCrowd(ctx, kind, n)
		if err != nil {
			return crowds, nil, err
		}
		crowds, stages, contenders = append(crowds, c), append(stages, c.stage), append(contenders, c.contender)
	}
	f, list := families()[0], userPatterns(kind)
	env.Log("refills, %s", kind)
	for range 2 * rounds {
		for _, c := range crowds {
			if err := c.refill(ctx, f.block(15), list[0]); err != nil {
				return crowds, nil, fmt.Errorf("refill, %s users: %w", c.name, err)
			}
		}
	}
	all := make(costs)
	each := env.share(10 * len(counts)) // most of the time goes into loading
	each.rounds = rounds
	for i, p := range list {
		env.Log("%s", p.name)
		if err := all.measure(ctx, stages, p, f.block(i), each); err != nil {
			return crowds, nil, err
		}
	}
	rows = all.table("", contenders, list).Rows
	spend := Row{Name: spendsOf(kind)}
	for i, c := range crowds {
		spend.Cells = append(spend.Cells, c.spends(rows[0].Cells[i]))
	}
	return crowds, slices.Insert(rows, 1, spend), nil
}

// row is what loading has shown.
func (c *crowd) row(kind policy.OneTime) Row {
	memory, each := Cell{None: true}, Cell{None: true}
	if c.memory != 0 {
		memory, each = Cell{Value: float64(c.memory) / 1e6}, Cell{Value: float64(c.memory) / float64(len(c.live))}
	}
	return Row{Name: fmt.Sprintf("%s, %s", c.name, kind), Cells: []Cell{
		{Value: float64(len(c.live))}, {Value: c.took.Seconds()}, c.refills.cell(), memory, each,
		{Value: float64(c.visits.tries)}, {Value: float64(c.visits.in)},
	}}
}
