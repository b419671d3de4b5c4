package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// flood is the section about who gets in while others flood the server.
func flood() Section {
	return Section{Name: "flood", Title: "Who gets in during a flood", Time: floodTime, Run: runFlood}
}

const (
	floodTime = 4 * time.Minute
	// Of so many honest clients in a usual run; processes get fewer.
	floodTries = 100
)

// Of 100 honest clients so many are to get in.
const floodGoal = 99

// sieges are all that was measured of a section.
type sieges struct {
	env   *Env
	begun time.Time
	// By gate, assault and rate. What is not there was left out.
	results map[siegeKey]result
}

type siegeKey struct {
	gate, assault string
	rate          int
}

func runFlood(ctx context.Context, env *Env) (*Result, error) {
	s := &sieges{env, time.Now(), make(map[siegeKey]result)}
	base := append([]gate{unguarded()}, gates()...)
	r := &Result{}
	for _, a := range assaults() {
		all := base
		switch a.name {
		case knownFlood:
			all = append(slices.Clip(base), widened())
		case ownFlood:
			all = append(slices.Clip(base), aloof())
		}
		if err := s.measure(ctx, a, all); err != nil {
			return nil, err
		}
		r.Tables = append(r.Tables, s.table(a, all))
		r.Plots = append(r.Plots, s.plots(a, all)...)
		r.Goals = append(r.Goals, s.goals(a)...)
	}
	limit, err := limitOfSources(ctx, env)
	if err != nil {
		return nil, err
	}
	r.Tables = append(r.Tables, limit)
	return r, nil
}

// measure has each gate stand each rate of an assault, the gates in turn.
func (s *sieges) measure(ctx context.Context, a assault, gates []gate) error {
	for _, rate := range append([]int{none}, a.rates...) {
		if time.Since(s.begun) > 2*s.env.Budget {
			s.env.Log("%s: no time for %s", a.title, rateName(a, rate))
			continue
		}
		s.env.Log("%s, %s", a.title, rateName(a, rate))
		var all []siege
		for _, g := range gates {
			if _, done := s.results[s.key(a, g, rate)]; !done && !s.hopeless(a, g, rate) {
				all = append(all, siege{g, a, rate, s.tries(a, g)})
			}
		}
		results, err := runSieges(ctx, all)
		if err != nil {
			return err
		}
		for i, r := range results {
			s.results[s.key(a, all[i].gate, rate)] = r
		}
	}
	return nil
}

// key makes no difference between kinds of no flood.
func (s *sieges) key(a assault, g gate, rate int) siegeKey {
	if rate == none && !(a.fills && g.tirl) {
		return siegeKey{gate: g.name, rate: none}
	}
	return siegeKey{g.name, a.name, rate}
}

func (s *sieges) tries(a assault, g gate) int {
	if a.shared > 0 && !g.daemon {
		return a.shared
	}
	n := float64(floodTries*g.few) / 100 * float64(s.env.Budget) / float64(floodTime)
	return min(max(int(n), 4), 10*floodTries)
}

// hopeless says that nobody got in at two lower rates: then it takes time to no end
// to wait for processes.
func (s *sieges) hopeless(a assault, g gate, rate int) bool {
	i := slices.Index(a.rates, rate)
	if i < 2 || !g.daemon {
		return false
	}
	for _, lower := range a.rates[i-2 : i] {
		if r, ok := s.results[s.key(a, g, lower)]; ok && (r.visits[knocks].in > 0 || r.failed != "") {
			return false
		}
	}
	return true
}

// rateName is the head of a column.
func rateName(a assault, rate int) string {
	switch rate {
	case none:
		return "no flood"
	case full:
		return "full speed"
	}
	return number(float64(rate)/float64(max(a.shared, 1)), 0) + "/s"
}

// row is a line of a table and of a plot.
type row struct {
	name string
	gate gate
	kind client
}

// rows are those of an assault's table: a gate each, and with those of tirl the
// clients that need not knock.
func (s *sieges) rows(a assault, gates []gate) []row {
	var all []row
	for _, g := range gates {
		all = append(all, row{g.name, g, knocks})
	}
	for _, g := range gates {
		if g.tirl && a.fills && a.name == knownFlood {
			all = append(all, row{g.name + ": open doors", g, granted}, row{g.name + ": `trust`", g, trusted})
		}
	}
	return all
}

