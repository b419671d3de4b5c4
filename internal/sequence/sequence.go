// Package sequence draws sequences of knocks at random. It is pure: where the
// randomness comes from, and what is wrong with a sequence, is handed in.
package sequence

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"

	"tirl/internal/port"
)

// Bounds of the number of knocks. Of fewer than three check warns.
const (
	MinKnocks = 3
	MaxKnocks = 16
)

// EnoughBits is what a sequence has more of, unless it is asked to be shorter.
const EnoughBits = 64

// lowest is the first port that is drawn unless ports are given: networks treat
// many of those below it in ways of their own.
const lowest = 1024

// Plan says what to draw.
type Plan struct {
	Knocks int          // 0: as few as have more than EnoughBits
	Protos []port.Proto // each of them occurs
	// Ports to draw from, of any protocol; none: from 1024 on.
	First, Last uint16
	Avoid       []port.Range // services: a packet to one is no knock
	// Ephemeral names the ports that the host's own connections come from. They are
	// drawn only if the others are too few.
	Ephemeral func(number uint16) bool
	// Judge says what is wrong with a sequence; nil if nothing.
	Judge func(knocks []port.Port, ephemeral bool) error
}

// Sequence is what was drawn.
type Sequence struct {
	Knocks []port.Port
	Ports  int // that each knock could have been at, counted for each protocol
	// Bits is the logarithm of the number of sequences that could have been drawn,
	// each with the same probability. Those that Judge refuses are estimated.
	Bits float64
	// Ephemeral says that there are knocks at ports of the host's own connections.
	Ephemeral bool
}

// ErrTooFew says that there are not enough ports, or none that Judge lets pass
// often enough.
var ErrTooFew = errors.New("too few ports")

// spare is how many ports there have to be outside of the ephemeral ones, if
// those are to be left alone.
const spare = 512

// trials is how many sequences are drawn to see how many of them pass.
const trials = 64

// Draw makes a sequence of different knocks.
func Draw(random io.Reader, p Plan) (Sequence, error) {
	outside := p.pool(false)
	all := p.pool(true)
	var s Sequence
	err := ErrTooFew
	if n := len(outside); n > 0 && (n >= spare || n == len(all)) {
		s, err = p.draw(random, outside, false)
	}
	if err != nil && len(all) > len(outside) {
		s, err = p.draw(random, all, true)
	}
	return s, err
}

// pool lists what each knock may be.
func (p Plan) pool(ephemeral bool) []port.Port {
	first, last := p.First, p.Last
	if last == 0 {
		first, last = lowest, math.MaxUint16
	}
	var pool []port.Port
	for _, proto := range p.Protos {
		for n := int(first); n <= int(last); n++ {
			k := port.Port{Proto: proto, Number: uint16(n)}
			if (ephemeral || !p.Ephemeral(k.Number)) && !slices.ContainsFunc(p.Avoid, func(r port.Range) bool { return r.Contains(k) }) {
				pool = append(pool, k)
			}
		}
	}
	return pool
}

// draw makes a sequence of ports of a pool.
func (p Plan) draw(random io.Reader, pool []port.Port, ephemeral bool) (Sequence, error) {
	n := p.Knocks
	if n == 0 {
		n = MinKnocks
	}
	for ; ; n++ {
		if p.Knocks == 0 && n < MaxKnocks && p.bits(pool, n) <= EnoughBits {
			continue
		}
		s, err := p.try(random, pool, n, ephemeral)
		if n >= MaxKnocks || p.Knocks > 0 || err == nil && s.Bits > EnoughBits || err != nil && !errors.Is(err, ErrTooFew) {
			return s, err
		}
	}
}

// try makes a sequence of a given length. Of all that pass each has the same
// probability, if the first that passes is taken. How many of all pass is known
// after some more.
func (p Plan) try(random io.Reader, pool []port.Port, n int, ephemeral bool) (Sequence, error) {
	if len(pool) < n {
		return Sequence{}, fmt.Errorf("%w: %d, for %d different knocks", ErrTooFew, len(pool), n)
	}
	var s Sequence
	var refusal error
	passed, refused := 0, 0
	for range trials {
		knocks, err := pick(random, pool, n)
		if err != nil {
			return Sequence{}, err
		}
		if !p.hasAll(knocks) {
			continue // bits counts those out
		}
		if err := p.Judge(knocks, ephemeral); err != nil {
			refusal = err
			refused++
			continue
		}
		if passed++; passed == 1 {
			s = Sequence{Knocks: knocks, Ports: len(pool), Ephemeral: slices.ContainsFunc(knocks, func(k port.Port) bool { return p.Ephemeral(k.Number) })}
		}
	}
	switch {
	case 3*passed < refused:
		return Sequence{}, fmt.Errorf("%w: of most sequences of %d, %w", ErrTooFew, n, refusal)
	case passed == 0:
		return Sequence{}, fmt.Errorf("%w: %d, for %d knocks of both protocols", ErrTooFew, len(pool), n)
	}
	s.Bits = p.bits(pool, n) + math.Log2(float64(passed)/float64(passed+refused))
	return s, nil
}

// pick takes n different ports of a pool, in the order in which they were drawn.
func pick(random io.Reader, pool []port.Port, n int) ([]port.Port, error) {
	most := big.NewInt(int64(len(pool)))
	var knocks []port.Port
	for len(knocks) < n {
		i, err := rand.Int(random, most)
		if err != nil {
			return nil, fmt.Errorf("draw a random number: %w", err)
		}
		if k := pool[i.Int64()]; !slices.Contains(knocks, k) {
			knocks = append(knocks, k)
		}
	}
	return knocks, nil
}

// hasAll says whether every protocol occurs.
func (p Plan) hasAll(knocks []port.Port) bool {
	return !slices.ContainsFunc(p.Protos, func(proto port.Proto) bool {
		return !slices.ContainsFunc(knocks, func(k port.Port) bool { return k.Proto == proto })
	})
}

// bits is the logarithm of the number of sequences of n different ports in which
// every protocol occurs. There are at most two protocols.
func (p Plan) bits(pool []port.Port, n int) float64 {
	all := arrangements(len(pool), n)
	share := 1.0
	if len(p.Protos) > 1 {
		for _, proto := range p.Protos {
			of := 0
			for _, k := range pool {
				if k.Proto == proto {
					of++
				}
			}
			share -= math.Exp2(arrangements(of, n) - all)
		}
	}
	return all + math.Log2(max(0, share))
}

// arrangements is the logarithm of m (m-1) ... (m-n+1).
func arrangements(m, n int) float64 {
	if m < n {
		return math.Inf(-1)
	}
	bits := 0.0
	for i := range n {
		bits += math.Log2(float64(m - i))
	}
	return bits
}
