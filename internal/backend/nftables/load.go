package nftables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// outline reads the table without its elements, but for grants: what must be known
// to replace it.
func (b *Backend) outline(ctx context.Context) (*listing, error) {
	l, err := b.objects(ctx)
	if err != nil || l == nil {
		return nil, err
	}
	return l, b.elements(ctx, l, func(o *object) bool { return slices.Contains(grantSets[:], o.name) })
}

// permission turns what nft says to somebody who is not root into an error that
// callers know.
func permission(err error) error {
	if strings.Contains(err.Error(), "Operation not permitted") {
		return errors.Join(os.ErrPermission, err)
	}
	return err
}

// replace writes what takes an older policy's objects out, in the transaction
// that brings in the ruleset of g. What holds grants stays, less the grants that
// g would not give.
func replace(old *listing, g *automaton.Program) string {
	if old == nil {
		return ""
	}
	w := &writer{}
	w.line("flush table %s", table)
	base := map[bool]string{true: "input", false: "prerouting"}[g.Firewall]
	// Maps before chains: their verdicts hold chains.
	for _, o := range old.objects {
		if o.kind != "chain" && !o.outlives(g) {
			w.line("delete %s %s %s", o.kind, table, o.name)
		}
	}
	for _, o := range old.objects {
		if o.kind == "chain" && o.name != base {
			w.line("delete chain %s %s", table, o.name)
		}
	}
	for _, name := range grantSets {
		if o := old.find(name); o != nil && hasTimed(g) {
			for _, e := range o.elements {
				w.revoke(name, e, g)
			}
		}
	}
	return w.String()
}

// outlives says whether an object stays when g takes the place of what was loaded.
func (o *object) outlives(g *automaton.Program) bool {
	switch {
	case slices.Contains(grantSets[:], o.name):
		return hasTimed(g)
	case o.kind == "counter":
		return slices.Contains(counters(g), o.name)
	case inPool(o.name):
		return len(g.Users) > 0
	}
	return o.kind == "set" && o.name == blockedSet
}

// revoke deletes a grant that no door of g gives. It is added first, so that one
// that has run out meanwhile is no error.
func (w *writer) revoke(name, text string, g *automaton.Program) {
	e, err := parseElement(text)
	if err != nil || len(e.key) != 2 {
		return
	}
	addr, err := netip.ParseAddr(e.key[0])
	id, err2 := parseHandle(e.key[1])
	if err == nil && err2 == nil && g.Grants(id, addr) {
		return
	}
	w.line("add element %s %s { %s . %s timeout 1s }", table, name, e.key[0], e.key[1])
	w.line("delete element %s %s { %s . %s }", table, name, e.key[0], e.key[1])
}

