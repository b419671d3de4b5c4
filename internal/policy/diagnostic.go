package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Severity says how much a diagnostic weighs.
type Severity string

const (
	// Error refuses the policy: nothing is loaded.
	Error Severity = "error"
	// Warning leaves the policy as it is.
	Warning Severity = "warning"
)

// Diagnostic is one thing that is wrong with a policy file.
type Diagnostic struct {
	File     string   // as given to Parse
	Pos      Position // the zero Position: the file as a whole
	Severity Severity
	Text     string // lower case, one line, no full stop
	Hint     string // what to do about it; may be empty

	excerpt string // the source line, or the part of it around the column
	before  int    // characters of excerpt before the column
}

// Diagnostics are all that is wrong with a policy file, in the order of the file.
type Diagnostics []Diagnostic

// HasErrors says whether there is more than warnings.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Sort puts the diagnostics into the order of the file. Those of one position
// keep their order, those of the file as a whole come first.
func (ds Diagnostics) Sort() {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int { return a.Pos.Compare(b.Pos) })
}

// Compare orders positions as a file is read.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// IsZero says whether the position stands for the file as a whole.
func (p Position) IsZero() bool { return p == Position{} }

// location gives the file, line and column in the form that editors know.
func (d Diagnostic) location() string {
	if d.Pos.IsZero() {
		return d.File
	}
	return fmt.Sprintf("%s:%d:%d", d.File, d.Pos.Line, d.Pos.Column)
}

// String gives the first line of a diagnostic, without colour.
func (d Diagnostic) String() string {
	return d.location() + ": " + string(d.Severity) + ": " + d.Text
}

// MarshalJSON gives the keys file, line, column, severity, text and hint. Line
// and column are 0 for the file as a whole.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		File     string   `json:"file"`
		Line     int      `json:"line"`
		Column   int      `json:"column"`
		Severity Severity `json:"severity"`
		Text     string   `json:"text"`
		Hint     string   `json:"hint"`
	}{d.File, d.Pos.Line, d.Pos.Column, d.Severity, d.Text, d.Hint})
}

// maxDiagnostics bounds how many diagnostics of each severity are kept: a file
// of nothing but mistakes must not give an answer that is larger than itself.
const maxDiagnostics = 200

// reporter collects the diagnostics of one source.
type reporter struct {
	src     *sourceText
	list    Diagnostics
	kept    map[Severity]int
	dropped map[Severity]int
}

func newReporter(src *sourceText) *reporter {
	return &reporter{src: src, kept: map[Severity]int{}, dropped: map[Severity]int{}}
}

// errorf reports an error at a byte offset; one below 0 means the whole file.
func (r *reporter) errorf(offset int, hint, format string, args ...any) {
	if !r.isFull(Error) {
		r.add(offset, Error, fmt.Sprintf(format, args...), hint)
	}
}

// warnf does the same for a warning.
func (r *reporter) warnf(offset int, hint, format string, args ...any) {
	if !r.isFull(Warning) {
		r.add(offset, Warning, fmt.Sprintf(format, args...), hint)
	}
}

func (r *reporter) add(offset int, severity Severity, text, hint string) {
	r.kept[severity]++
	r.list = append(r.list, r.src.diagnostic(r.src.position(offset), severity, text, hint))
}

// isFull says that one more diagnostic would not be kept, and counts it: where a
// hint costs time, it need not be looked for.
func (r *reporter) isFull(severity Severity) bool {
	if r.kept[severity] < maxDiagnostics {
		return false
	}
	r.dropped[severity]++
	return true
}

func (r *reporter) hasErrors() bool { return r.kept[Error] > 0 }

// done gives the sorted diagnostics, and says how many were left out.
func (r *reporter) done() Diagnostics {
	r.list.Sort()
	for _, s := range []Severity{Error, Warning} {
		if n := r.dropped[s]; n > 0 {
			r.list = append(r.list, Diagnostic{File: r.src.file, Severity: s,
				Text: fmt.Sprintf("%d more of the kind %q are not shown", n, string(s))})
		}
	}
	return r.list
}

func (s *sourceText) diagnostic(at Position, severity Severity, text, hint string) Diagnostic {
	d := Diagnostic{File: s.file, Pos: at, Severity: severity, Text: text, Hint: hint}
	d.excerpt, d.before = s.excerpt(at)
	return d
}
