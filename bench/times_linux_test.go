package bench

import (
	"context"
	"regexp"
	"testing"
	"time"

	"tirl/internal/lab/labtest"
)

// TestTimes takes ten doors all the way, once.
func TestTimes(t *testing.T) {
	labtest.Require(t)
	r, err := runTimes(context.Background(), &Env{Budget: time.Millisecond, Match: regexp.MustCompile("^10$"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range r.Tables {
		if len(table.Rows) != 1 || len(table.Rows[0].Cells) != len(table.Columns) {
			t.Fatalf("%s: %+v", table.Name, table)
		}
		for i, c := range table.Rows[0].Cells {
			if c.Value <= 0 {
				t.Errorf("%s took %v", table.Columns[i].Name, c.Value)
			}
		}
	}
	if len(r.Goals) != 3 || r.Goals[0].Got <= 0 || r.Goals[0].Got >= r.Goals[2].Got {
		t.Errorf("goals: %+v", r.Goals)
	}
	m := MeasuredSection{Name: "times", Result: r}
	if text, err := m.text(); err != nil {
		t.Errorf("%v in %s", err, text)
	}
}
