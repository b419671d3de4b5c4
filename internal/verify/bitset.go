package verify

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// bitset is a set of numbers from 0 to below some n. One that others may hold is never
// changed. A nil bitset is no set.
type bitset = *numbers

// numbers are those of base, but for a few odd ones: the odd ones that base has are not
// in the set, and those that it does not have are. With many doors there are tens of
// thousands of ports, but all the sets that a proof comes by are some dozen large ones,
// each with a few ports more or less: of the large ones everything is worked out once.
type numbers struct {
	n    int
	base *dense   // nil: it has none
	odd  []int32  // in order
	own  bool     // no other set has this base, and nothing is known of it but its bits
	few  [5]int32 // room for odd, mostly enough
}

// maxOdd is how many odd numbers a set may have before it gets a base of its own.
const maxOdd = 48

// dense is a set as bits.
type dense struct {
	words []uint64
	count int
	low   int // no word before has a bit
	// What has been worked out with other sets, by the operation.
	with [operations]map[*dense]*dense
}

// operation is what to make of two sets.
type operation uint8

const (
	both operation = iota
	less           // those of the first that are not in the second
	either
	operations
)

func (o operation) bit(a, b bool) bool {
	switch o {
	case both:
		return a && b
	case less:
		return a && !b
	}
	return a || b
}

func newBitset(n int) bitset { return &numbers{n: n} }

func fullBitset(n int) bitset {
	s := newBitset(n)
	for i := range n {
		s.add(i)
	}
	return s
}

func (d *dense) has(i int) bool { return d != nil && d.words[i/64]>>(i%64)&1 != 0 }

func (d *dense) size() int {
	if d == nil {
		return 0
	}
	return d.count
}

// maxKnown is how many sets one may be worked out with before all that is forgotten: most of
// them are then gone.
const maxKnown = 256

// combine works out a set of two.
func combine(o operation, a, b *dense) *dense {
	switch {
	case a == nil && o == either:
		return b
	case a == nil:
		return nil
	case b == nil && o == both:
		return nil
	case b == nil:
		return a
	case a == b && o == less:
		return nil
	case a == b:
		return a
	}
	if d, ok := a.with[o][b]; ok {
		return d
	}
	d := &dense{words: make([]uint64, len(a.words))}
	for i := range d.words {
		switch o {
		case both:
			d.words[i] = a.words[i] & b.words[i]
		case less:
			d.words[i] = a.words[i] &^ b.words[i]
		case either:
			d.words[i] = a.words[i] | b.words[i]
		}
		d.count += bits.OnesCount64(d.words[i])
	}
	if d.count == 0 {
		d = nil
	}
	if a.with[o] == nil || len(a.with[o]) >= maxKnown {
		a.with[o] = make(map[*dense]*dense)
	}
	a.with[o][b] = d
	return d.fromLow()
}

// fromLow finds the first word that has a bit.
func (d *dense) fromLow() *dense {
	if d != nil {
		for d.words[d.low] == 0 {
			d.low++
		}
	}
	return d
}

// add puts a number in.
func (s *numbers) add(i int) {
	if s.has(i) {
		return
	}
	if s.own {
		s.base.put(i)
		return
	}
	at, is := slices.BinarySearch(s.odd, int32(i))
	if is {
		s.odd = slices.Delete(slices.Clone(s.odd), at, at+1)
		return
	}
	if len(s.odd) < maxOdd {
		s.odd = slices.Insert(slices.Clip(s.odd), at, int32(i))
		return
	}
	s.settle()
	s.base.put(i)
}

// put adds a number that is not there.
func (d *dense) put(i int) {
	d.words[i/64] |= 1 << (i % 64)
	d.count++
	d.low = min(d.low, i/64)
}

// settle gives a set a base of its own, with no odd numbers.
func (s *numbers) settle() {
	d := &dense{words: make([]uint64, (s.n+63)/64)}
	if s.base != nil {
		copy(d.words, s.base.words)
		d.count = s.base.count
	}
	for _, i := range s.odd {
		w := &d.words[i/64]
		if *w ^= 1 << (i % 64); *w>>(i%64)&1 != 0 {
			d.count++
		} else {
			d.count--
		}
	}
	s.base, s.odd, s.own = d, nil, true
}

