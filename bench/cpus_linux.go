package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"tirl/internal/lab"
)

// cpus is the section about packets that come in by several CPUs at once.
func cpus() Section {
	return Section{Name: "cpus", Title: "One CPU and two", Time: 30 * time.Second, Run: runCPUs}
}

// crowdApart keeps the sources of one CPU's stream from those of the other's.
const crowdApart = 2

func runCPUs(ctx context.Context, env *Env) (*Result, error) {
	if runtime.NumCPU() < 2 {
		return nil, errors.New("this machine has one CPU")
	}
	var contenders []contender
	for _, c := range append(limits(), rules()...) {
		if slices.Contains([]string{empty, tracking, reference, guard, firewall}, c.name) {
			contenders = append(contenders, c)
		}
	}
	list := []pattern{
		{name: establishedTCP, packets: segment},
		{name: wrongOne, packets: wrongKnocks},
		{name: "first knock, 30,000 sources a CPU", packets: steps(0), sources: some},
		{name: "first, wrong; 30,000 sources a CPU", packets: steps(0, wrong), sources: some, hold: 2},
	}
	t := Table{Name: "cpus", Head: "ns of CPU a packet; one CPU, two"}
	for _, c := range contenders {
		t.Columns = append(t.Columns, Column{Name: c.name + ", one"}, Column{Name: "two"})
	}
	for _, p := range list {
		env.Log("%s", p.name)
		row, err := onCPUs(ctx, contenders, p, env.share(2*len(list)*len(contenders)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		t.Rows = append(t.Rows, Row{Name: p.name, Cells: row})
	}
	return &Result{Tables: []Table{t}}, nil
}

// onCPUs has each contender deal with a pattern on one CPU and then on two at once.
func onCPUs(ctx context.Context, contenders []contender, p pattern, e effort) (cells []Cell, err error) {
	stages, err := newStages(ctx, contenders, p, families()[0])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeStages(stages)) }()
	duos := make([]*duo, len(stages))
	defer func() {
		for _, d := range duos {
			err = errors.Join(err, d.Close())
		}
	}()
	for i, s := range stages {
		if duos[i], err = newDuo(ctx, s, p, e); err != nil {
			return nil, err
		}
	}
	for range e.rounds {
		for _, d := range duos {
			if err := d.round(ctx); err != nil {
				return nil, err
			}
		}
	}
	for _, d := range duos {
		cells = append(cells, d.one.cell(), d.two.cell())
	}
	return cells, nil
}

// duo is two streams of a pattern, each on a CPU of its own.
type duo struct {
	lives    []*lab.Live
	packets  int
	one, two sample
}

func newDuo(ctx context.Context, s *stage, p pattern, e effort) (*duo, error) {
	d := &duo{packets: leastPackets}
	for cpu := range 2 {
		f := families()[0].block(cpu * crowdApart)
		live, err := lab.NewLive(s.pair, lab.Stream{Packets: p.packets(s, f), Sources: p.sources, Hold: p.hold}, cpu)
		if err != nil {
			return d, err
		}
		d.lives = append(d.lives, live)
	}
	if err := d.round(ctx); err != nil {
		return d, err
	}
	d.packets = max(leastPackets, int(float64(e.time)/d.one.costs[0]))
	d.one.costs, d.two.costs = nil, nil
	return d, nil
}

func (d *duo) round(ctx context.Context) error {
	alone, err := d.lives[0].Run(ctx, d.packets)
	if err != nil {
		return err
	}
	d.one.costs = append(d.one.costs, alone.PerPacket())
	type outcome struct {
		lab.Cost
		error
	}
	both := make(chan outcome)
	for _, l := range d.lives {
		go func() {
			c, err := l.Run(ctx, d.packets)
			both <- outcome{c, err}
		}()
	}
	var sum lab.Cost
	for range d.lives {
		o := <-both
		sum.Packets += o.Packets
		sum.CPU += o.CPU
		err = errors.Join(err, o.error)
	}
	d.two.costs = append(d.two.costs, sum.PerPacket())
	return err
}

// Close gives the streams up.
func (d *duo) Close() error {
	if d == nil {
		return nil
	}
	var errs []error
	for _, l := range d.lives {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
