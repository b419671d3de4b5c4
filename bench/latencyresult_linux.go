package bench

import (
	"fmt"
	"slices"
	"time"
)

// What a door is to be: open within so many milliseconds, and so many times sooner
// than with others.
const (
	openGoal       = 1.0
	knockdGoal     = 20
	fwknopdGoal    = 100
	curvePoints    = 100 // of a curve at most
	microsPerMilli = 1000
)

// quantiles that are told, where there are tries enough.
var quantiles = []struct {
	name string
	q    float64
}{{"p50", .5}, {"p99", .99}, {"p99.9", .999}}

// openingsResult tells what was measured.
func openingsResult(all []*openings) *Result {
	t := Table{Name: "opening", Title: "From the last knock to the first SYN that is accepted.", Head: "gate"}
	for _, q := range quantiles {
		t.Columns = append(t.Columns, Column{Name: q.name, Unit: "ms", Digits: 3})
	}
	t.Columns = append(t.Columns, Column{Name: "resolution", Unit: "ms", Digits: 3}, Column{Name: "tries"}, Column{Name: "opened"}, Column{Name: "at the first SYN"})
	p := Plot{Name: "opening", Title: "From the last knock to the open door", X: Axis{Label: "milliseconds", Log: true}, Y: Axis{Label: "% of doors that are open", Max: 100}}
	for _, o := range all {
		t.Rows = append(t.Rows, Row{Name: o.name, Cells: o.cells()})
		p.Lines = append(p.Lines, Line{Name: o.name, Points: o.curve()})
	}
	return &Result{Tables: []Table{t}, Plots: []Plot{p}, Goals: openingGoals(all)}
}

func (o *openings) cells() []Cell {
	var cells []Cell
	if o.failed != "" {
		cells = append(cells, Cell{Failed: o.failed})
		for range len(quantiles) + 3 {
			cells = append(cells, Cell{None: true})
		}
		return cells
	}
	for _, q := range quantiles {
		d, ok := o.quantile(q.q)
		cells = append(cells, Cell{Value: millis(d), None: !ok})
	}
	step := Cell{None: len(o.steps) == 0}
	if !step.None {
		step.Value = millis(o.steps[len(o.steps)/2])
	}
	return append(cells, step, Cell{Value: float64(o.tries)}, Cell{Value: float64(len(o.times))}, Cell{Value: float64(o.atOnce)})
}

// curve is the share of the tries that opened within a time.
func (o *openings) curve() [][2]float64 {
	var points [][2]float64
	step := max(1, len(o.times)/curvePoints)
	for i := 0; i < len(o.times); i += step {
		points = append(points, [2]float64{millis(o.times[i]), 100 * float64(i+1) / float64(o.tries)})
	}
	if n := len(o.times); n > 0 && (n-1)%step != 0 {
		points = append(points, [2]float64{millis(o.times[n-1]), 100 * float64(n) / float64(o.tries)})
	}
	return points
}

func millis(d time.Duration) float64 {
	return float64(d.Round(time.Nanosecond).Nanoseconds()) / 1e3 / microsPerMilli
}

// openingGoals compare with the guard's. Medians, since of a hundred tries of a
// process the slowest says little.
func openingGoals(all []*openings) []Goal {
	find := func(name string) *openings {
		if i := slices.IndexFunc(all, func(o *openings) bool { return o.name == name }); i >= 0 {
			return all[i]
		}
		return &openings{failed: "was not measured"}
	}
	mine := find(guard)
	first := Goal{Text: "A door is open within, p99", Bound: openGoal, Unit: "ms", Digits: 3, Failed: mine.failed}
	if d, ok := mine.quantile(.99); ok {
		first.Got = millis(d)
	} else if first.Failed == "" {
		first.Failed = "too few doors opened"
	}
	goals := []Goal{first}
	for _, other := range []struct {
		name  string
		bound float64
	}{{"knockd", knockdGoal}, {"fwknopd", fwknopdGoal}} {
		o := find(other.name)
		g := Goal{Text: fmt.Sprintf("Sooner than %s, medians", other.name), Bound: other.bound, Unit: "times", AtLeast: true, Failed: o.failed}
		its, ok := o.quantile(.5)
		own, too := mine.quantile(.5)
		if ok && too && own > 0 {
			g.Got = float64(its) / float64(own)
		} else if g.Failed == "" {
			g.Failed = "too few doors opened"
		}
		goals = append(goals, g)
	}
	return goals
}
