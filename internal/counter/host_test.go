package counter

import (
	"tirl/internal/onetime"
)

// host is what a client's counterpart does with numbers, without any kernel: it
// holds a pool, spends what arrives, and refills.
type host struct {
	pool    int
	next    uint64 // the first number that was never loaded
	live    map[uint64]bool
	loaded  map[uint64]bool // ever
	highest uint64          // spent since the last refill
	spent   bool
	twice   []uint64 // numbers that were loaded again
}

func newHost(pool int) *host {
	h := &host{pool: pool, loaded: map[uint64]bool{}}
	h.lose()
	return h
}

func (h *host) load(i uint64) {
	if h.loaded[i] {
		h.twice = append(h.twice, i)
	}
	h.live[i], h.loaded[i] = true, true
	h.next = onetime.After(i, h.pool)
}

// lose is a boot: what was loaded is gone, and the pool begins with the next block.
func (h *host) lose() {
	h.live, h.spent = map[uint64]bool{}, false
	size := uint64(h.pool)
	// One behind the end of a block is the next that would be loaded, not one that was.
	first := (h.next + size - 1) / size * size
	if h.next%size == 1 && !h.loaded[h.next-1] {
		first = h.next - 1
	}
	h.load(first)
	h.fill()
}

// fill loads to the end of the block that the lowest live number is in, and further
// only if less than a quarter is live.
func (h *host) fill() {
	start := h.next
	for i := range h.live {
		start = min(start, i)
	}
	for size := uint64(h.pool); len(h.live) < h.pool && (h.next < (start+size)/size*size || len(h.live) < h.pool/4); {
		h.load(h.next)
	}
}

// refill ends all below the highest number that was spent.
func (h *host) refill() {
	if h.spent {
		for i := range h.live {
			if i < h.highest {
				delete(h.live, i)
			}
		}
	}
	h.spent = false
	h.fill()
}

// arrive says whether a value opens.
func (h *host) arrive(i uint64) bool {
	if !h.live[i] {
		return false
	}
	delete(h.live, i)
	if !h.spent || i > h.highest {
		h.highest, h.spent = i, true
	}
	return true
}
