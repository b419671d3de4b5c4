package iptables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

var _ backend.Operator = (*Backend)(nil)

// Grant implements backend.Operator. The kernel keeps when a source was seen, and
// the rules say how long that counts: so a grant has the time of its door, and
// begins anew.
func (b *Backend) Grant(ctx context.Context, g *automaton.Program, door int, source netip.Addr, d time.Duration) (time.Duration, error) {
	source = g.Source(source)
	has, err := b.grant(ctx, g, door, source, d)
	if err != nil {
		return 0, fmt.Errorf("let %s in by door %s: %w", source, g.Doors[door].Name, err)
	}
	return has, nil
}

func (b *Backend) grant(ctx context.Context, g *automaton.Program, door int, source netip.Addr, d time.Duration) (time.Duration, error) {
	class := g.Classes[g.Doors[door].Class]
	has := class.OpenFor
	if class.Once {
		has = g.StepTimeout
	}
	if d != 0 && d != has {
		return 0, fmt.Errorf("%w: iptables can only let it in for %s", backend.ErrFixedTime, has)
	}
	lists, err := b.loadedLists(ctx)
	if err != nil {
		return 0, err
	}
	fam := familyOf(source)
	w := &builder{g: g, fam: fam}
	into := w.grantList(g.Doors[door].Class)
	if class.Once {
		into = w.knockList(g.Doors[door].End)
	}
	if !lists[into] {
		return 0, fmt.Errorf("the rules in the kernel are not those of the policy: no rule asks the list %s", into)
	}
	if class.Once {
		// A source is at one place only.
		if _, err := b.take(ctx, source, func(l list) bool { return l.place }); err != nil {
			return 0, err
		}
	}
	return has, b.write(ctx, into, "+"+source.String()+"\n")
}

// Revoke implements backend.Operator.
func (b *Backend) Revoke(ctx context.Context, g *automaton.Program, door int, source netip.Addr) (int, error) {
	if g != nil {
		source = g.Source(source)
	}
	n, err := b.take(ctx, source, func(l list) bool {
		switch {
		case door < 0:
			return true
		case l.place:
			return g.LeadsTo(automaton.State(l.number), door)
		}
		return l.number == g.Classes[g.Doors[door].Class].ID
	})
	if err != nil {
		return 0, fmt.Errorf("revoke what %s has: %w", source, err)
	}
	return n, nil
}

// take takes a source out of lists, and says out of how many that counted.
func (b *Backend) take(ctx context.Context, source netip.Addr, which func(list) bool) (int, error) {
	times := make(map[string]lifetime)
	for _, fam := range families {
		kernel, err := b.kernel(ctx, fam)
		if err != nil {
			return 0, err
		}
		maps.Copy(times, kernel.lifetimes())
	}
	if len(times) == 0 {
		return 0, backend.ErrNotLoaded
	}
	entries, err := b.entries(ctx, slices.Sorted(maps.Keys(times)))
	if err != nil {
		return 0, err
	}
	now := b.clock(ctx)
	taken := 0
	for _, e := range entries {
		l, _ := parseList(e.list)
		if e.source != source || !which(l) {
			continue
		}
		if err := b.write(ctx, e.list, "-"+source.String()+"\n"); err != nil {
			return taken, err
		}
		if _, live := now.left(e.seen, times[e.list].timeout); live {
			taken++
		}
	}
	return taken, nil
}

// loadedLists names the lists that the rules in the kernel ask.
func (b *Backend) loadedLists(ctx context.Context) (map[string]bool, error) {
	all := make(map[string]bool)
	found := false
	for _, fam := range families {
		kernel, err := b.kernel(ctx, fam)
		if err != nil {
			return nil, err
		}
		found = found || !kernel.empty()
		maps.Copy(all, kernel.lists())
	}
	if !found {
		return nil, backend.ErrNotLoaded
	}
	return all, nil
}

