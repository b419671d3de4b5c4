package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
)

// sources is the section about what sources on their way cost, in time and memory.
func sources() Section {
	return Section{Name: "sources", Title: "Up to a million sources", Time: 75 * time.Second, Run: runSources}
}

// sourceCounts are the sizes that are measured.
func sourceCounts() []int { return []int{1, 10, 100, 1000, 10000, 100000, 1000000} }

// trackingPolicy has room for a million sources. Their places last as long as the measurement.
const trackingPolicy = guardPolicy + `
[knocking]
sources      = 1048576
step_timeout = "10m"
`

// unlimited is more packets a second than any source sends here, so that a single
// source is treated like one of many.
const unlimited = 100_000_000

// tracked is a stage on which n sources have done the first knock, and what they
// take of the kernel's memory.
type tracked struct {
	*stage
	sources int
	memory  int64
}

func newTracked(ctx context.Context, n int) (t *tracked, err error) {
	c := contender{name: number(float64(n), 0), load: func(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
		g, err := compile(trackingPolicy)
		if err != nil {
			return nil, err
		}
		g.PerSource = unlimited
		return nil, loadProgram(ctx, server, kinds.All()[0], g)
	}}
	t = &tracked{sources: n}
	if t.stage, err = newStage(ctx, c); err != nil {
		return nil, err
	}
	live, err := lab.NewLive(t.pair, lab.Stream{Packets: steps(0)(t.stage, families()[0]), Sources: n}, lab.AnyCPU)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	before, err := settledMemory(ctx)
	// A table grows in the background (lib/rhashtable.c), and while it lags behind the kernel
	// adds nothing to it: the sources come several times, and not too fast.
	for range 4 {
		for left := n; err == nil && left > 0; left -= min(left, 1<<16) {
			_, err = live.Run(ctx, min(left, 1<<16))
			time.Sleep(10 * time.Millisecond)
		}
	}
	after, err2 := kernelMemory()
	if t.memory = after - before; err == nil && n >= weighed {
		err = t.count(ctx)
	}
	if err := errors.Join(err, err2, live.Close()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// weighed is how many sources there must be for their memory to be told from the
// machine's other business.
const weighed = 100_000

// count sees to it that the sources are where they should be.
func (t *tracked) count(ctx context.Context) error {
	text, err := t.pair.Server.Run(ctx, "", "nft", "list", "map", "inet", "tirl", "started4")
	if err != nil {
		return err
	}
	if n := strings.Count(text, " expires "); n < t.sources*99/100 {
		return fmt.Errorf("%d of %d sources have a place", n, t.sources)
	}
	return nil
}

// collectFor is how long the kernel's workers are watched; a set is looked through
// once a second.
const collectFor = 2 * time.Second

// watchCollection says which part of a CPU the kernel's workers take.
func watchCollection(ctx context.Context) (float64, error) {
	before, start := workerTime(), time.Now()
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(collectFor):
	}
	return max(0, float64(workerTime()-before)) / float64(time.Since(start)), nil
}

// workerTime is what the kernel's workers have used of the processors. They come and go.
func workerTime() (sum time.Duration) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is a good one
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(comm), "kworker/") {
			continue
		}
		var ran int64
		text, err := os.ReadFile(filepath.Join(filepath.Dir(name), "schedstat"))
		if err == nil {
			_, err = fmt.Sscan(string(text), &ran)
		}
		if err == nil {
			sum += time.Duration(ran)
		}
	}
	return sum
}

// trackedPatterns are what n sources that are on their way send, and a stranger.
func trackedPatterns(n int) []pattern {
	return []pattern{
		{name: "wrong knocks of a stranger", packets: outsider},
		{name: "first knock again, of all in turn", packets: steps(0), sources: n},
	}
}

// outsider sends wrong knocks from an address that is not in the crowd.
func outsider(s *stage, f family) []lab.Packet {
	packets := wrongKnocks(s, f)
	for i := range packets {
		packets[i].Src = f.peer
	}
	return packets
}

func runSources(ctx context.Context, env *Env) (r *Result, err error) {
	var stages []*stage
	defer func() { err = errors.Join(err, closeStages(stages)) }()
	var contenders []contender
	memory, collecting := Row{Name: "kernel memory, bytes a source"}, Row{Name: "looking for what has timed out, ms of CPU a second"}
	for _, n := range sourceCounts() {
		env.Log("%d sources", n)
		t, err := newTracked(ctx, n)
		if err != nil {
			return nil, err
		}
		stages, contenders = append(stages, t.stage), append(contenders, t.contender)
		cell := Cell{Value: float64(t.memory) / float64(n)}
		if n < weighed {
			cell = Cell{None: true}
		}
		memory.Cells = append(memory.Cells, cell)
		part, err := watchCollection(ctx)
		if err != nil {
			return nil, err
		}
		collecting.Cells = append(collecting.Cells, Cell{Value: 1000 * part})
	}
	// Each stage sends its own pattern of a kind: it has as many sources as are tracked.
	all := make(costs)
	f := families()[0]
	kinds := trackedPatterns(1)
	for i, kind := range kinds {
		env.Log("%s", kind.name)
		list := make([]pattern, len(stages))
		for n, count := range sourceCounts() {
			list[n] = trackedPatterns(count)[i]
		}
		if err := all.measureEach(ctx, stages, list, f, env.share(len(kinds)*len(stages))); err != nil {
			return nil, err
		}
	}
	t := all.table("costs", contenders, kinds)
	t.Head = "ns a packet, by sources on their way"
	t.Rows = append(t.Rows, memory, collecting)
	r = &Result{Tables: []Table{t}, Plots: []Plot{sourcesPlot(t)}}
	last := len(stages) - 1
	for _, row := range t.Rows[:len(kinds)] {
		r.Goals = append(r.Goals, Goal{Text: row.Name + ": a million sources, of one", Bound: 1.5, Got: row.Cells[last].Value / row.Cells[0].Value, Digits: 2})
	}
	r.Goals = append(r.Goals, Goal{Text: "kernel memory of a source, at 100,000 or a million", Bound: 300, Unit: "bytes",
		Got: max(memory.Cells[last-1].Value, memory.Cells[last].Value)})
	return r, nil
}

func sourcesPlot(t Table) Plot {
	p := Plot{Name: "costs", Title: "What a packet costs while sources are on their way",
		X: Axis{Label: "sources", Log: true}, Y: Axis{Label: "ns a packet"}}
	for _, row := range t.Rows[:len(trackedPatterns(1))] {
		l := Line{Name: row.Name}
		for i, cell := range row.Cells {
			l.Points = append(l.Points, [2]float64{float64(sourceCounts()[i]), cell.Value})
		}
		p.Lines = append(p.Lines, l)
	}
	return p
}
