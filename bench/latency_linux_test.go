package bench

import (
	"os"
	"slices"
	"testing"
	"time"

	"tirl/internal/lab/labtest"
	"tirl/internal/tool"
)

// here are the gates that this machine can set up.
func here(t *testing.T) []gate {
	labtest.Require(t)
	return slices.DeleteFunc(gates(), func(g gate) bool {
		name := g.name
		if !g.daemon {
			name = "nft"
		}
		_, err := os.Stat(tool.Find(name))
		if err != nil {
			t.Logf("without %s", g.name)
		}
		return err != nil
	})
}

// Every gate opens to who knocks, rules to the packet that follows.
func TestOpenings(t *testing.T) {
	all, err := measureOpenings(t.Context(), here(t), 2, func(g gate) int {
		if g.daemon {
			return 2
		}
		return 30
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		switch {
		case o.failed != "":
			t.Errorf("%s: %s", o.name, o.failed)
		case len(o.times) != o.tries || !o.daemon && o.atOnce != o.tries || o.tries < 2:
			t.Errorf("%s opened %d of %d times, %d of them at once", o.name, len(o.times), o.tries, o.atOnce)
		}
	}
	if r := openingsResult(all); len(r.Goals) != 3 || len(r.Tables[0].Rows) != len(all) || len(r.Plots[0].Lines) != len(all) {
		t.Errorf("%+v", r)
	}
}

func TestOpeningsResult(t *testing.T) {
	of := func(name string, tries int, step time.Duration) *openings {
		o := &openings{gate: gate{contender: contender{name: name}}, tries: tries, steps: []time.Duration{time.Millisecond}}
		for i := range tries {
			o.times = append(o.times, time.Duration(i+1)*step)
		}
		return o
	}
	mine, knockd := of(guard, 1000, 2*time.Microsecond), of("knockd", 100, time.Millisecond)
	r := openingsResult([]*openings{mine, knockd, {gate: gate{contender: contender{name: "fwknopd"}}, failed: "not installed"}})
	got := r.Tables[0].Markdown()
	want := `From the last knock to the first SYN that is accepted.

| gate | p50, ms | p99, ms | p99.9, ms | resolution, ms | tries | opened | at the first SYN |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| tirl guard | 1.002 | 1.982 | 2.000 | 1.000 | 1,000 | 1,000 | 0 |
| knockd | 51.000 | 100.000 | - | 1.000 | 100 | 100 | 0 |
| fwknopd | failed: not installed | - | - | - | - | - | - |`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for i, met := range []bool{false, true, false} {
		if g := r.Goals[i]; g.Met() != met {
			t.Errorf("%+v", g)
		}
	}
	line := r.Plots[0].Lines[0].Points
	if len(line) > curvePoints+1 || line[len(line)-1] != [2]float64{2, 100} {
		t.Errorf("the curve is %v", line)
	}
	// A door that did not always open has no percentile beyond.
	knockd.times = knockd.times[:60]
	if _, ok := knockd.quantile(.99); ok {
		t.Error("a percentile of doors that did not open")
	}
	if d, ok := knockd.quantile(.5); !ok || d != 51*time.Millisecond {
		t.Errorf("the median is %v", d)
	}
}