func familyOf(source netip.Addr) family {
	if source.Is6() {
		return families[1]
	}
	return families[0]
}

// Block implements backend.Operator. The rules come first, one transaction for
// each family; then nobody can enter a list, and they are emptied.
func (b *Backend) Block(ctx context.Context) error {
	lists, err := b.setBlock(ctx, ruleset.block)
	if err != nil {
		return fmt.Errorf("block all doors: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if _, ok := parseList(name); !ok {
			continue
		}
		if err := b.write(ctx, name, "/\n"); err != nil {
			return fmt.Errorf("all doors are blocked, but grants and progress are left: %w", err)
		}
	}
	return nil
}

// Unblock implements backend.Operator.
func (b *Backend) Unblock(ctx context.Context) error {
	if _, err := b.setBlock(ctx, ruleset.unblock); err != nil {
		return fmt.Errorf("end the block: %w", err)
	}
	return nil
}

// setBlock changes the rules of both families, and gives the lists that they use.
func (b *Backend) setBlock(ctx context.Context, change func(ruleset) ruleset) (map[string]bool, error) {
	all := make(map[string]bool)
	found := false
	for _, fam := range families {
		kernel, err := b.kernel(ctx, fam)
		if err != nil {
			return nil, err
		}
		found = found || !kernel.empty()
		maps.Copy(all, kernel.lists())
		if text := blockChanges(kernel, change(kernel)); text != "" {
			if err := b.restore(ctx, fam, text); err != nil {
				return nil, err
			}
		}
	}
	if !found {
		return nil, backend.ErrNotLoaded
	}
	return all, nil
}

// blockComment marks the rules of a block.
const blockComment = "tirl: all doors are blocked"

// blockTarget is how a blocked packet is turned away, and whether a chain is one
// that blocks.
func (t table) blockRule(name string) (string, bool) {
	if name != hear && name != service {
		return "", false
	}
	target := "-j DROP"
	if t.has(end) {
		target = "-g " + end
	}
	return comment(blockComment) + " " + target, true
}

func isBlock(rule string) bool { return option(words(rule), "--comment") == blockComment }

// blocked says whether some chain begins with a block.
func (r ruleset) blocked() bool {
	return slices.ContainsFunc(r.tables, func(t table) bool {
		return slices.ContainsFunc(t.chains, func(c chain) bool { return slices.ContainsFunc(c.rules, isBlock) })
	})
}

// block gives the ruleset with a block at the head of the chains that let in and
// that hear.
func (r ruleset) block() ruleset {
	r = r.unblock()
	for _, t := range r.tables {
		for i := range t.chains {
			if rule, ok := t.blockRule(t.chains[i].name); ok {
				t.chains[i].rules = append([]string{rule}, t.chains[i].rules...)
			}
		}
	}
	return r
}

// unblock gives the ruleset without a block. It shares nothing with r.
func (r ruleset) unblock() ruleset {
	out := ruleset{slices.Clone(r.tables)}
	for i := range out.tables {
		t := &out.tables[i]
		t.chains = slices.Clone(t.chains)
		for j := range t.chains {
			t.chains[j].rules = slices.DeleteFunc(slices.Clone(t.chains[j].rules), isBlock)
		}
	}
	return out
}

// blockChanges writes what turns one ruleset into another that differs in its
// blocks only.
func blockChanges(from, to ruleset) string {
	var b strings.Builder
	for _, t := range from.tables {
		fmt.Fprintf(&b, "*%s\n", t.name)
		for _, c := range t.chains {
			for _, rule := range c.rules {
				if isBlock(rule) {
					fmt.Fprintf(&b, "-D %s %s\n", c.name, rule)
				}
			}
		}
		for _, c := range to.find(t.name).chains {
			if len(c.rules) > 0 && isBlock(c.rules[0]) {
				fmt.Fprintf(&b, "-I %s 1 %s\n", c.name, c.rules[0])
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}
