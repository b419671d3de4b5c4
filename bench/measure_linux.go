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
	least  int           // packets a round
}

// The fewest packets of a round: preparing them takes as long as some hundred do.
const leastPackets = 4096

// runner is a stage with a stream.
type runner struct {
	*stage
	live    *lab.Live
	packets int // a round
	sent    int
	sample  sample
}

// measure has each contender deal with a pattern, in turn, several times over.
func measure(ctx context.Context, contenders []contender, p pattern, f family, e effort) ([]sample, error) {
	runners := make([]*runner, len(contenders))
	var errs []error
	defer func() {
		for _, r := range runners {
			if r != nil {
				errs = append(errs, r.close())
			}
		}
	}()
	for i, c := range contenders {
		var err error
		if runners[i], err = newRunner(ctx, c, p, f, e); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", p.name, f, err)
		}
	}
	for round := range e.rounds {
		for i := range runners {
			r := runners[(i+round)%len(runners)]
			if err := r.round(ctx); err != nil {
				return nil, fmt.Errorf("%s, %s, %s: %w", p.name, f, r.name, err)
			}
		}
	}
	samples := make([]sample, len(runners))
	for i, r := range runners {
		if err := r.judge(ctx, p); err != nil {
			return nil, err
		}
		samples[i] = r.sample
	}
	return samples, errors.Join(errs...)
}

// newRunner prepares a stage and finds out how many packets make a round.
func newRunner(ctx context.Context, c contender, p pattern, f family, e effort) (r *runner, err error) {
	r = &runner{}
	if r.stage, err = newStage(ctx, c); err != nil {
		return nil, err
	}
	stream := lab.Stream{Packets: p.packets(r.stage, f), Sources: p.sources, Hold: p.hold, SameNet: p.sameNet}
	if p.sameNet {
		for i := range stream.Packets {
			stream.Packets[i].Src = lab.Crowd6Net()
		}
	}
	if r.live, err = lab.NewLive(r.pair, stream, lab.AnyCPU); err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.packets = leastPackets
	if err := r.round(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.packets = max(e.least, leastPackets, int(float64(e.time)/r.sample.costs[0]))
	r.sample.costs = nil
	return r, nil
}

func (r *runner) close() error {
	if r.live == nil {
		return r.stage.Close()
	}
	return errors.Join(r.live.Close(), r.stage.Close())
}

func (r *runner) round(ctx context.Context) error {
	run := r.live.Run
	if r.bypass {
		run = r.live.Drop
	}
	c, err := run(ctx, r.packets)
	r.sent += r.packets
	r.sample.costs = append(r.sample.costs, c.PerPacket())
	return err
}

// judge looks whether the contender has let through what it should.
func (r *runner) judge(ctx context.Context, p pattern) error {
	service, other, err := r.arrived(ctx)
	switch {
	case err != nil || r.bypass || r.name == empty || r.name == tracking:
	case p.passes && other != r.sent:
		r.sample.failed = fmt.Sprintf("let %d of %d through", other, r.sent)
	case p.lets == nil:
	case p.lets(r.sent) == 0 && service > 0:
		r.sample.failed = fmt.Sprintf("let %d in", service)
	case float64(service) < 0.99*float64(p.lets(r.sent)):
		r.sample.failed = fmt.Sprintf("let %d of %d in", service, p.lets(r.sent))
	}
	return err
}
