package verify_test

import (
	"runtime"
	"testing"

	"tirl/internal/lab/labtest"
	"tirl/internal/verify"
)

// Proofs of twice as many doors. What grows with the square of the doors is twice this.
const (
	fewDoors    = 500
	mostMemory  = 2.2 // times what is allocated for fewDoors; it is 2.0
	mostSeconds = 2.6 // times the processor's time; it is 2.1
)

// spent is what a proof of n doors costs: seconds of processor, and bytes allocated.
func spent(t *testing.T, n int) (seconds, bytes float64) {
	t.Helper()
	g := manyDoors(t, n, 4)
	rs := rendered(t, g)["nftables"]
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := labtest.CPUTime(t)
	if r := verify.Verify(g, rs, verify.Options{}); !r.Proved {
		t.Fatal(r.Err())
	}
	seconds = (labtest.CPUTime(t) - start).Seconds()
	runtime.ReadMemStats(&after)
	return seconds, float64(after.TotalAlloc - before.TotalAlloc)
}

// TestProofGrowsWithTheDoors: twice the doors take about twice as long. Nothing else of
// this package may run meanwhile. A machine that does something else may do more of it during
// the larger proof, but not each time.
func TestProofGrowsWithTheDoors(t *testing.T) {
	var seconds, bytes float64
	for range 3 {
		few, fewBytes := spent(t, fewDoors)
		many, manyBytes := spent(t, 2*fewDoors)
		seconds, bytes = many/few, manyBytes/fewBytes
		t.Logf("%d doors: %.2f s, %.0f MB; twice as many: %.2f times the time, %.2f times the memory", fewDoors, few, fewBytes/1e6, seconds, bytes)
		if seconds <= mostSeconds && bytes <= mostMemory {
			return
		}
	}
	t.Errorf("%.2f times the time, want at most %v; %.2f times the memory, want at most %v", seconds, mostSeconds, bytes, mostMemory)
}
