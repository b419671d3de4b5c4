package bench

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden plots")

func plots() map[string]Plot {
	many := Plot{Title: "many", X: Axis{Label: "doors", Log: true}, Y: Axis{Label: "ns a packet"}}
	for i := range 18 {
		v := float64(i)
		many.Lines = append(many.Lines, Line{Name: strings.Repeat("x", i), Points: [][2]float64{{1, v}, {100, v * 2}}})
	}
	curve := Line{Name: "curve"}
	for i := range 40 {
		curve.Points = append(curve.Points, [2]float64{float64(i+1) * 0.01, float64(i)})
	}
	return map[string]Plot{
		"empty": {},
		"sample": {Title: "x < y", X: Axis{Label: "sources", Log: true}, Y: Axis{Label: "ns & more"},
			Lines: []Line{{Name: "a & b", Points: [][2]float64{{1, 100}, {1e6, 730}}}, {Name: "empty"}}},
		"share": {Title: "share", X: Axis{Label: "packets a second", Log: true}, Y: Axis{Label: "% of clients", Max: 100}, Beside: true,
			Lines: []Line{{Name: "one", Points: [][2]float64{{1000, 100}, {300000, 100}}}, {Name: "two", Points: [][2]float64{{1000, 100}, {300000, 0}}}, {Name: "three"}}},
		"point": {X: Axis{Log: true}, Y: Axis{Log: true}, Lines: []Line{{Points: [][2]float64{{10, 10}}}}},
		"curve": {Title: "curve", X: Axis{Label: "milliseconds", Log: true}, Y: Axis{Label: "% of doors", Max: 100}, Lines: []Line{curve}},
		"many":  many,
	}
}

func TestPlots(t *testing.T) {
	for name, p := range plots() {
		t.Run(name, func(t *testing.T) {
			got := p.SVG()
			file := filepath.Join("testdata", name+".svg")
			if *update {
				if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, got, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v (go test -update writes it)", err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s differs (-want +got):\n%s", file, diff)
			}
			for _, bad := range []string{"NaN", "Inf", "%!", "href", "url(", "<script"} {
				if strings.Contains(string(got), bad) {
					t.Errorf("%q is in it", bad)
				}
			}
			for d := xml.NewDecoder(strings.NewReader(string(got))); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// What stands where: a value on its line, the number of a tick on its scale.
func TestPlotPlaces(t *testing.T) {
	p := Plot{X: Axis{Label: "doors", Log: true}, Y: Axis{Label: "ns"}, Lines: []Line{{Name: "a line", Points: [][2]float64{{1, 0}, {1000, 250}}}}}
	svg := string(p.SVG())
	for _, want := range []string{">1</text>", ">10</text>", ">1,000</text>", ">250</text>", ">doors</text>", ">ns</text>", ">a line</text>",
		"M74.0 368.0L590.0 56.0", "a line: from 0 at 1 to 250 at 1,000.", "prefers-color-scheme: dark"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in %s", want, svg)
		}
	}
	p.Lines = append(p.Lines, p.Lines[0])
	p.Beside = true
	if svg := string(p.SVG()); !strings.Contains(svg, "M74.0 366.8L590.0 54.8") || !strings.Contains(svg, "M74.0 369.2L590.0 57.2") {
		t.Errorf("lines are not beside each other in %s", svg)
	}
}