// Loaded implements backend.Backend.
func (b *Backend) Loaded(ctx context.Context) (*backend.Loaded, error) {
	l, err := b.all(ctx)
	if err != nil || l == nil {
		return nil, err
	}
	loaded := &backend.Loaded{}
	var text strings.Builder
	// Sets that kept their grants through a load are listed before later ones.
	slices.SortFunc(l.objects, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
	for i := range l.objects {
		o := &l.objects[i]
		if err := loadedObject(o, loaded); err != nil {
			return nil, fmt.Errorf("read %s %s of table %s: %w", o.kind, o.name, table, err)
		}
		o.write(&text)
	}
	loaded.Text, loaded.Listing = text.String(), l.print()
	loaded.Grants = merge(loaded.Grants)
	return loaded, nil
}

// Skim implements backend.Skimmer. The set that it reads is there whenever the table is.
func (b *Backend) Skim(ctx context.Context) (*backend.Loaded, error) {
	l, err := b.list(ctx, "list", "set", "inet", "tirl", blockedSet)
	if err != nil {
		return nil, err
	}
	if o := l.find(blockedSet); o != nil {
		return &backend.Loaded{Blocked: len(o.elements) > 0}, nil
	}
	return b.Loaded(ctx)
}

// Outline implements backend.Skimmer.
func (b *Backend) Outline(ctx context.Context) (*backend.Loaded, error) {
	l, err := b.objects(ctx)
	if err != nil || l == nil {
		return nil, err
	}
	loaded := &backend.Loaded{}
	for i := range l.objects {
		if o := &l.objects[i]; o.kind == "chain" {
			if err := loadedObject(o, loaded); err != nil {
				return nil, err
			}
		}
	}
	return loaded, nil
}

// Sources implements backend.Skimmer.
func (b *Backend) Sources(ctx context.Context) (*backend.Loaded, error) {
	l, err := b.objects(ctx)
	if err != nil || l == nil {
		return nil, err
	}
	l.objects = slices.DeleteFunc(l.objects, func(o object) bool { return !o.ofPlaces() && !slices.Contains(grantSets[:], o.name) })
	if err := b.elements(ctx, l, func(*object) bool { return true }); err != nil {
		return nil, err
	}
	loaded := &backend.Loaded{}
	for i := range l.objects {
		if err := loadedObject(&l.objects[i], loaded); err != nil {
			return nil, err
		}
	}
	loaded.Grants = merge(loaded.Grants)
	return loaded, nil
}

// ofPlaces says whether an object holds the places of sources.
func (o *object) ofPlaces() bool {
	return o.kind == "map" && (strings.HasPrefix(o.name, "started") || strings.HasPrefix(o.name, "advanced"))
}

// write prints an object for comparison: what packets or the commands of an
// administrator change is left out.
func (o *object) write(w *strings.Builder) {
	fmt.Fprintf(w, "%s %s\n", o.kind, o.name)
	if o.kind == "counter" {
		return
	}
	for _, line := range o.body {
		fmt.Fprintf(w, "\t%s\n", line)
	}
	if !o.dynamic() && o.name != blockedSet {
		// nft lists the elements of a hash set in the order of its buckets.
		sorted := slices.Sorted(slices.Values(o.elements))
		for _, e := range sorted {
			e, _, _ = strings.Cut(e, " counter packets ")
			fmt.Fprintf(w, "\t%s\n", e)
		}
	}
}

func (o *object) dynamic() bool {
	return o.kind != "chain" && slices.ContainsFunc(o.body, func(l string) bool {
		return strings.HasPrefix(l, "flags") && strings.Contains(l, "dynamic")
	})
}

// loadedObject adds what one object says.
func loadedObject(o *object, into *backend.Loaded) error {
	if o.kind == "chain" {
		for _, line := range o.body {
			if strings.HasPrefix(line, "type ") {
				continue
			}
			into.Rules++
			if _, rest, ok := strings.Cut(line, `comment "policy `); ok && o.name == "about" {
				into.PolicyHash = strings.TrimSuffix(rest, `"`)
			}
		}
		return nil
	}
	if o.name == blockedSet {
		into.Blocked = len(o.elements) > 0
		return nil
	}
	withTTL := strings.Contains(o.name, "_ttl")
	for _, text := range o.elements {
		switch {
		case o.ofPlaces():
			e, err := parseElement(text)
			if err != nil {
				return err
			}
			addr, ttl, err := e.source(withTTL)
			if err != nil {
				return err
			}
			state, err := parseHandle(e.value)
			if err != nil {
				return err
			}
			into.Places = append(into.Places, backend.Place{Source: addr, TTL: ttl, State: automaton.State(state), Left: e.left})
		case slices.Contains(grantSets[:], o.name):
			e, err := parseElement(text)
			if err != nil {
				return err
			}
			addr, _, err := e.source(false)
			if err != nil {
				return err
			}
			class, err := parseHandle(e.key[len(e.key)-1])
			if err != nil {
				return err
			}
			into.Grants = append(into.Grants, backend.Grant{Source: addr, Class: class, Left: e.left})
		}
	}
	return nil
}

// merge keeps of several grants for one source and class the one that ends last:
// one may be of a knock and one of an administrator.
func merge(grants []backend.Grant) []backend.Grant {
	type key struct {
		source netip.Addr
		class  uint32
	}
	at := make(map[key]int)
	var out []backend.Grant
	for _, g := range grants {
		k := key{g.Source, g.Class}
		if i, ok := at[k]; ok {
			out[i].Left = max(out[i].Left, g.Left)
			continue
		}
		at[k] = len(out)
		out = append(out, g)
	}
	return out
}
