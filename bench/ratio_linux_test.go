package bench

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"tirl/internal/lab/labtest"
)

// ratio compares two contenders, or a contender with two patterns. The figures behind
// the bounds are in docs/benchmarks.md. A bound is what a busy machine stays below, and what
// something that has become twice as dear does not.
type ratio struct {
	name  string
	bound float64
	of    func(measured) float64
}

// measured gives a cost in nanoseconds a packet.
type measured func(contender, pattern string) float64

// added is what contenders add to a host without rules, as a ratio.
func added(contender, peer, pattern string) func(measured) float64 {
	return func(m measured) float64 {
		return (m(contender, pattern) - m(empty, pattern)) / (m(peer, pattern) - m(empty, pattern))
	}
}

func against(contender, peer, pattern string) func(measured) float64 {
	return func(m measured) float64 { return m(contender, pattern) / m(peer, pattern) }
}

// dearest compares the dearest hostile pattern of those measured with a random wrong knock.
func dearest(contender string, patterns []pattern) func(measured) float64 {
	return func(m measured) float64 {
		worst := 0.0
		for _, p := range patterns {
			worst = max(worst, m(contender, p.name))
		}
		return worst / m(contender, wrongOne)
	}
}

// What the short version leaves out is in the report.
func ratios() (patterns []pattern, list []ratio) {
	names := []string{wrongOne, firstOne, firstSome, "first, wrong; one source", "first, wrong; 30,000 sources", "SYN to the closed door", whole}
	bad := slices.DeleteFunc(hostile(), func(p pattern) bool { return !slices.Contains(names, p.name) })
	return append(honest()[:3:3], bad...), []ratio{
		{"established TCP: added by the guard, of the reference's", 1.4, added(guard, reference, establishedTCP)},
		{"established UDP: added by the guard, of the reference's", 1.4, added(guard, reference, establishedUDP)},
		{"SYN to a public port: added by the guard, of the reference's", 1.7, added(guard, reference, freshPublic)},
		{"wrong knocks: guard, of the reference", 2.0, against(guard, reference, wrongOne)},
		{"first knock: guard, of the reference", 2.1, against(guard, reference, firstOne)},
		{"whole knock: guard, of the reference", 3.1, against(guard, reference, whole)},
		{"guard: dearest pattern, of a wrong knock", 3.3, dearest(guard, bad)},
		{"firewall: dearest pattern, of a wrong knock", 3.5, dearest(firewall, bad)},
	}
}

// A measurement that a busy machine has spoilt is made again.
const tries = 3

// TestRatios compares what packets cost, never by the clock.
func TestRatios(t *testing.T) {
	patterns, list := ratios()
	var contenders []contender
	for _, c := range append(limits(), rules()...) {
		if slices.Contains([]string{empty, reference, guard, firewall}, c.name) {
			contenders = append(contenders, c)
		}
	}
	check(t, contenders, list, patterns)
}

// TestDoorRatios: a thousand doors cost a packet what one door costs.
func TestDoorRatios(t *testing.T) {
	few, many := guardOf(1), guardOf(1000)
	patterns := doorPatterns()[1:]
	var list []ratio
	for _, p := range patterns {
		list = append(list, ratio{p.name + ": a thousand doors, of one", 1.7, against(many.name, few.name, p.name)})
	}
	check(t, []contender{few, many}, list, patterns)
}

// TestSourceRatios: many sources on their way cost a packet little more than one does.
func TestSourceRatios(t *testing.T) {
	labtest.Require(t)
	f := families()[0]
	var stages []*stage
	for _, n := range []int{1, some} {
		tr, err := newTracked(t.Context(), n)
		if errors.Is(err, syscall.EPERM) && os.Getenv(labtest.RequireEnv) != "1" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		stages = append(stages, tr.stage)
	}
	var list []ratio
	for i, p := range trackedPatterns(1) {
		list = append(list, ratio{p.name + ": 30,000 sources, of one", []float64{1.7, 2.2}[i], against(stages[1].name, stages[0].name, p.name)})
	}
	for try := range tries {
		all := make(costs)
		for i := range list {
			each := []pattern{trackedPatterns(1)[i], trackedPatterns(some)[i]}
			if err := all.measureEach(t.Context(), stages, each, f, effort{rounds: 5, time: 10 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
		}
		if missed := exceeded(t, all, list); missed == "" {
			return
		} else if try == tries-1 {
			t.Error(missed)
		}
	}
}

func check(t *testing.T, contenders []contender, list []ratio, patterns []pattern) {
	t.Helper()
	labtest.Require(t)
	f := families()[0]
	stages, err := newStages(t.Context(), contenders, patterns[0], f)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStages(stages)
	for try := range tries {
		all := make(costs)
		for i, p := range patterns {
			err := all.measure(t.Context(), stages, p, f.block(i), effort{rounds: 5, time: 10 * time.Millisecond})
			if errors.Is(err, syscall.EPERM) && os.Getenv(labtest.RequireEnv) != "1" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		missed := exceeded(t, all, list)
		if missed == "" {
			return
		}
		if try == tries-1 {
			t.Error(missed)
		}
	}
}

// exceeded tells which bounds are; "" if none.
func exceeded(t *testing.T, all costs, list []ratio) (text string) {
	t.Helper()
	for _, r := range list {
		got := r.of(func(contender, pattern string) float64 {
			s := all[pattern][contender]
			if s.failed != "" {
				t.Fatalf("%s, %s: %s", contender, pattern, s.failed)
			}
			return s.cell().Value
		})
		t.Logf("%s: %.2f, bound %.1f", r.name, got, r.bound)
		if got > r.bound {
			text += fmt.Sprintf("%s: %.2f, bound %.1f\n", r.name, got, r.bound)
		}
	}
	return text
}

// BenchmarkPacket is what a packet costs, by contender and pattern, in CPU time.
func BenchmarkPacket(b *testing.B) {
	labtest.Require(b)
	for _, f := range families() {
		for _, p := range append(honest(), hostile()...) {
			for _, c := range append(limits(), rules()...) {
				if !c.knows(p, f) {
					continue
				}
				b.Run(fmt.Sprintf("%s/%s/%s", f, p.name, c.name), func(b *testing.B) {
					s, err := newStage(b.Context(), c)
					if err != nil {
						b.Fatal(err)
					}
					defer s.Close()
					r, err := newRunner(b.Context(), s, p, f, effort{})
					if err != nil {
						b.Fatal(err)
					}
					defer r.live.Close()
					r.packets = b.N
					b.ResetTimer()
					if err := r.round(b.Context()); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(r.sample.costs[0], "cpu-ns/packet")
				})
			}
		}
	}
}
