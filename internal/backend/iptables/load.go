package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/tool"
)

// undoTime is how long putting the older rules back may take, even when the
// context of Load is over.
const undoTime = time.Minute

// state of both families, in the order of families.
type rulesets [len(families)]ruleset

// Load implements backend.Backend. Each family is one transaction for each
// table. If one cannot be loaded, those that were are put back, with their
// places and grants: until all is well, a chain holds on to the older lists.
func (b *Backend) Load(ctx context.Context, g *automaton.Program) error {
	if err := b.able(g); err != nil {
		return err
	}
	var before, want, first rulesets
	var texts [len(families)]string
	blocked := false
	for i, fam := range families {
		var err error
		if before[i], err = b.kernel(ctx, fam); err != nil {
			return fmt.Errorf("load rules: %w", err)
		}
		blocked = blocked || before[i].blocked()
	}
	for i, fam := range families {
		if want[i] = build(g, fam); blocked {
			want[i] = want[i].block()
		}
		first[i] = want[i].holding(missing(before[i].lists(), want[i].lists()))
		texts[i] = first[i].restore(before[i])
		if err := b.restore(ctx, fam, texts[i], "--test"); err != nil {
			return fmt.Errorf("load rules: %w", err)
		}
	}
	for i, fam := range families {
		if err := b.restore(ctx, fam, texts[i]); err != nil {
			return b.undo(ctx, before, i+1, fmt.Errorf("load rules: %w", err))
		}
	}
	for i := range families {
		if err := b.clean(ctx, g, before[i], want[i]); err != nil {
			return b.undo(ctx, before, len(families), fmt.Errorf("load rules: %w", err))
		}
	}
	for i, fam := range families {
		b.letGo(ctx, fam, first[i].tables[0])
	}
	return nil
}

// letGo takes out the chain that holds the older lists. When that fails, the
// policy is in force all the same: nothing leads to the chain, and the next Load
// or Remove takes it out.
func (b *Backend) letGo(ctx context.Context, fam family, t table) {
	if t.has(old) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		_ = b.restore(ctx, fam, fmt.Sprintf("*%s\n-F %s\n-X %[2]s\nCOMMIT\n", t.name, old))
	}
}

// Remove implements backend.Backend. Other people's chains and rules are as they
// were before Load. A table of the kernel that was first used by Load stays,
// empty and with the policies accept, as after any use of the iptables command.
func (b *Backend) Remove(ctx context.Context) error {
	var errs []error
	for _, fam := range families {
		kernel, err := b.kernel(ctx, fam)
		if errors.Is(err, tool.ErrMissing) {
			continue
		}
		if err == nil && !kernel.empty() {
			err = b.restore(ctx, fam, ruleset{}.restore(kernel))
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove rules: %w", err)
	}
	return nil
}

// undo puts back what the first n families held, and gives why.
func (b *Backend) undo(ctx context.Context, before rulesets, n int, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	for i, fam := range families[:n] {
		kernel, err := b.kernel(ctx, fam)
		if err == nil {
			if text := before[i].restore(kernel); text != "" {
				err = b.restore(ctx, fam, text)
			}
		}
		if err != nil {
			why = errors.Join(why, fmt.Errorf("put the older rules back: %w", err))
		}
	}
	return why
}

// kernel reads what the kernel holds of tirl in one family.
func (b *Backend) kernel(ctx context.Context, fam family) (ruleset, error) {
	text, err := b.run.Run(ctx, "", fam.save)
	if err != nil {
		return ruleset{}, err
	}
	return parse(text), nil
}

func (b *Backend) restore(ctx context.Context, fam family, text string, args ...string) error {
	command := append(fam.command(), args...)
	_, err := b.run.Run(ctx, text, command[0], command[1:]...)
	return err
}

// lists names the lists of the recent match that the rules use.
func (r ruleset) lists() map[string]bool {
	lists := make(map[string]bool)
	for _, t := range r.tables {
		for _, c := range t.chains {
			for _, rule := range c.rules {
				w := words(rule)
				for i := range len(w) - 1 {
					if w[i] == "--name" {
						lists[w[i+1]] = true
					}
				}
			}
		}
	}
	return lists
}

// missing lists what is in a and not in b, sorted.
func missing(a, b map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(a)), func(s string) bool { return b[s] })
}

// holding adds a chain that names more lists, so that the kernel keeps them. A
// list goes with the last rule that names it (recent_mt_destroy, xt_recent.c).
func (r ruleset) holding(lists []string) ruleset {
	if len(lists) == 0 {
		return r
	}
	c := chain{name: old}
	for _, l := range lists {
		c.rules = append(c.rules, "-m recent --rcheck --name "+l+" "+comment("held until the policy is loaded"))
	}
	t := r.tables[0]
	t.chains = append(slices.Clip(t.chains), c)
	return ruleset{append([]table{t}, r.tables[1:]...)}
}

// clean drops the places if the same policy was loaded before, and the grants of
// sources that no door of their class admits any more.
func (b *Backend) clean(ctx context.Context, g *automaton.Program, before, want ruleset) error {
	was := before.lists()
	var places, grants []string
	for _, name := range slices.Sorted(maps.Keys(want.lists())) {
		l, ok := parseList(name)
		switch {
		case !ok || !was[name]:
		case l.place:
			places = append(places, name)
		default:
			grants = append(grants, name)
		}
	}
	for _, name := range places {
		if err := b.write(ctx, name, "/\n"); err != nil {
			return err
		}
	}
	entries, err := b.entries(ctx, grants)
	if err != nil {
		return err
	}
	out := make(map[string]*strings.Builder)
	for _, e := range entries {
		if l, _ := parseList(e.list); !admits(g, l.number, e.source) {
			if out[e.list] == nil {
				out[e.list] = new(strings.Builder)
			}
			fmt.Fprintf(out[e.list], "-%s\n", e.source)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if err := b.write(ctx, name, out[name].String()); err != nil {
			return err
		}
	}
	return nil
}

// admits says whether some door of the class opens to the source.
func admits(g *automaton.Program, class uint32, source netip.Addr) bool {
	return slices.ContainsFunc(g.Doors, func(d automaton.Door) bool {
		return g.Classes[d.Class].ID == class && (len(d.From) == 0 ||
			slices.ContainsFunc(d.From, func(p netip.Prefix) bool { return p.Contains(source) }))
	})
}

// write gives commands to a list, one with each open of its file, as the kernel
// wants it (recent_mt_proc_write, xt_recent.c).
func (b *Backend) write(ctx context.Context, list, commands string) error {
	const script = `while read -r line; do printf '%s\n' "$line" > "$1" || exit 1; done`
	if _, err := b.run.Run(ctx, commands, "sh", "-c", script, "sh", procDir+list); err != nil {
		return fmt.Errorf("change the list %s: %w", list, err)
	}
	return nil
}
