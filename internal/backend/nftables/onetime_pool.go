package nftables

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"os/exec"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/port"
	"tirl/internal/tool"
)

var _ backend.Pool = (*Backend)(nil)

// batch is how many elements one transaction loads or deletes: packets wait for
// none, and a thousandth of a second passes for each hundred or so.
const batch = 10_000

// Marker implements backend.Pool. The number of the table goes into it, which nft cannot
// restore: a table that was made anew from what nft had listed has all the elements of the
// older one, also those of values that were spent since.
func (b *Backend) Marker(ctx context.Context) (uint32, bool, error) {
	number, ok, err := b.drawn(ctx)
	if err != nil || !ok {
		return 0, false, wrapMark(err)
	}
	handle, err := b.tableHandle(ctx)
	if err != nil {
		return 0, false, wrapMark(err)
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%d of table %s", number, handle)
	return h.Sum32(), true, nil
}

func wrapMark(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read the mark of the pool: %w", err)
}

// drawn reads the number that Begin was given.
func (b *Backend) drawn(ctx context.Context) (uint32, bool, error) {
	l, err := b.list(ctx, "list", "set", "inet", "tirl", markerSet)
	if err == nil && l == nil {
		if l, err = b.list(ctx, "list", "chain", "inet", "tirl", "about"); err == nil && l == nil {
			err = backend.ErrNotLoaded
		}
	}
	if err != nil {
		return 0, false, err
	}
	o := l.find(markerSet)
	if o == nil || len(o.elements) != 1 {
		return 0, false, nil
	}
	n, err := parseHandle(o.elements[0])
	return n, err == nil, err
}

// tableHandle reads the number of the table, which the kernel counts up for each that
// is made in a network namespace (nf_tables_newtable, net/netfilter/nf_tables_api.c).
func (b *Backend) tableHandle(ctx context.Context) (string, error) {
	text, err := b.nft(ctx, "-a", "-t", "list", "ruleset", "inet")
	if err != nil {
		return "", err
	}
	_, text, _ = strings.Cut("\n"+text, "\ntable "+table+" { # handle ")
	handle, _, ok := strings.Cut(text, "\n")
	if !ok {
		return "", backend.ErrNotLoaded
	}
	return handle, nil
}

// Begin implements backend.Pool.
func (b *Backend) Begin(ctx context.Context, random uint32) error {
	w := &writer{}
	for _, s := range poolSets(families(&automaton.Program{})) {
		w.line("flush %s %s %s", s.kind(), table, s.name)
	}
	w.line("add element %s %s { %s }", table, markerSet, handle(random))
	if err := b.pool(ctx, w.String()); err != nil {
		return fmt.Errorf("begin a pool of one-time values: %w", err)
	}
	return nil
}

// pool runs a transaction on the pool.
func (b *Backend) pool(ctx context.Context, text string) error {
	if _, err := b.run.Run(ctx, text, "nft", "-f", "-"); err != nil {
		return permission(discreet(err))
	}
	return nil
}

// discreet takes out of an error what nft repeats of its input: live values.
func discreet(err error) error {
	var failed *tool.Error
	if !errors.As(err, &failed) {
		return err
	}
	var said []string
	for line := range strings.Lines(failed.Stderr) {
		if _, what, ok := strings.Cut(line, ": Error: "); ok {
			said = append(said, "Error: "+strings.TrimSpace(what))
		}
	}
	return &tool.Error{Args: failed.Args, Stderr: strings.Join(slices.Compact(said), "; "), Err: failed.Err}
}

// refused says whether nft has failed by itself: then its transaction has changed
// nothing. One that was killed may have been in the midst of it.
func refused(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited()
}

// LoadValues implements backend.Pool.
func (b *Backend) LoadValues(ctx context.Context, g *automaton.Program, values []automaton.Value) error {
	all := entriesOf(g, values)
	for done := 0; done < len(all); {
		n := fit(all[done:])
		if err := b.pool(ctx, transaction(create, all[done:done+n])); err != nil {
			if refused(err) && done == 0 {
				err = errors.Join(backend.ErrNotWritten, err)
			}
			return fmt.Errorf("load one-time values: %w", err)
		}
		done += n
	}
	return nil
}

// entry is an element that a value has in a set of the pool.
type entry struct {
	set, key, data string // the key as members have it; data only in maps
}

// entriesOf lists the elements of values, the ones that make them live last.
func entriesOf(g *automaton.Program, values []automaton.Value) [][]entry {
	all := make([][]entry, len(values))
	for i, v := range values {
		all[i] = entriesOfOne(g.Users[v.User].ID, v)
	}
	return all
}

func entriesOfOne(user uint32, v automaton.Value) []entry {
	if len(v.Knocks) == 0 {
		return []entry{{holderMap, tokenText(v.Token), handle(user)}, {tokenSet, tokenText(v.Token), ""}}
	}
	var all []entry
	at := user
	n := len(v.Knocks)
	for i, k := range v.Knocks[1 : n-1] {
		next := automaton.PathPlace(v.Serial, i+2)
		all = append(all, entry{pathMap, stepText(at, k), handle(next)})
		at = next
	}
	return append(all, entry{endsMap, handle(at), handle(user)}, entry{lastSet, stepText(at, v.Knocks[n-1]), ""})
}

// tokenText writes a token as nft prints it: without zeros in front.
func tokenText(t [16]byte) string {
	digits := strings.TrimLeft(hex.EncodeToString(t[:]), "0")
	if digits == "" {
		digits = "0"
	}
	return "0x" + digits
}

// stepText writes a step with its protocol as a number, whatever nft prints.
func stepText(at uint32, on port.Port) string {
	return fmt.Sprintf("%s . %d . %d", handle(at), on.Proto, on.Number)
}

// fit says for how many values one transaction has room.
func fit(all [][]entry) int {
	elements := 0
	for i, value := range all {
		if elements += len(value); elements > batch && i > 0 {
			return i
		}
	}
	return len(all)
}

// verb is what a transaction does with elements.
type verb string

const (
	create verb = "create" // what is there already is an error
	remove verb = "delete"
)

// transaction writes the statements for values, a set after the other.
func transaction(do verb, all [][]entry) string {
	bySet := make(map[string][]string)
	var sets []string
	for _, e := range slices.Concat(all...) {
		text := e.key
		if e.data != "" && do == create {
			text += " : " + e.data
		}
		if bySet[e.set] == nil {
			sets = append(sets, e.set)
		}
		bySet[e.set] = append(bySet[e.set], text)
	}
	w := &writer{}
	for _, name := range sets {
		for part := range slices.Chunk(bySet[name], chunk) {
			w.line("%s element %s %s { %s }", do, table, name, strings.Join(part, ", "))
		}
	}
	return w.String()
}

// Forget implements backend.Pool.
func (b *Backend) Forget(ctx context.Context, user uint32) error {
	for _, name := range []string{userMap, shortMap} {
		l, err := b.list(ctx, "list", "map", "inet", "tirl", name)
		if o := l.find(name); err == nil && o != nil && o.has(handle(user)) {
			err = b.pool(ctx, fmt.Sprintf("delete element %s %s { %s }\n", table, name, handle(user)))
		}
		if err != nil {
			return fmt.Errorf("revoke a user: %w", err)
		}
	}
	return nil
}

// has says whether an object has an element of a single key.
func (o *object) has(key string) bool {
	return slices.ContainsFunc(o.elements, func(text string) bool {
		e, err := parseElement(text)
		return err == nil && e.key[0] == key
	})
}