func (s *numbers) has(i int) bool {
	if len(s.odd) > 0 {
		if _, odd := slices.BinarySearch(s.odd, int32(i)); odd {
			return !s.base.has(i)
		}
	}
	return s.base.has(i)
}

func (s *numbers) empty() bool { return s.count() == 0 }

func (s *numbers) count() int {
	n := s.base.size()
	for _, i := range s.odd {
		if s.base.has(int(i)) {
			n--
		} else {
			n++
		}
	}
	return n
}

// odds yields the numbers that are odd in one of two sets, in order, with whether each
// has it.
func odds(s, t bitset, yield func(i int32, inS, inT bool)) {
	a, b := s.odd, t.odd
	for len(a) > 0 || len(b) > 0 {
		var i int32
		oddS, oddT := false, false
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			i, a, oddS = a[0], a[1:], true
		case len(a) == 0 || b[0] < a[0]:
			i, b, oddT = b[0], b[1:], true
		default:
			i, a, b, oddS, oddT = a[0], a[1:], b[1:], true, true
		}
		yield(i, s.base.has(int(i)) != oddS, t.base.has(int(i)) != oddT)
	}
}

// combined works out a set of two.
func (s *numbers) combined(o operation, t bitset) bitset {
	s.own, t.own = false, false
	out := &numbers{n: s.n, base: combine(o, s.base, t.base)}
	if n := len(s.odd) + len(t.odd); n <= len(out.few) {
		out.odd = out.few[:0]
	} else {
		out.odd = make([]int32, 0, n)
	}
	odds(s, t, func(i int32, inS, inT bool) {
		if o.bit(inS, inT) != out.base.has(int(i)) {
			out.odd = append(out.odd, i)
		}
	})
	if len(out.odd) > maxOdd {
		out.settle()
	}
	return out
}

// sizeOf is how many numbers the set of two would have.
func (s *numbers) sizeOf(o operation, t bitset) int {
	s.own, t.own = false, false
	base := combine(o, s.base, t.base)
	n := base.size()
	odds(s, t, func(i int32, inS, inT bool) {
		switch is := o.bit(inS, inT); {
		case is && !base.has(int(i)):
			n++
		case !is && base.has(int(i)):
			n--
		}
	})
	return n
}

func (s *numbers) and(t bitset) bitset { return s.combined(both, t) }

func (s *numbers) without(t bitset) bitset { return s.combined(less, t) }

func (s *numbers) or(t bitset) bitset { return s.combined(either, t) }

// within says whether every number of s is in t.
func (s *numbers) within(t bitset) bool { return s == t || s.sizeOf(less, t) == 0 }

func (s *numbers) meets(t bitset) bool { return s.sizeOf(both, t) > 0 }

// first gives the smallest number, or -1.
func (s *numbers) first() int {
	for i := range s.each {
		return i
	}
	return -1
}

// each yields the numbers in order.
func (s *numbers) each(yield func(int) bool) {
	odd := s.odd
	// before yields the odd numbers below i that base does not have.
	before := func(i int) bool {
		for ; len(odd) > 0 && int(odd[0]) < i; odd = odd[1:] {
			if !yield(int(odd[0])) {
				return false
			}
		}
		return true
	}
	if s.base != nil {
		for i := s.base.low; i < len(s.base.words); i++ {
			for w := s.base.words[i]; w != 0; w &= w - 1 {
				at := i*64 + bits.TrailingZeros64(w)
				if !before(at) {
					return
				}
				if len(odd) > 0 && int(odd[0]) == at {
					odd = odd[1:]
				} else if !yield(at) {
					return
				}
			}
		}
	}
	before(s.n)
}

// setKey names a set. It keeps the base, so that no other set ever has the name.
type setKey struct {
	base *dense
	odd  string
}

// key is the same for equal sets alone. Equal sets that were come by in different ways may
// have different ones.
func (s *numbers) key() setKey {
	s.own = false
	odd := make([]byte, 0, 2*len(s.odd))
	for _, i := range s.odd {
		odd = binary.AppendUvarint(odd, uint64(i))
	}
	return setKey{s.base, string(odd)}
}
