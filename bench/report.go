package bench

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed *.md.tmpl
var prose embed.FS

// Report is all that a run has measured.
type Report struct {
	Date     time.Time         `json:"date"`
	Machine  Machine           `json:"machine"`
	Sections []MeasuredSection `json:"sections"`
}

// MeasuredSection is a section's part of a report.
type MeasuredSection struct {
	Name   string        `json:"name"`
	Title  string        `json:"title"`
	Took   time.Duration `json:"took"`
	Date   time.Time     `json:"date"`
	Result *Result       `json:"result,omitempty"`
	Failed string        `json:"failed,omitempty"` // why there is no result
}

// Machine is what was measured on.
type Machine struct {
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Memory   int64             `json:"memory"` // bytes
	Kernel   string            `json:"kernel"`
	Arch     string            `json:"arch"`
	Versions map[string]string `json:"versions"` // of programs
}

// Paths of a report below the documentation's directory.
const (
	textFile = "benchmarks.md"
	plotDir  = "benchmarks"
	dataFile = plotDir + "/benchmarks.json"
)

// Read gives the report that was last written; an empty one if there is none.
func Read(docs string) (*Report, error) {
	text, err := os.ReadFile(filepath.Join(docs, dataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &Report{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", dataFile, err)
	}
	return r, nil
}

// Write writes the numbers, the plots and the text.
func (r *Report) Write(docs string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("write %s: %w", dataFile, err)
	}
	files := map[string][]byte{dataFile: append(data, '\n')}
	for _, s := range r.Sections {
		if s.Result == nil {
			continue
		}
		for _, p := range s.Result.Plots {
			files[plotFile(s.Name, p.Name)] = p.SVG()
		}
	}
	if err := os.MkdirAll(filepath.Join(docs, plotDir), 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(docs, plotDir, "*.svg"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(docs, name), content, 0o644); err != nil {
			return err
		}
	}
	// Last, so that an error in a template does not lose what was measured.
	text, err := r.Text()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(docs, textFile), []byte(text), 0o644)
}

func plotFile(section, plot string) string { return plotDir + "/" + section + "-" + plot + ".svg" }

// Text is the report for people.
func (r *Report) Text() (string, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"sections": func() (string, error) { return r.sections() },
		"goals":    func() string { return r.goals() },
		"gib":      func(n int64) string { return strconv.FormatFloat(float64(n)/(1<<30), 'f', 0, 64) },
	}).ParseFS(prose, "report.md.tmpl")
	if err != nil {
		return "", fmt.Errorf("read the report's template: %w", err)
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, "report.md.tmpl", r); err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	return b.String(), nil
}

func (r *Report) goals() string {
	var b strings.Builder
	for _, s := range r.Sections {
		if s.Result != nil {
			writeGoals(&b, s.Result.Goals)
		}
	}
	return goalsHead + b.String()
}

func (r *Report) sections() (string, error) {
	var b strings.Builder
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "## %s\n\n", s.Title)
		if s.Result == nil {
			fmt.Fprintf(&b, "**Failed**: %s\n\n", s.Failed)
			continue
		}
		text, err := s.text()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(text))
	}
	return strings.TrimSpace(b.String()), nil
}

func (s MeasuredSection) text() (string, error) {
	name := s.Name + ".md.tmpl"
	source, err := prose.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		source = []byte("{{range .Tables}}{{table .Name}}\n\n{{end}}{{range .Plots}}{{plot .Name}}\n\n{{end}}{{if .Goals}}{{goals}}{{end}}")
	} else if err != nil {
		return "", err
	}
	t, err := template.New(name).Funcs(template.FuncMap{
		"table": s.table, "plot": s.plot, "value": s.value,
		"goals": func() string {
			var b strings.Builder
			writeGoals(&b, s.Result.Goals)
			return goalsHead + b.String()
		},
	}).Parse(string(source))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, s.Result); err != nil {
		return "", fmt.Errorf("write the section %s: %w", s.Name, err)
	}
	return b.String(), nil
}

func (s MeasuredSection) table(name string) (string, error) {
	for _, t := range s.Result.Tables {
		if t.Name == name {
			return t.Markdown(), nil
		}
	}
	return "", fmt.Errorf("no table %q", name)
}

func (s MeasuredSection) plot(name string) (string, error) {
	for _, p := range s.Result.Plots {
		if p.Name == name {
			return fmt.Sprintf("![%s](%s)", p.Title, plotFile(s.Name, p.Name)), nil
		}
	}
	return "", fmt.Errorf("no plot %q", name)
}

func (s MeasuredSection) value(name string) (float64, error) {
	v, ok := s.Result.Values[name]
	if !ok {
		return 0, fmt.Errorf("no value %q", name)
	}
	return v, nil
}

// Markdown writes the table.
func (t Table) Markdown() string {
	var b strings.Builder
	if t.Title != "" {
		fmt.Fprintf(&b, "%s\n\n", t.Title)
	}
	fmt.Fprintf(&b, "| %s |", t.Head)
	for _, c := range t.Columns {
		b.WriteString(" " + c.Name)
		if c.Unit != "" {
			b.WriteString(", " + c.Unit)
		}
		b.WriteString(" |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" ---: |", len(t.Columns)) + "\n")
	for _, row := range t.Rows {
		fmt.Fprintf(&b, "| %s |", row.Name)
		for i, c := range row.Cells {
			fmt.Fprintf(&b, " %s |", c.text(t.Columns[i].Digits))
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (c Cell) text(digits int) string {
	switch {
	case c.Failed != "":
		return "failed: " + strings.ReplaceAll(c.Failed, "|", "\\|")
	case c.None:
		return "-"
	}
	return number(c.Value, digits)
}

// number writes a number with commas between thousands.
func number(v float64, digits int) string {
	whole, part, point := strings.Cut(strconv.FormatFloat(v, 'f', digits, 64), ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		part = "." + part
	}
	return sign + whole + part
}

const goalsHead = "| goal | bound | measured | |\n| --- | ---: | ---: | --- |\n"

func writeGoals(b *strings.Builder, goals []Goal) {
	for _, g := range goals {
		unit := ""
		if g.Unit != "" {
			unit = " " + g.Unit
		}
		relation, verdict := "at most ", "met"
		if g.AtLeast {
			relation = "at least "
		}
		if !g.Met() {
			verdict = "**missed**"
		}
		got := number(g.Got, g.Digits) + unit
		if g.Failed != "" {
			got = "failed: " + g.Failed
		}
		fmt.Fprintf(b, "| %s | %s%s%s | %s | %s |\n", g.Text, relation, number(g.Bound, g.Digits), unit, got, verdict)
	}
}
