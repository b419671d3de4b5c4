package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Rounds of a measurement, and how much of the time goes into it. The rest is
// for setting up.
const (
	rounds    = 7
	measuring = 0.6
)

// share is what each of n samples gets of a budget.
func (env *Env) share(n int) effort {
	return effort{rounds: rounds, time: time.Duration(measuring * float64(env.Budget) / float64(n*rounds))}
}

// packets is the section about what a packet costs.
func packets() Section {
	return Section{Name: "packets", Title: "What a packet costs", Time: 165 * time.Second, Run: runPackets}
}

// costs are the samples of patterns, by pattern and contender.
type costs map[string]map[string]sample

func runPackets(ctx context.Context, env *Env) (*Result, error) {
	contenders := append(append(limits(), rules()...), processes()...)
	r := &Result{}
	lists := make(map[family][]pattern)
	n := 0
	for _, f := range families() {
		lists[f] = append(honest(), hostile()...)
		if f.six {
			lists[f] = append(lists[f], network()...)
		}
		n += len(lists[f]) * len(contenders)
	}
	for _, f := range families() {
		all := make(costs)
		for _, p := range lists[f] {
			if env.Match != nil && !env.Match.MatchString(f.String()+", "+p.name) {
				continue
			}
			env.Log("%s, %s", f, p.name)
			// What a pattern leaves behind is not the next one's to pay for.
			stages, err := newStages(ctx, contenders, p, f)
			if err != nil {
				return nil, err
			}
			err = all.measure(ctx, stages, p, f, env.share(n))
			if err := errors.Join(err, closeStages(stages)); err != nil {
				return nil, err
			}
		}
		if len(all) > 0 {
			r.Tables = append(r.Tables, all.table(f.String(), contenders, lists[f]))
		}
		r.Goals = append(r.Goals, all.goals(f)...)
	}
	return r, nil
}

// measure adds the samples of a pattern.
func (all costs) measure(ctx context.Context, stages []*stage, p pattern, f family, e effort) error {
	samples, err := measure(ctx, stages, p, f, e)
	all.add(p.name, stages, samples)
	return err
}

// measureEach adds the samples of patterns of one name.
func (all costs) measureEach(ctx context.Context, stages []*stage, list []pattern, f family, e effort) error {
	samples, err := measureEach(ctx, stages, list, f, e)
	all.add(list[0].name, stages, samples)
	return err
}

func (all costs) add(pattern string, stages []*stage, samples []sample) {
	all[pattern] = make(map[string]sample)
	for i, s := range samples {
		if stages[i] != nil {
			all[pattern][stages[i].name] = s
		}
	}
}

// table has a row for each pattern that was measured.
func (all costs) table(name string, contenders []contender, list []pattern) Table {
	t := Table{Name: name, Head: "ns a packet"}
	for _, c := range contenders {
		t.Columns = append(t.Columns, Column{Name: c.name})
	}
	for _, p := range list {
		if all[p.name] == nil {
			continue
		}
		row := Row{Name: p.name}
		for _, c := range contenders {
			cell := all[p.name][c.name].cell()
			if cell.None && c.four && name == (family{six: true}).String() {
				cell = Cell{Failed: "open"}
			}
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// of is the median; ok says that there is one.
func (all costs) of(pattern, contender string) (float64, bool) {
	c := all[pattern][contender].cell()
	return c.Value, c.Failed == "" && !c.None
}

// goals are those of the project about packets of one family.
func (all costs) goals(f family) []Goal {
	var goals []Goal
	add := func(g Goal, ok bool) {
		g.Text, g.Digits = f.String()+": "+g.Text, 2
		if ok {
			goals = append(goals, g)
		}
	}
	if !f.six { // the reference knows IPv4 alone
		for _, p := range []string{establishedTCP, establishedUDP, freshPublic, freshOther} {
			for _, base := range []string{empty, tracking} {
				of, ok1 := all.of(p, guard)
				peer, ok2 := all.of(p, reference)
				nothing, ok3 := all.of(p, base)
				add(Goal{Text: fmt.Sprintf("%s: what the guard adds to %s, of what the reference adds", p, base), Bound: 0.5,
					Got: (of - nothing) / (peer - nothing)}, ok1 && ok2 && ok3)
			}
		}
		for _, p := range []string{wrongOne, wrongMany, firstOne, firstSome, whole} {
			of, ok1 := all.of(p, guard)
			peer, ok2 := all.of(p, reference)
			add(Goal{Text: p + ": the guard, of the reference", Bound: 1, Got: of / peer}, ok1 && ok2)
		}
	}
	for _, c := range []string{guard, firewall} {
		g, ok := all.worst(c)
		add(g, ok)
	}
	return goals
}

// worst compares the dearest hostile pattern with random wrong knocks of one source.
func (all costs) worst(contender string) (Goal, bool) {
	base, ok := all.of(wrongOne, contender)
	dearest, name := 0.0, ""
	for _, p := range append(hostile(), network()...) {
		if v, ok := all.of(p.name, contender); ok && v > dearest {
			dearest, name = v, p.name
		}
	}
	return Goal{Text: fmt.Sprintf("%s: the dearest pattern (%s), of a random wrong knock", contender, name), Bound: 2, Got: dearest / base}, ok
}
