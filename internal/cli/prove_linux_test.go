package cli

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
)

// manyDoors is a policy of n doors with sequences that begin alike by tens, for three services.
func manyDoors(t *testing.T, n int) *automaton.Program {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[door.d%d]\nopens = [\"tcp/%d\"]\nknocks = [\"udp/%d\", \"udp/%d\", \"tcp/%d\", \"udp/%d\"]\n",
			i, 22+i%3, 20000+i/10, 30011+7*i, 40000+11*i, 50003+13*i)
	}
	p, found := policy.Parse("policy.toml", []byte(b.String()))
	if found.HasErrors() {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestHundredDoorsAreProvedSoon: apply proves before it loads, and nobody waits for it.
func TestHundredDoorsAreProvedSoon(t *testing.T) {
	g := manyDoors(t, 100)
	for _, k := range kinds() {
		t.Run(k.Name, func(t *testing.T) {
			files, err := k.New(nil).Render(g)
			if err != nil {
				t.Fatal(err)
			}
			start := labtest.CPUTime(t)
			if err := (&app{err: io.Discard}).prove(g, k.Name, files, false); err != nil {
				t.Fatal(err)
			}
			took := labtest.CPUTime(t) - start
			t.Logf("%v of the processor", took)
			// Half a second; with -race some times as long.
			if took > 5*time.Second {
				t.Errorf("it took %v of the processor", took)
			}
		})
	}
}
