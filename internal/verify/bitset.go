package verify

import "math/bits"

// bitset is a set of small numbers. One that others may hold is never changed.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func fullBitset(n int) bitset {
	s := newBitset(n)
	for i := range n {
		s.add(i)
	}
	return s
}

func (s bitset) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s bitset) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }

func (s bitset) hasAny(lo, hi int) bool {
	for i := lo; i < hi; i++ {
		if s.has(i) {
			return true
		}
	}
	return false
}

func (s bitset) empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

func (s bitset) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

func (s bitset) and(t bitset) bitset {
	out := make(bitset, len(s))
	for i := range s {
		out[i] = s[i] & t[i]
	}
	return out
}

func (s bitset) without(t bitset) bitset {
	out := make(bitset, len(s))
	for i := range s {
		out[i] = s[i] &^ t[i]
	}
	return out
}

func (s bitset) or(t bitset) bitset {
	out := make(bitset, len(s))
	for i := range s {
		out[i] = s[i] | t[i]
	}
	return out
}

// within says whether every number of s is in t.
func (s bitset) within(t bitset) bool {
	for i := range s {
		if s[i]&^t[i] != 0 {
			return false
		}
	}
	return true
}

func (s bitset) meets(t bitset) bool {
	for i := range s {
		if s[i]&t[i] != 0 {
			return true
		}
	}
	return false
}

// first gives the smallest number, or -1.
func (s bitset) first() int {
	for i, w := range s {
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// each yields the numbers in order.
func (s bitset) each(yield func(int) bool) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			if !yield(i*64 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}
