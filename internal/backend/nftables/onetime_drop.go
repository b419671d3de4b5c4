package nftables

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tirl/internal/automaton"
)

// Drop implements backend.Pool. A transaction that deletes what is not there fails
// as a whole. So it is written for what the records say; if it fails since a packet
// has spent a value meanwhile, they are read again; and if it still fails, some
// value was not there at all, and the pool is listed, which takes long if it is large.
//
// Nothing is added in order to be deleted: no value is ever written again.
func (b *Backend) Drop(ctx context.Context, g *automaton.Program, values []automaton.Value) error {
	all := entriesOf(g, values)
	for done := 0; done < len(all); {
		n := fit(all[done:])
		if err := b.drop(ctx, values[done:done+n], all[done:done+n]); err != nil {
			return fmt.Errorf("take one-time values out: %w", err)
		}
		done += n
	}
	return nil
}

// drop takes out values that fit one transaction.
func (b *Backend) drop(ctx context.Context, values []automaton.Value, all [][]entry) error {
	var failed error
	for try := range attempts {
		r, err := b.records(ctx)
		if err != nil {
			return err
		}
		var there members
		if try > 1 {
			if there, err = b.members(ctx, setsOf(all)); err != nil {
				return err
			}
		}
		text := dropping(values, all, r, there)
		if text == "" {
			return nil
		}
		if failed = b.pool(ctx, text); failed == nil || !refused(failed) {
			return failed
		}
	}
	return failed
}

// dropping writes what takes values out, with what was noted of them. there, if it
// is known, is what is left in the pool.
func dropping(values []automaton.Value, all [][]entry, r *records, there members) string {
	var gone [][]entry
	for i, v := range values {
		noted := r.of[recordKey(v)]
		var of []entry
		for _, e := range all[i] {
			deleted := noted != nil && noted.noted && (e.set == tokenSet || e.set == lastSet)
			if !deleted && there.have(e) {
				of = append(of, e)
			}
		}
		if noted != nil {
			of = append(of, noted.elements...)
		}
		gone = append(gone, of)
	}
	return transaction(remove, gone)
}

func setsOf(all [][]entry) []string {
	var names []string
	for _, e := range slices.Concat(all...) {
		if !slices.Contains(names, e.set) {
			names = append(names, e.set)
		}
	}
	return names
}

// Purge implements backend.Pool. What it deletes is of nobody whom the policy has,
// but packets may use it up all the same.
func (b *Backend) Purge(ctx context.Context, user uint32) error {
	var failed error
	for range attempts {
		there, err := b.members(ctx, []string{tokenSet, holderMap, pathMap, lastSet, endsMap})
		if err != nil {
			return fmt.Errorf("list the pool of one-time values: %w", err)
		}
		r, err := b.records(ctx)
		if err != nil {
			return fmt.Errorf("list the pool of one-time values: %w", err)
		}
		failed = nil
		all := there.of(user, r)
		for len(all) > 0 && failed == nil {
			n := fit(all)
			failed = b.pool(ctx, transaction(remove, all[:n]))
			all = all[n:]
		}
		if failed == nil || !refused(failed) {
			break
		}
	}
	if failed != nil {
		return fmt.Errorf("take out all one-time values of a user: %w", failed)
	}
	return nil
}

// members is what sets of the pool hold: by name, the keys with what they lead to.
type members map[string]map[string]string

// have says whether an element is there, or may be: nothing is known.
func (m members) have(e entry) bool {
	_, there := m[e.set][e.key]
	return m == nil || there
}

// of lists all that belongs to a user, with what was noted of it.
func (m members) of(user uint32, r *records) [][]entry {
	id := handle(user)
	var all [][]entry
	add := func(known string, of ...entry) {
		of = slices.DeleteFunc(of, func(e entry) bool { return !m.have(e) })
		if noted := r.of[known]; noted != nil {
			of = append(of, noted.elements...)
		}
		all = append(all, of)
	}
	for _, token := range keysOf(m[holderMap], id) {
		add(token, entry{holderMap, token, ""}, entry{tokenSet, token, ""})
	}
	serials := make(map[uint32]bool)
	for _, end := range keysOf(m[endsMap], id) {
		serials[serialOf(end)] = true
		add(end, entry{endsMap, end, ""})
	}
	for _, name := range []string{pathMap, lastSet} {
		for _, step := range slices.Sorted(maps.Keys(m[name])) {
			if at, _, _ := strings.Cut(step, " . "); at == id || serials[serialOf(at)] {
				add("", entry{name, step, ""})
			}
		}
	}
	return all
}

// keysOf lists, in order, the keys that lead to a value.
func keysOf(in map[string]string, value string) []string {
	var keys []string
	for k, v := range in {
		if v == value {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// serialOf is what all places on the path of one value have in common; 0 elsewhere.
func serialOf(place string) uint32 {
	n, err := parseHandle(place)
	if err != nil || n>>29 != pathBits {
		return 0
	}
	return n >> 4
}

// pathBits are the highest three of a place on a path, see automaton.PathPlace.
const pathBits = 3

// members reads sets and maps of the pool.
func (b *Backend) members(ctx context.Context, names []string) (members, error) {
	all := make(members)
	for _, name := range names {
		kind := "set"
		if name == holderMap || name == pathMap || name == endsMap {
			kind = "map"
		}
		l, err := b.list(ctx, "list", kind, "inet", "tirl", name)
		if err != nil {
			return nil, err
		}
		all[name] = make(map[string]string)
		o := l.find(name)
		if o == nil {
			continue
		}
		for _, text := range o.elements {
			e, err := parseElement(text)
			if err != nil {
				return nil, err
			}
			if len(e.key) == 3 { // a step
				e.key[1] = strings.NewReplacer("tcp", "6", "udp", "17").Replace(e.key[1])
			}
			all[name][strings.Join(e.key, " . ")] = e.value
		}
	}
	return all, nil
}
