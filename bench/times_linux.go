package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// times is the section about how long an administrator waits.
func times() Section {
	return Section{Name: "times", Title: "From a policy to the kernel", Time: 2 * time.Minute, Run: runTimes}
}

// timed is a thing that is timed at one size, several times over.
type timed struct {
	name   string
	before func() error // what is not timed; may be nil
	run    func() error
}

const mostRounds = 5

// waits are how long things took, in milliseconds, by name.
type waits map[string]*sample

// take times each thing in turn, until the time is up.
func (w waits) take(things []timed, until time.Time) error {
	for round := range mostRounds {
		if round > 0 && time.Now().After(until) {
			return nil
		}
		for _, t := range things {
			if t.before != nil {
				if err := t.before(); err != nil {
					return fmt.Errorf("prepare %s: %w", t.name, err)
				}
			}
			runtime.GC() // what others have left behind is not this one's to clear up
			start := time.Now()
			err := t.run()
			took := time.Since(start)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			if w[t.name] == nil {
				w[t.name] = &sample{}
			}
			w[t.name].costs = append(w[t.name].costs, float64(took.Microseconds())/1000)
		}
	}
	return nil
}

// sum is the sum of some medians.
func (w waits) sum(names ...string) float64 {
	total := 0.0
	for _, name := range names {
		total += w[name].cell().Value
	}
	return total
}

func runTimes(ctx context.Context, env *Env) (*Result, error) {
	steps := Table{Name: "steps", Title: "What is done to a policy, step by step", Head: "doors"}
	commands := Table{Name: "commands", Title: "What people wait for", Head: "doors"}
	plot := Plot{Name: "doors", Title: "Time by the number of doors", X: Axis{Label: "doors", Log: true}, Y: Axis{Label: "ms", Log: true}}
	r := &Result{}
	begun := time.Now()
	var last time.Duration // of a round
	for i, n := range doorCounts() {
		if env.Match != nil && !env.Match.MatchString(number(float64(n), 0)) {
			continue
		}
		// Ten times as many doors take about ten times as long, once there are many.
		if left := env.Budget - time.Since(begun); n >= 1000 && 10*last > left {
			env.Log("%d doors and more are left out", n)
			break
		}
		env.Log("%d doors", n)
		start := time.Now()
		until := start.Add((env.Budget - time.Since(begun)) / time.Duration(len(doorCounts())-i))
		h, err := newHurry(n)
		if err != nil {
			return nil, err
		}
		took := make(waits)
		halfway := start.Add(until.Sub(start) / 2)
		err = errors.Join(took.take(h.steps(ctx), halfway), took.take(h.commands(ctx), until), h.close())
		if err != nil {
			return nil, fmt.Errorf("%d doors: %w", n, err)
		}
		steps.add(n, h.steps(ctx), took)
		commands.add(n, h.commands(ctx), took)
		plot.add(n, append(h.steps(ctx), h.commands(ctx)...), took)
		r.Goals = timeGoals(n, took)
		last = time.Since(start) / time.Duration(len(took[commandApply].costs))
	}
	r.Tables, r.Plots = []Table{steps, commands}, []Plot{plot}
	return r, nil
}

// timeGoals are those of the largest number of doors.
func timeGoals(n int, took waits) []Goal {
	doors := number(float64(n), 0) + " doors: "
	goal := func(text string, bound float64, names ...string) Goal {
		return Goal{Text: doors + text, Bound: bound, Got: took.sum(names...) / 1000, Unit: "s", Digits: 1}
	}
	return []Goal{
		goal("check, compile and render", 1, stepCheck, stepCompile, stepRender),
		goal("loaded", 3, stepLoad),
		goal("proved and loaded, all that `tirl apply` does", 10, commandApply),
	}
}

func (t *Table) add(n int, things []timed, took waits) {
	row := Row{Name: number(float64(n), 0)}
	t.Columns = nil
	for _, thing := range things {
		t.Columns = append(t.Columns, Column{Name: thing.name, Unit: "ms", Digits: 1})
		row.Cells = append(row.Cells, took[thing.name].cell())
	}
	t.Rows = append(t.Rows, row)
}

func (p *Plot) add(n int, things []timed, took waits) {
	for _, t := range things {
		i := slices.IndexFunc(p.Lines, func(l Line) bool { return l.Name == t.name })
		if i < 0 {
			i = len(p.Lines)
			p.Lines = append(p.Lines, Line{Name: t.name})
		}
		p.Lines[i].Points = append(p.Lines[i].Points, [2]float64{float64(n), took[t.name].cell().Value})
	}
}
