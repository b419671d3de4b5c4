package bench

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sampleSection() Section {
	return Section{Name: "sample", Title: "A sample", Time: time.Second, Run: func(_ context.Context, env *Env) (*Result, error) {
		return &Result{
			Tables: []Table{{Name: "t", Title: "How long.", Head: "who",
				Columns: []Column{{Name: "time", Unit: "ns"}, {Name: "ratio", Digits: 2}},
				Rows: []Row{
					{Name: "one", Cells: []Cell{{Value: 1234567.4}, {Value: 0.5}}},
					{Name: "two", Cells: []Cell{{Failed: "a|b"}, {None: true}}},
				}}},
			Plots: []Plot{{Name: "p", Title: "x < y", X: Axis{Label: "doors", Log: true}, Y: Axis{Label: "ns"},
				Lines: []Line{{Name: "a & b", Points: [][2]float64{{1, 100}, {10, 730}, {1000, 0}}}, {Name: "empty"}}}},
			Goals: []Goal{
				{Text: "less", Bound: 2, Got: 1.5, Digits: 1}, {Text: "more", Bound: 20, Got: 19, Unit: "times", AtLeast: true},
				{Text: "neither", Bound: 1, Failed: "no such thing"},
			},
			Values: map[string]float64{"budget": env.Budget.Seconds()},
		}, nil
	}}
}

func TestReport(t *testing.T) {
	docs := t.TempDir()
	stale := filepath.Join(docs, plotDir, "gone-x.svg")
	if err := errors.Join(os.Mkdir(filepath.Dir(stale), 0o755), os.WriteFile(stale, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	broken := Section{Name: "broken", Title: "Broken", Run: func(context.Context, *Env) (*Result, error) { return nil, errors.New("it broke") }}
	all := []Section{sampleSection(), broken}
	r := &Report{Machine: Machine{CPU: "abacus", Memory: 3 << 30}}
	err := r.Run(t.Context(), all, Options{Factor: 2, Log: t.Logf})
	if err == nil || err.Error() != "section broken: it broke" {
		t.Errorf("got %v", err)
	}
	if err := r.Write(docs); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("the plot of a section that is no more is still there")
	}
	text, err := os.ReadFile(filepath.Join(docs, textFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"abacus", "3 GiB",
		"| who | time, ns | ratio |\n| --- | ---: | ---: |\n| one | 1,234,567 | 0.50 |\n| two | failed: a\\|b | - |\n",
		"![x < y](benchmarks/sample-p.svg)",
		"| less | at most 2.0 | 1.5 | met |\n", "| more | at least 20 times | 19 times | **missed** |\n",
		"| neither | at most 1 | failed: no such thing | **missed** |\n",
		"## Broken\n\n**Failed**: it broke\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
	again, err := Read(docs)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Sections[0].Result.Values["budget"]; got != 2 {
		t.Errorf("the budget was %v s, want 2", got)
	}
	// What cannot be written is no result, and takes nothing else along.
	all[1].Run = func(context.Context, *Env) (*Result, error) {
		return &Result{Values: map[string]float64{"x": math.NaN()}}, nil
	}
	if err := again.Run(t.Context(), all, Options{Factor: 1, Only: []string{"broken"}, Log: t.Logf}); err == nil || again.Sections[1].Failed == "" || again.Write(docs) != nil {
		t.Errorf("got %v, %+v", err, again.Sections[1])
	}
	// One section anew, the other as it was.
	all[0].Run = func(context.Context, *Env) (*Result, error) { return nil, errors.New("not asked") }
	all[1].Run = func(context.Context, *Env) (*Result, error) { return &Result{}, nil }
	if err := again.Run(t.Context(), all, Options{Factor: 1, Only: []string{"broken"}, Log: t.Logf}); err != nil {
		t.Error(err)
	}
	if again.Sections[0].Result == nil || again.Sections[1].Failed != "" {
		t.Errorf("got %+v", again.Sections)
	}
	if err := again.Run(t.Context(), all, Options{Only: []string{"other"}}); err == nil {
		t.Error("a section that is not there was run")
	}
	if empty, err := Read(t.TempDir()); err != nil || len(empty.Sections) != 0 {
		t.Errorf("%+v, %v", empty, err)
	}
}

// TestWritten: the report in docs is what its numbers and the templates make.
func TestWritten(t *testing.T) {
	r, err := Read("../docs")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Sections) == 0 {
		t.Skip("nothing was measured yet")
	}
	want, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../docs/benchmarks.md")
	if err != nil || string(got) != want {
		t.Errorf("%v; write it anew: go run ./bench/cmd/bench -write", err)
	}
}