func (s *sieges) table(a assault, gates []gate) Table {
	t := Table{Name: a.name, Title: fmt.Sprintf("**%s**: of a hundred clients so many got in; columns are %s.", a.title, a.unit), Head: "gate"}
	rates := append([]int{none}, a.rates...)
	for _, rate := range rates {
		t.Columns = append(t.Columns, Column{Name: rateName(a, rate)})
	}
	for _, r := range s.rows(a, gates) {
		line := Row{Name: r.name}
		for _, rate := range rates {
			line.Cells = append(line.Cells, s.cell(a, r, rate))
		}
		t.Rows = append(t.Rows, line)
	}
	for _, g := range gates {
		if g.open || g.name == guard {
			t.Rows = append(t.Rows, Row{Name: g.name + ": packets received, %", Cells: s.received(a, g, rates)})
		}
	}
	return t
}

// received is how much of the floods a server had room for in its queue.
func (s *sieges) received(a assault, g gate, rates []int) []Cell {
	var cells []Cell
	for _, rate := range rates {
		r, ok := s.results[s.key(a, g, rate)]
		cells = append(cells, Cell{Value: 100 * r.taken, None: !ok || r.sent == 0})
	}
	return cells
}

func (s *sieges) cell(a assault, r row, rate int) Cell {
	got, ok := s.results[s.key(a, r.gate, rate)]
	v := got.visits[r.kind]
	return Cell{Value: v.share(), Failed: got.failed, None: !ok || v.tries == 0}
}

// plots draw the table, clients that need not knock by themselves.
func (s *sieges) plots(a assault, gates []gate) []Plot {
	y := Axis{Label: "% of clients that get in", Max: 100}
	who := Plot{Name: a.name, Title: a.title + ": who knocks", X: Axis{Label: a.unit, Log: true}, Y: y, Beside: true}
	others := who
	others.Name, others.Title = a.name+"-others", a.title+": who need not knock"
	for _, r := range s.rows(a, gates) {
		l := Line{Name: strings.ReplaceAll(r.name, "`", "")}
		for _, rate := range a.rates {
			got := s.results[s.key(a, r.gate, rate)]
			if v := got.visits[r.kind]; v.tries > 0 {
				l.Points = append(l.Points, [2]float64{got.sent / float64(max(a.shared, 1)), v.share()})
			}
		}
		if r.kind == knocks {
			who.Lines = append(who.Lines, l)
		} else {
			others.Lines = append(others.Lines, l)
		}
	}
	if len(others.Lines) == 0 {
		return []Plot{who}
	}
	return []Plot{who, others}
}

// goals are about the worst of the rates that the machine carries: at which packets get
// through where there is no gate.
func (s *sieges) goals(a assault) []Goal {
	var all []Goal
	add := func(kind client, who, text string, rates []int) {
		g := Goal{Text: fmt.Sprintf("%s, %s: %s", who, a.title, text), Bound: floodGoal, Got: 100, Unit: "%", AtLeast: true}
		for _, rate := range rates {
			if limit, ok := s.results[siegeKey{unguarded().name, a.name, rate}]; ok && limit.visits[knocks].share() < floodGoal {
				continue
			}
			r, ok := s.results[siegeKey{who, a.name, rate}]
			if g.Failed = r.failed; !ok {
				g.Failed = "there was no time"
			}
			if g.Failed != "" {
				break
			}
			g.Got = min(g.Got, r.visits[kind].share())
		}
		all = append(all, g)
	}
	for _, who := range []string{guard, firewall} {
		switch a.name {
		case portsFlood, spoofedFlood:
			add(knocks, who, "clients that knock get in", a.rates)
		case knownFlood:
			within := a.rates[:slices.Index(a.rates, 5000)+1]
			add(knocks, who, "clients that knock get in up to "+rateName(a, within[len(within)-1]), within)
			add(granted, who, "open doors stay open", a.rates)
			add(trusted, who, "`trust` gets in", a.rates)
		}
	}
	return all
}
