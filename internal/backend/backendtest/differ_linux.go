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
	"tirl/internal/sample"
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
	if err := k.Fill(ctx, sample.Values(g, sample.Live)); err != nil {
		return errors.Join(err, k.Close())
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
	spent   []int // values
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
	if s.spent, err = k.Spent(ctx); err != nil {
		return s, err
	}
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
	first := s.interpret(g, packets, 0)
	decided := true
	for seed := uint64(1); seed < timings && decided; seed++ {
		decided = s.interpret(g, packets, seed).equal(first)
	}
	told, at := s.tell(packets, first)
	if told == "" {
		return nil
	}
	if !decided {
		return ErrUndecided
	}
	for seed := uint64(timings); seed < moreTimings; seed++ {
		if agrees, _ := s.tell(packets, s.interpret(g, packets, seed)); agrees == "" {
			return nil
		}
	}
	return Difference{told, at}
}

// tell puts the first difference into words, "" if there is none, and says which
// packet it is about.
func (s sights) tell(packets []automaton.Packet, want run) (string, int) {
	for i, p := range packets {
		if got := s.packets[i].Verdict; got != want.verdicts[i] {
			return fmt.Sprintf("packet %d, %s from %s: the kernel says %s, the interpreter %s", i+1, p.To, p.Src, got, want.verdicts[i]), i
		}
	}
	for i, f := range s.final {
		if !f.equal(want.end[i]) {
			last := len(packets) - 1
			for packets[last].Src != f.src || packets[last].TTL != f.ttl {
				last--
			}
			return fmt.Sprintf("in the end %s has done %v and holds the classes %v in the kernel, %v and %v in the interpreter",
				f.src, f.way, f.open, want.end[i].way, want.end[i].open), last
		}
	}
	if !slices.Equal(s.spent, want.spent) {
		return fmt.Sprintf("in the end the values %v are spent in the kernel, %v in the interpreter", s.spent, want.spent), len(packets) - 1
	}
	return "", 0
}

// run is what the interpreter made of a trace.
type run struct {
	verdicts []automaton.Verdict
	end      []final
	spent    []int
}

func (r run) equal(o run) bool {
	return slices.Equal(r.verdicts, o.verdicts) && slices.EqualFunc(r.end, o.end, final.equal) && slices.Equal(r.spent, o.spent)
}

// interpret is one run of the interpreter. Each packet comes at a time at which it
// may have come to the kernel: the middle of it with seed 0, else one of its ends.
func (s sights) interpret(g *automaton.Program, packets []automaton.Packet, seed uint64) run {
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
	values := sample.Values(g, sample.Live)
	for _, v := range values {
		in.Load(v)
	}
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
	did := run{verdicts: verdicts, end: end}
	for i, v := range values {
		if !slices.Contains(in.Live(v.User), v.Number) {
			did.spent = append(did.spent, i)
		}
	}
	return did
}
