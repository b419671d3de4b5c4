package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/verify"
)

// manyDoors is a policy of n doors with knocks sequences of k.
func manyDoors(t testing.TB, n, k int) *automaton.Program {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[door.d%d]\nopens = [\"tcp/22\"]\nknocks = [\"udp/%d\"", i, 1000+i*3%30000)
		for j := 1; j < k; j++ {
			fmt.Fprintf(&b, ", \"udp/%d\"", 31013+(i*7919+j*(104729+i))%30000)
		}
		b.WriteString("]\n")
	}
	return automatontest.Compile(t, b.String())
}

func BenchmarkVerify(b *testing.B) {
	for _, c := range []struct {
		kind     string
		n, knock int
	}{{"nftables", 1, 4}, {"nftables", 100, 4}, {"nftables", 1000, 4}, {"iptables", 1, 4}, {"iptables", 80, 4}} {
		b.Run(fmt.Sprintf("%s/%d", c.kind, c.n), func(b *testing.B) {
			g := manyDoors(b, c.n, c.knock)
			rs := rendered(b, g)[c.kind]
			b.ReportAllocs()
			for b.Loop() {
				if r := verify.Verify(g, rs, verify.Options{}); !r.Proved {
					b.Fatal(r.Err())
				}
			}
		})
	}
}
