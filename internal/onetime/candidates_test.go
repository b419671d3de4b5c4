package onetime

import (
	"math"
	"slices"
	"testing"
)

// The first number of a block is for pools that begin with it.
func TestCandidates(t *testing.T) {
	for _, tt := range []struct {
		c    uint64
		want []uint64
	}{
		{0, []uint64{0, 1, 16, 32}},
		{7, []uint64{7, 8, 16, 32}},
		{14, []uint64{14, 15, 16, 32}},
		{15, []uint64{15, 17, 16, 32}},
		{16, []uint64{16, 17, 32, 48}},
		{math.MaxUint64 - 16, []uint64{math.MaxUint64 - 16, math.MaxUint64 - 14, math.MaxUint64 - 15}},
		{math.MaxUint64, []uint64{math.MaxUint64}},
	} {
		if got := Candidates(tt.c, 16); !slices.Equal(got, tt.want) {
			t.Errorf("%d: %d, want %d", tt.c, got, tt.want)
		}
	}
}
