package bench

import (
	"strings"
	"testing"
	"time"

	"tirl/internal/lab/labtest"
)

// TestUsers loads values of a few users, has packets spend some and refills the pool, while
// clients come by the knocks that the door has.
func TestUsers(t *testing.T) {
	labtest.Require(t)
	counts := []int{1, 8}
	r, err := runUsers(t.Context(), &Env{Budget: time.Millisecond, Log: t.Logf}, counts, 1)
	if err != nil {
		t.Fatal(err)
	}
	loads, costs := r.Tables[0], r.Tables[1]
	if len(loads.Rows) != 2*len(counts) {
		t.Errorf("%d rows of loads", len(loads.Rows))
	}
	for i, row := range loads.Rows {
		if want := float64(counts[i%len(counts)] * livePool); row.Cells[0].Value != want {
			t.Errorf("%s: %v live values, not %v", row.Name, row.Cells[0].Value, want)
		}
		if tries, in := row.Cells[5].Value, row.Cells[6].Value; tries < 1 || in != tries {
			t.Errorf("%s: %v of %v clients got in", row.Name, in, tries)
		}
	}
	for _, row := range costs.Rows {
		for _, c := range row.Cells {
			if c.Value <= 0 || c.Failed != "" {
				t.Errorf("%s: %+v", row.Name, c)
			}
		}
	}
	m := MeasuredSection{Name: "users", Result: r}
	text, err := m.text()
	if err != nil || !strings.Contains(text, "tokens: 16 random bytes") {
		t.Errorf("%v in %s", err, text)
	}
}
