package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tirl/internal/lab"
)

// sample is what one contender's packets of one pattern have cost, in nanoseconds a packet.
type sample struct {
	costs  []float64
	failed string
}

// cell is the median with the quartiles.
func (s sample) cell() Cell {
	if s.failed != "" || len(s.costs) == 0 {
		return Cell{Failed: s.failed, None: s.failed == ""}
	}
	sorted := slices.Sorted(slices.Values(s.costs))
	at := func(q float64) float64 {
		i := q * float64(len(sorted)-1)
		low := int(i)
		high := min(low+1, len(sorted)-1)
		return sorted[low] + (sorted[high]-sorted[low])*(i-float64(low))
	}
	return Cell{Value: at(0.5), Low: at(0.25), High: at(0.75)}
}

// effort is how much is done for a sample.
type effort struct {
	rounds int
	time   time.Duration // of a round, for a contender
}

// The fewest packets of a round: preparing them takes as long as some hundred do.
const leastPackets = 4096

// runner is a stage with a stream.
type runner struct {
	*stage
	pattern pattern
	live    *lab.Live
	packets int // a round
	sent    int
	sample  sample

	service, other int // that had come to the sink before
}

// measure has each stage deal with a pattern, in turn, several times over. A nil
// stage is a contender that does not know the family.
func measure(ctx context.Context, stages []*stage, p pattern, f family, e effort) (samples []sample, err error) {
	list := make([]pattern, len(stages))
	for i := range list {
		list[i] = p
	}
	return measureEach(ctx, stages, list, f, e)
}

// measureEach is measure with a pattern for each stage.
func measureEach(ctx context.Context, stages []*stage, list []pattern, f family, e effort) (samples []sample, err error) {
	runners := make([]*runner, len(stages))
	defer func() {
		for _, r := range runners {
			if r != nil {
				err = errors.Join(err, r.live.Close())
			}
		}
	}()
	for i, s := range stages {
		if s == nil {
			continue
		}
		if runners[i], err = newRunner(ctx, s, list[i], f, e); err != nil {
			return nil, fmt.Errorf("%s, %s, %s: %w", list[i].name, f, s.name, err)
		}
	}
	for round := range e.rounds {
		for i := range runners {
			r := runners[(i+round)%len(runners)]
			if r == nil {
				continue
			}
			if err := r.round(ctx); err != nil {
				return nil, fmt.Errorf("%s, %s, %s: %w", r.pattern.name, f, r.name, err)
			}
		}
	}
	samples = make([]sample, len(runners))
	for i, r := range runners {
		if r == nil {
			continue
		}
		if err := r.judge(); err != nil {
			return nil, err
		}
		samples[i] = r.sample
	}
	return samples, nil
}

// newRunner prepares a stream and finds out how many packets make a round.
func newRunner(ctx context.Context, s *stage, p pattern, f family, e effort) (r *runner, err error) {
	r = &runner{stage: s, pattern: p}
	stream := lab.Stream{Packets: p.packets(s, f), Sources: p.sources, Hold: p.hold, SameNet: p.sameNet}
	if p.sameNet {
		for i := range stream.Packets {
			stream.Packets[i].Src = lab.Crowd6Net()
		}
	}
	if r.service, r.other, err = s.arrived(); err != nil {
		return nil, err
	}
	if r.live, err = lab.NewLive(s.pair, stream, lab.AnyCPU); err != nil {
		return nil, err
	}
	if err := r.warm(ctx); err != nil {
		return nil, errors.Join(err, r.live.Close())
	}
	r.packets = leastPackets
	if r.daemon != nil {
		r.packets = 2 * processBurst
	}
	if err := r.round(ctx); err != nil {
		return nil, errors.Join(err, r.live.Close())
	}
	if r.daemon == nil {
		r.packets = max(leastPackets, int(float64(e.time)/r.sample.costs[0]))
	}
	r.sample.costs = nil
	return r, nil
}

// warm sends what comes before a pattern, which is not judged.
func (r *runner) warm(ctx context.Context) error {
	for left := r.pattern.before; left > 0; left -= leastPackets {
		if _, err := r.live.Run(ctx, min(left, leastPackets)); err != nil {
			return err
		}
	}
	var err error
	if r.pattern.before > 0 {
		r.service, r.other, err = r.arrived()
	}
	return err
}

func (r *runner) round(ctx context.Context) error {
	run := r.live.Run
	switch {
	case r.bypass:
		run = r.live.Drop
	case r.daemon != nil:
		run = func(ctx context.Context, n int) (lab.Cost, error) { return r.runBeside(ctx, r.live, n) }
	}
	c, err := run(ctx, r.packets)
	r.sent += r.packets
	r.sample.costs = append(r.sample.costs, c.PerPacket())
	return err
}

// judge looks whether the contender has let through what it should.
func (r *runner) judge() error {
	p := r.pattern
	service, other, err := r.arrived()
	service, other = service-r.service, other-r.other
	switch {
	case err != nil || r.limit:
	case p.passes && other < r.sent: // the host chatters, too
		r.sample.failed = fmt.Sprintf("let %d of %d through", other, r.sent)
	case p.lets == nil:
	case p.lets(r.sent) == 0 && service > 0:
		r.sample.failed = fmt.Sprintf("let %d in", service)
	case float64(service) < 0.99*float64(p.lets(r.sent)):
		r.sample.failed = fmt.Sprintf("let %d of %d in", service, p.lets(r.sent))
	}
	return err
}
