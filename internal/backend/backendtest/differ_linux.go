package backendtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// Difference is where a kernel and the interpreter disagree about a trace.
type Difference struct {
	Text   string
	Packet int // the first that it shows in, or the last of the source that ends elsewhere
}

func (d Difference) Error() string { return d.Text }

// About gives the packets up to one that have to do with its source: those of the
// same address or IPv6 network.
func About(packets []automaton.Packet, at int) []automaton.Packet {
	network := func(p automaton.Packet) netip.Prefix {
		bits := 32
		if p.Src.Is6() {
			bits = 64
		}
		return netip.PrefixFrom(p.Src, bits).Masked()
	}
	of := network(packets[at])
	return slices.DeleteFunc(slices.Clone(packets[:at+1]), func(p automaton.Packet) bool { return network(p) != of })
}

// ErrUndecided says that the interpreter itself gives one thing or another,
// depending on when within the time that it was under way each packet came. On a
// machine that keeps up only packets close to the end of a place, a grant or a
// token are like that.
var ErrUndecided = errors.New("the trace depends on moments that nobody measured")

const (
	// tick is a jiffy at the lowest HZ, to which the kernel rounds times.
	tick = 10 * time.Millisecond
	// timings is how many times the interpreter runs, with each packet early or late.
	timings = 32
	// moreTimings is how many it gets to agree with the kernel after all.
	moreTimings = 2000
)

// Differ sends a trace at a kernel that has g, and at the interpreter, and says
// where they differ: a [Difference], or nil. Any other error says nothing.
func Differ(ctx context.Context, g *automaton.Program, mk Maker, packets []automaton.Packet) error {
	k, err := New(ctx, g, mk)
	if err != nil {
		return err
	}
	seen, err := k.observe(ctx, packets)
	if errors.Is(err, ErrNotHere) {
		// Where the kernel does not let in a flow the rest of the trace cannot be.
		packets = packets[:len(seen.packets)]
		if differs := seen.differ(g, packets); differs != nil {
			err = differs
		}
	} else if err == nil {
		err = seen.differ(g, packets)
	}
	return errors.Join(err, k.Close())
}

// sights is what a kernel made of a trace, and what it held in the end.
type sights struct {
	packets []Sight
	end     Sight
	final   []final
}

// final is where a source stands.
type final struct {
	src  netip.Addr
	ttl  uint8
	way  []port.Port
	open []int
}

func (f final) equal(o final) bool { return slices.Equal(f.way, o.way) && slices.Equal(f.open, o.open) }

func (k *Kernel) observe(ctx context.Context, packets []automaton.Packet) (s sights, err error) {
	if err := k.serve(ctx, packets); err != nil {
		return s, err
	}
	k.Start()
	if s.packets, err = k.Watch(ctx, packets); err != nil {
		return s, err
	}
	s.end.After = k.Late(0)
	loaded, err := k.loaded(ctx)
	if err != nil {
		return s, err
	}
	s.end.Until = k.Late(0)
	for _, p := range packets {
		f := final{src: p.Src, ttl: p.TTL}
		if slices.ContainsFunc(s.final, func(o final) bool { return o.src == f.src && o.ttl == f.ttl }) {
			continue
		}
		if f.way, f.open, err = k.place(loaded, f.src, f.ttl); err != nil {
			return s, Difference{"in the end " + err.Error(), len(packets) - 1}
		}
		s.final = append(s.final, f)
	}
	return s, nil
}

// differ runs the interpreter with many timings that are consistent with what
// was measured. What it says must be one thing, and what the kernel did.
func (s sights) differ(g *automaton.Program, packets []automaton.Packet) error {
	first, firstEnd := s.interpret(g, packets, 0)
	decided := true
	for seed := uint64(1); seed < timings && decided; seed++ {
		verdicts, end := s.interpret(g, packets, seed)
		decided = slices.Equal(verdicts, first) && slices.EqualFunc(end, firstEnd, final.equal)
	}
	told, at := s.tell(packets, first, firstEnd)
	if told == "" {
		return nil
	}
	if !decided {
		return ErrUndecided
	}
	for seed := uint64(timings); seed < moreTimings; seed++ {
		verdicts, end := s.interpret(g, packets, seed)
		if agrees, _ := s.tell(packets, verdicts, end); agrees == "" {
			return nil
		}
	}
	return Difference{told, at}
}

// tell puts the first difference into words, "" if there is none, and says which
// packet it is about.
func (s sights) tell(packets []automaton.Packet, want []automaton.Verdict, end []final) (string, int) {
	for i, p := range packets {
		if got := s.packets[i].Verdict; got != want[i] {
			return fmt.Sprintf("packet %d, %s from %s: the kernel says %s, the interpreter %s", i+1, p.To, p.Src, got, want[i]), i
		}
	}
	for i, f := range s.final {
		if !f.equal(end[i]) {
			last := len(packets) - 1
			for packets[last].Src != f.src || packets[last].TTL != f.ttl {
				last--
			}
			return fmt.Sprintf("in the end %s has done %v and holds the classes %v in the kernel, %v and %v in the interpreter",
				f.src, f.way, f.open, end[i].way, end[i].open), last
		}
	}
	return "", 0
}

// interpret is one run of the interpreter. Each packet comes at a time at which it
// may have come to the kernel: the middle of it with seed 0, else one of its ends.
func (s sights) interpret(g *automaton.Program, packets []automaton.Packet, seed uint64) ([]automaton.Verdict, []final) {
	r := rand.New(rand.NewPCG(seed, 0))
	var now time.Duration
	when := func(of Sight) time.Duration {
		at := of.After + (of.Until-of.After)/2
		if seed > 0 {
			at = of.After - tick
			if r.IntN(2) == 0 {
				at = of.Until + tick
			}
		}
		now = max(now, at)
		return now
	}
	in := automaton.NewInterpreter(g)
	verdicts := make([]automaton.Verdict, len(packets))
	for i, p := range packets {
		p.Time = when(s.packets[i])
		verdicts[i] = in.Packet(p).Verdict
	}
	in.Advance(when(s.end))
	end := make([]final, len(s.final))
	for i, f := range s.final {
		end[i] = final{f.src, f.ttl, in.Place(f.src, f.ttl), in.Grants(f.src)}
	}
	return verdicts, end
}
