package bench

import (
	"context"
	"regexp"
	"time"
)

// Section is one kind of measurement.
type Section struct {
	Name  string // of its template and its plots' files: a word in lower case
	Title string // its heading
	// Time is how long it should take in a usual run. Env.Budget is a multiple of it.
	Time time.Duration
	Run  func(ctx context.Context, env *Env) (*Result, error)
}

// Env is what the runner gives to a section.
type Env struct {
	// Budget is how long the section may take. Short of time it does fewer
	// repetitions and leaves out the largest sizes.
	Budget time.Duration
	// Match, if not nil, is for what a section measures one after the other: what does
	// not match is left out. The report is then not whole.
	Match *regexp.Regexp
	// Log tells the person who waits what is going on.
	Log func(format string, args ...any)
}

// Result is what a section has measured.
type Result struct {
	Tables []Table            `json:"tables,omitempty"`
	Plots  []Plot             `json:"plots,omitempty"`
	Goals  []Goal             `json:"goals,omitempty"`
	Values map[string]float64 `json:"values,omitempty"` // for the prose
}

// Table is a table, its first column being the rows' names.
type Table struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Head    string   `json:"head"` // of the first column
	Columns []Column `json:"columns"`
	Rows    []Row    `json:"rows"`
}

// Column is a column of numbers.
type Column struct {
	Name   string `json:"name"`
	Unit   string `json:"unit,omitempty"`
	Digits int    `json:"digits,omitempty"` // behind the point
}

// Row is a row of a table.
type Row struct {
	Name  string `json:"name"`
	Cells []Cell `json:"cells"`
}

// Cell is a number, or the reason why there is none.
type Cell struct {
	Value float64 `json:"value"`
	// Low and High are the quartiles of what Value is the median of; both 0: unknown.
	Low  float64 `json:"low,omitempty"`
	High float64 `json:"high,omitempty"`
	// Failed says why a contender has no value: the report shows it.
	Failed string `json:"failed,omitempty"`
	// None says that there is nothing to measure.
	None bool `json:"none,omitempty"`
}

// Plot is a drawing of lines.
type Plot struct {
	Name  string `json:"name"` // of its file, behind the section's
	Title string `json:"title"`
	X     Axis   `json:"x"`
	Y     Axis   `json:"y"`
	Lines []Line `json:"lines"`
	// Beside draws lines a little apart, that would else hide each other.
	Beside bool `json:"beside,omitempty"`
}

// Axis is an axis of a plot.
type Axis struct {
	Label string  `json:"label"`
	Log   bool    `json:"log,omitempty"`
	Min   float64 `json:"min,omitempty"` // both 0: what the points need
	Max   float64 `json:"max,omitempty"`
}

// Line is one contender's points, from left to right.
type Line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

// Goal is a bound that the project has set itself.
type Goal struct {
	Text  string  `json:"text"` // what is bounded
	Bound float64 `json:"bound"`
	Got   float64 `json:"got"`
	Unit  string  `json:"unit,omitempty"`
	// AtLeast is for goals that are met by more, not less.
	AtLeast bool `json:"at_least,omitempty"`
	Digits  int  `json:"digits,omitempty"`
	// Failed says why nothing could be measured. The goal is then missed.
	Failed string `json:"failed,omitempty"`
}

// Met says whether the goal is reached.
func (g Goal) Met() bool {
	switch {
	case g.Failed != "":
		return false
	case g.AtLeast:
		return g.Got >= g.Bound
	}
	return g.Got <= g.Bound
}
