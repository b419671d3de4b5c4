package nft

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend/nftables"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
)

// tenThousandDoors renders a policy with about 40,000 edges.
func tenThousandDoors(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&b, "[door.d%d]\nopens = [\"tcp/22\"]\nknocks = [\"udp/%d\", \"udp/%d\", \"udp/%d\", \"udp/%d\"]\n",
			i, 2000+i%251, 20000+i*7%9973, 40000+i/97, 1000+i%977)
	}
	p, ds := policy.Parse("doors", []byte(b.String()))
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := nftables.New(nil).Render(g)
	if err != nil {
		t.Fatal(err)
	}
	return texts[0].Text
}

func TestTenThousandDoorsParseSoon(t *testing.T) {
	text := tenThousandDoors(t)
	start := labtest.CPUTime(t)
	r := mustParse(t, text)
	took := labtest.CPUTime(t) - start
	for _, s := range r.Sets {
		if s.Name == "step" && len(s.Elements) < 25000 {
			t.Errorf("step has %d elements", len(s.Elements))
		}
	}
	if took > time.Second {
		t.Errorf("parsing %d bytes took %v", len(text), took)
	}
}

func BenchmarkTenThousandDoors(b *testing.B) {
	text := tenThousandDoors(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, text)
	}
}
