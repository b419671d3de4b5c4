package nftables

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"tirl/internal/backend"
)

const snapshotPart = "tirl.nft"

var _ backend.Snapshotter = (*Backend)(nil)

// Snapshot implements backend.Snapshotter. What nft lists of the table is what
// it also reads, the elements with the time that they have left.
func (b *Backend) Snapshot(ctx context.Context) (*backend.Snapshot, error) {
	s := &backend.Snapshot{Backend: b.Name()}
	l, err := b.all(ctx)
	if err != nil {
		return nil, err
	}
	if l != nil {
		s.Parts = []backend.SnapshotPart{{Name: snapshotPart, Text: l.String()}}
	}
	return s, nil
}

// Restore implements backend.Snapshotter: one transaction.
func (b *Backend) Restore(ctx context.Context, s *backend.Snapshot, passed time.Duration) error {
	if s.Empty() {
		return b.Remove(ctx)
	}
	was, err := parseListing(s.Part(snapshotPart))
	if err != nil {
		return fmt.Errorf("read the snapshot of table %s: %w", table, err)
	}
	is, err := b.all(ctx)
	if err != nil {
		return err
	}
	if _, err := b.run.Run(ctx, restore(was, is, passed), "nft", "-f", "-"); err != nil {
		return fmt.Errorf("restore table %s: %w", table, explain(err))
	}
	return nil
}

// String writes a listing as nft does.
func (l *listing) String() string {
	w := &writer{}
	w.line("table %s {", table)
	for i := range l.objects {
		w.object(&l.objects[i])
	}
	w.line("}")
	return w.String()
}

func (w *writer) object(o *object) {
	w.line("\t%s %s {", o.kind, o.name)
	for _, line := range o.body {
		w.line("\t\t%s", line)
	}
	if len(o.elements) > 0 {
		w.line("\t\telements = { %s }", strings.Join(o.elements, ",\n\t\t\t"))
	}
	w.line("\t}")
}

// restore writes the transaction that turns is into was. What both have of the
// same kind and holds the hand of an administrator or a live grant stays where
// it is: deleted and made again, it would lose what packets add meanwhile.
func restore(was, is *listing, passed time.Duration) string {
	w := &writer{}
	if is != nil {
		w.clear(was, is)
	}
	back := listing{objects: slices.Clone(was.objects)}
	for i := range back.objects {
		o := &back.objects[i]
		there := is.find(o.name)
		switch {
		case o.kind == "counter" && o.stays(there):
			o.body = nil // it goes on counting
		case o.name == blockedSet && o.stays(there):
			o.elements = nil // whoever shut or opened the doors did so later
		case o.dynamic():
			o.elements = aged(o.elements, passed)
			if o.stays(there) {
				o.elements = unlike(o.elements, there.elements)
			}
		}
	}
	back.objects = slices.DeleteFunc(back.objects, func(o object) bool { return o.kind == "counter" && len(o.body) == 0 })
	w.WriteString(back.String())
	return w.String()
}

// clear writes what takes out all that does not stay.
func (w *writer) clear(was, is *listing) {
	w.line("flush table %s", table)
	// Maps before chains: their verdicts hold chains.
	for i := range is.objects {
		o := &is.objects[i]
		if o.kind != "chain" && !o.stays(was.find(o.name)) {
			w.line("delete %s %s %s", o.kind, table, o.name)
		}
	}
	for i := range is.objects {
		o := &is.objects[i]
		if o.kind == "chain" && !o.stays(was.find(o.name)) {
			w.line("delete chain %s %s", table, o.name)
		}
	}
	classes := was.classes()
	for i := range is.objects {
		o := &is.objects[i]
		if !slices.Contains(grantSets[:], o.name) || !o.stays(was.find(o.name)) {
			continue
		}
		for _, text := range o.elements {
			// Added first, so that one that has run out meanwhile is no error.
			if e, err := parseElement(text); err != nil || !classes[e.key[len(e.key)-1]] {
				key := strings.Join(e.key, " . ")
				w.line("add element %s %s { %s timeout 1s }", table, o.name, key)
				w.line("delete element %s %s { %s }", table, o.name, key)
			}
		}
	}
}

// stays says whether an object and its namesake are the same thing, which then
// need not be made anew.
func (o *object) stays(other *object) bool {
	if other == nil || o.kind != other.kind {
		return false
	}
	switch {
	case o.kind == "chain":
		// A base chain that stays never lets a packet pass unseen.
		return o.hook() != "" && o.hook() == other.hook()
	case o.kind == "counter":
		return true
	case slices.Contains(grantSets[:], o.name), o.name == blockedSet, inPool(o.name):
		return slices.Equal(o.body, other.body)
	}
	return false
}

// hook is the line that makes a chain a base chain.
func (o *object) hook() string {
	for _, line := range o.body {
		if strings.HasPrefix(line, "type ") {
			return line
		}
	}
	return ""
}

// classes are the handles of all classes that a ruleset grants.
func (l *listing) classes() map[string]bool {
	all := make(map[string]bool)
	for _, name := range []string{"class", "once_class"} {
		if o := l.find(name); o != nil {
			for _, text := range o.elements {
				if e, err := parseElement(text); err == nil {
					all[e.value] = true
				}
			}
		}
	}
	return all
}

var expires = regexp.MustCompile(`\bexpires ([0-9a-z]+)`)

// aged gives the elements that are left after a time, with the time that they
// then have. Buckets are full again: they live for two seconds.
func aged(elements []string, passed time.Duration) []string {
	var out []string
	for _, text := range elements {
		m := expires.FindStringSubmatchIndex(text)
		if m == nil || strings.Contains(text, " limit rate ") {
			continue
		}
		left, err := parseSpan(text[m[2]:m[3]])
		if left -= passed; err == nil && left > 0 {
			out = append(out, text[:m[2]]+span(left)+text[m[3]:])
		}
	}
	return out
}

// unlike drops elements whose key is there already.
func unlike(elements, there []string) []string {
	has := make(map[string]bool)
	for _, text := range there {
		if e, err := parseElement(text); err == nil {
			has[strings.Join(e.key, " . ")] = true
		}
	}
	return slices.DeleteFunc(elements, func(text string) bool {
		e, err := parseElement(text)
		return err != nil || has[strings.Join(e.key, " . ")]
	})
}
