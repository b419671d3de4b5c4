package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

var _ backend.Operator = (*Backend)(nil)

// attempts is how often a change is tried that packets may overtake: a place or
// a grant may be gone between reading it and deleting it, and then the kernel
// refuses the whole transaction.
const attempts = 5

// Grant implements backend.Operator. An administrator's grants to timed doors
// have sets of their own; for an open-once door the source is put at the end of
// its sequence.
func (b *Backend) Grant(ctx context.Context, g *automaton.Program, door int, source netip.Addr, d time.Duration) (time.Duration, error) {
	class := g.Classes[g.Doors[door].Class]
	if class.Once && g.MatchTTL {
		return 0, errors.New("with match_ttl a source is an address and a TTL, and nobody knows the TTL of its next connection")
	}
	if d == 0 {
		d = class.OpenFor
		if class.Once {
			d = g.StepTimeout
		}
	}
	source = g.Source(source)
	var has time.Duration
	err := b.change(ctx, func(l *listing, w *writer) error {
		if class.Once {
			has = d
			return w.place(l, g, door, source, d)
		}
		left, err := l.grantLeft(source, class.ID)
		if err != nil {
			return err
		}
		if has = max(d, left); left < d {
			w.give(source, class.ID, d)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("let %s in by door %s: %w", source, g.Doors[door].Name, err)
	}
	return has, nil
}

// Revoke implements backend.Operator.
func (b *Backend) Revoke(ctx context.Context, g *automaton.Program, door int, source netip.Addr) (int, error) {
	if g != nil {
		source = g.Source(source)
	}
	taken := 0
	err := b.change(ctx, func(l *listing, w *writer) error {
		taken = 0
		for _, o := range l.objects {
			if !o.ofSources() {
				continue
			}
			for _, text := range o.elements {
				e, err := parseElement(text)
				if err != nil {
					return err
				}
				addr, _, err := e.source(false)
				if err != nil {
					return err
				}
				about, err := e.about(&o, g, door)
				if err != nil {
					return err
				}
				if addr == source && about {
					w.line("delete element %s %s { %s }", table, o.name, strings.Join(e.key, " . "))
					taken++
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("revoke what %s has: %w", source, err)
	}
	return taken, nil
}

// about says whether an element of a set has to do with a door; any if it is
// negative.
func (e element) about(o *object, g *automaton.Program, door int) (bool, error) {
	if door < 0 {
		return true, nil
	}
	if slices.Contains(grantSets[:], o.name) {
		class, err := parseHandle(e.key[len(e.key)-1])
		return class == g.Classes[g.Doors[door].Class].ID, err
	}
	state, err := parseHandle(e.value)
	return g.LeadsTo(automaton.State(state), door) || leadsUser(g, state, door), err
}

// Block implements backend.Operator.
func (b *Backend) Block(ctx context.Context) error {
	err := b.change(ctx, func(l *listing, w *writer) error {
		if l.find(blockedSet) == nil {
			return errors.New("the rules are of an older tirl, which cannot block; sudo tirl apply loads them anew")
		}
		w.line("add element %s %s { ipv4, ipv6 }", table, blockedSet)
		for _, o := range l.objects {
			if o.ofSources() {
				w.line("flush %s %s %s", o.kind, table, o.name)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("block all doors: %w", err)
	}
	return nil
}

// Unblock implements backend.Operator.
func (b *Backend) Unblock(ctx context.Context) error {
	err := b.change(ctx, func(l *listing, w *writer) error {
		if l.find(blockedSet) != nil {
			w.line("flush set %s %s", table, blockedSet)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end the block: %w", err)
	}
	return nil
}

// ofSources says whether an object holds the grants or places of sources.
func (o *object) ofSources() bool {
	return slices.Contains(grantSets[:], o.name) ||
		strings.HasPrefix(o.name, "started") || strings.HasPrefix(o.name, "advanced")
}

// change loads what plan writes about the present state of the sources, and
// reads that state anew if packets have changed it meanwhile.
func (b *Backend) change(ctx context.Context, plan func(*listing, *writer) error) error {
	var failed error
	for range attempts {
		l, err := b.sources(ctx)
		if err != nil {
			return err
		}
		if l == nil {
			return backend.ErrNotLoaded
		}
		w := &writer{}
		if err := plan(l, w); err != nil {
			return err
		}
		if w.Len() == 0 {
			return nil
		}
		if _, failed = b.run.Run(ctx, w.String(), "nft", "-f", "-"); failed == nil {
			return nil
		}
		failed = permission(failed)
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// sources reads the table with the elements of those sets that hold sources.
func (b *Backend) sources(ctx context.Context) (*listing, error) {
	l, err := b.objects(ctx)
	if err != nil || l == nil {
		return nil, err
	}
	return l, b.elements(ctx, l, (*object).ofSources)
}

// grantLeft is how long a source is let in already, by itself or by an
// administrator.
func (l *listing) grantLeft(source netip.Addr, class uint32) (time.Duration, error) {
	left := time.Duration(-1)
	for _, name := range grantSets {
		o := l.find(name)
		if o == nil {
			continue
		}
		for _, text := range o.elements {
			e, err := parseElement(text)
			if err != nil {
				return 0, err
			}
			addr, _, err := e.source(false)
			if err != nil {
				return 0, err
			}
			id, err := parseHandle(e.key[len(e.key)-1])
			if err != nil {
				return 0, err
			}
			if addr == source && id == class {
				left = max(left, e.left)
			}
		}
	}
	return left, nil
}

// give replaces an administrator's grant. What is added first may be deleted
// whether it was there or not.
func (w *writer) give(source netip.Addr, class uint32, d time.Duration) {
	name := "given4"
	if source.Is6() {
		name = "given6"
	}
	key := fmt.Sprintf("%s . %s", source, handle(class))
	w.line("add element %s %s { %s timeout 1s }", table, name, key)
	w.line("delete element %s %s { %s }", table, name, key)
	w.line("add element %s %s { %s timeout %s }", table, name, key, span(d))
}

// place puts a source at the end of a door's sequence, wherever it is.
func (w *writer) place(l *listing, g *automaton.Program, door int, source netip.Addr, d time.Duration) error {
	end := g.Doors[door].End
	f := families(g)[0]
	if source.Is6() {
		f = families(g)[1]
	}
	for _, name := range []string{f.started, f.advanced, f.spent} {
		o := l.find(name)
		if o == nil {
			return fmt.Errorf("the rules in the kernel are not those of the policy: %s is missing", name)
		}
		for _, text := range o.elements {
			e, err := parseElement(text)
			if err != nil {
				return err
			}
			if addr, _, err := e.source(false); err == nil && addr == source {
				w.line("delete element %s %s { %s }", table, name, strings.Join(e.key, " . "))
			}
		}
	}
	into := f.advanced
	if g.Places[end].Depth == 1 {
		into = f.started
	}
	w.line("add element %s %s { %s timeout %s : %s }", table, into, source, span(d), handle(uint32(end)))
	return nil
}

// Counters implements backend.Operator.
func (b *Backend) Counters(ctx context.Context, g *automaton.Program) (*backend.Counters, error) {
	if !tells(g) {
		return nil, nil
	}
	l, err := b.objects(ctx)
	if err == nil && l == nil {
		err = backend.ErrNotLoaded
	}
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	c := &backend.Counters{Doors: make([]uint64, len(g.Doors))}
	for _, o := range l.objects {
		if o.kind != "counter" {
			continue
		}
		n, err := packets(strings.Join(o.body, " "))
		if err != nil {
			return nil, fmt.Errorf("read counter %s: %w", o.name, err)
		}
		switch o.name {
		case backend.EventOpened:
			c.Opened = n
		case backend.EventAccepted:
			c.Accepted = n
		case backend.EventWrong:
			c.Wrong = n
		case backend.EventLimited:
			c.Limited = n
		}
	}
	if l, err = b.list(ctx, "list", "set", "inet", "tirl", openedSet); err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	if o := l.find(openedSet); o != nil {
		return c, o.perDoor(g, c.Doors)
	}
	return c, nil
}

// perDoor reads the counters of the ends of doors.
func (o *object) perDoor(g *automaton.Program, doors []uint64) error {
	for _, text := range o.elements {
		key, rest, ok := strings.Cut(text, " counter ")
		if !ok {
			continue
		}
		state, err := parseHandle(key)
		if err != nil {
			return fmt.Errorf("read the counter of a door: %w", err)
		}
		n, err := packets(rest)
		if err != nil {
			return fmt.Errorf("read the counter of a door: %w", err)
		}
		if int(state) < len(g.Places) && g.Places[state].Door >= 0 {
			doors[g.Places[state].Door] = n
		}
	}
	return nil
}

// packets reads "packets N bytes M".
func packets(text string) (uint64, error) {
	words := strings.Fields(text)
	if i := slices.Index(words, "packets"); i >= 0 && i+1 < len(words) {
		return strconv.ParseUint(words[i+1], 10, 64)
	}
	return 0, fmt.Errorf("%q is no counter", text)
}
