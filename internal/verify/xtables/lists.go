package xtables

import (
	"strings"
	"time"

	"tirl/internal/verify/ruleset"
)

// defaultList is the list of a recent match that names none.
const defaultList = "DEFAULT"

// recent reads the match recent (recent_mt of net/netfilter/xt_recent.c).
func (b *builder) recent(x *context, m *module) error {
	var op *option
	for i, o := range m.options {
		switch o.name {
		case "--set", "--rcheck", "--update", "--remove":
			if op != nil {
				return fail(x.line, "match recent with %s and %s", op.name, o.name)
			}
			op = &m.options[i]
		}
	}
	if op == nil {
		return fail(x.line, "match recent without --set, --rcheck, --update or --remove")
	}
	key, err := b.source(x, m)
	if err != nil {
		return err
	}
	name := defaultList
	if o := m.find("--name"); o != nil {
		name = o.args[0]
	}
	if name == "" {
		return fail(x.line, "a list without a name")
	}
	set := b.list(name, x.family, x.line)
	if op.name == "--rcheck" || op.name == "--update" {
		return x.lookup(m, op, ruleset.Lookup{Set: set, Key: key, Not: op.not})
	}
	for _, o := range m.options {
		if o.name == "--seconds" || o.name == "--hitcount" || o.name == "--rttl" {
			return fail(x.line, "match recent with %s and %s", op.name, o.name)
		}
	}
	if op.name == "--remove" {
		x.put(ruleset.Write{Op: ruleset.Remove, Set: set, Key: key, Not: op.not})
		return nil
	}
	x.put(ruleset.Write{Op: ruleset.Mark, Set: set, Key: key})
	x.never = x.never || op.not // --set always holds
	return nil
}

func (x *context) lookup(m *module, op *option, l ruleset.Lookup) error {
	if o := m.find("--seconds"); o != nil {
		within, ok := seconds(o.args[0], time.Second)
		if !ok {
			return fail(x.line, "%q is no number of seconds", clip(o.args[0]))
		}
		l.Within = within
	}
	if o := m.find("--hitcount"); o != nil {
		n, ok := number(o.args[0])
		if !ok {
			return fail(x.line, "%q is no number of hits", clip(o.args[0]))
		}
		l.Hits = int(n)
	}
	l.SameTTL = m.find("--rttl") != nil
	if op.name == "--update" {
		// The time is set anew if the match as a whole holds. With ! that is an entry
		// which is there and too old, or nothing if no entry can be too old.
		if op.not && (l.Within > 0 || l.Hits > 1) {
			return unknown(x.line, "`! --update` with --seconds or --hitcount")
		}
		l.Touch = !op.not
	}
	x.put(l)
	return nil
}

// source gives the key of a list.
func (b *builder) source(x *context, m *module) ([]ruleset.Field, error) {
	bits := 32
	if x.v6() {
		bits = 128
	}
	if o := m.find("--mask"); o != nil {
		var ok bool
		if bits, ok = maskBits(o.args[0], x.v6()); !ok || bits == 0 {
			return nil, unknown(x.line, "mask `%s`", clip(o.args[0]))
		}
	}
	if m.find("--rdest") == nil {
		return b.key(ruleset.Field{Kind: ruleset.FieldSrc, Family: x.family, Bits: bits}), nil
	}
	if m.find("--rsource") != nil {
		return nil, fail(x.line, "match recent with --rsource and --rdest")
	}
	return b.key(ruleset.Field{Kind: ruleset.FieldOther, Name: "destination address"}), nil
}

// hashlimit reads the match hashlimit. How many buckets there is room for is left
// out.
func (b *builder) hashlimit(x *context, m *module) error {
	h := ruleset.HashLimit{Name: m.value("--hashlimit-name"), Limit: ruleset.Limit{Burst: 5}}
	if h.Name == "" {
		return fail(x.line, "match hashlimit without --hashlimit-name")
	}
	above, upto := m.find("--hashlimit-above"), m.find("--hashlimit-upto")
	if (above == nil) == (upto == nil) {
		return fail(x.line, "match hashlimit takes one of --hashlimit-upto and --hashlimit-above")
	}
	h.Limit.Over = above != nil
	if above == nil {
		above = upto
	}
	var ok bool
	if h.Limit.Count, h.Limit.Per, h.Expire, ok = rate(above.args[0]); !ok {
		return unknown(x.line, "rate `%s`", clip(above.args[0]))
	}
	if o := m.find("--hashlimit-burst"); o != nil {
		if h.Limit.Burst, ok = number(o.args[0]); !ok {
			return unknown(x.line, "burst `%s`", clip(o.args[0]))
		}
	}
	if o := m.find("--hashlimit-htable-expire"); o != nil {
		if h.Expire, ok = seconds(o.args[0], time.Millisecond); !ok {
			return fail(x.line, "%q is no number of milliseconds", clip(o.args[0]))
		}
	}
	var err error
	if h.Key, err = b.buckets(x, m); err != nil {
		return err
	}
	if err := b.sameLimit(x, h); err != nil {
		return err
	}
	x.put(h)
	return nil
}

// buckets gives the key of a hashlimit.
func (b *builder) buckets(x *context, m *module) ([]ruleset.Field, error) {
	mode := m.value("--hashlimit-mode")
	if mode == "" {
		return nil, unknown(x.line, "match `hashlimit` without --hashlimit-mode")
	}
	src := ruleset.Field{Kind: ruleset.FieldSrc, Family: x.family, Bits: 32}
	if x.v6() {
		src.Bits = 128
	}
	if o := m.find("--hashlimit-srcmask"); o != nil {
		n, ok := number(o.args[0])
		if !ok || int(n) > src.Bits {
			return nil, unknown(x.line, "--hashlimit-srcmask `%s`", clip(o.args[0]))
		}
		src.Bits = int(n)
	}
	if mode == "srcip" {
		return b.key(src), nil
	}
	var key []ruleset.Field
	modes := strings.Split(mode, ",")
	for _, f := range []struct {
		mode  string
		field ruleset.Field
	}{
		{"srcip", src}, {"srcport", ruleset.Field{Kind: ruleset.FieldOther, Name: "source port"}},
		{"dstip", ruleset.Field{Kind: ruleset.FieldOther, Name: "destination address"}},
		{"dstport", ruleset.Field{Kind: ruleset.FieldDPort}},
	} {
		for _, name := range modes {
			if name == f.mode {
				key = append(key, f.field)
			}
		}
	}
	if len(key) != len(modes) {
		return nil, fail(x.line, "%q is no --hashlimit-mode", clip(mode))
	}
	return key, nil
}

// sameLimit refuses two limits of one name: the kernel takes the rate of the one
// that came first (htable_create of net/netfilter/xt_hashlimit.c).
func (b *builder) sameLimit(x *context, h ruleset.HashLimit) error {
	name := listName{h.Name, x.family}
	first, ok := b.limits[name]
	if !ok {
		b.limits[name] = h
		return nil
	}
	h.Limit.Over = first.Limit.Over
	same := first.Limit == h.Limit && first.Expire == h.Expire && len(first.Key) == len(h.Key)
	for i := 0; same && i < len(h.Key); i++ {
		same = first.Key[i] == h.Key[i]
	}
	if !same {
		return unknown(x.line, "two limits of the name `%s`", clip(h.Name))
	}
	return nil
}

// limit reads the match limit.
func (x *context) limit(m *module) error {
	l := ruleset.Limit{Count: 3, Per: time.Hour, Burst: 5}
	var ok bool
	if o := m.find("--limit"); o != nil {
		if l.Count, l.Per, _, ok = rate(o.args[0]); !ok {
			return unknown(x.line, "rate `%s`", clip(o.args[0]))
		}
	}
	if o := m.find("--limit-burst"); o != nil {
		if l.Burst, ok = number(o.args[0]); !ok {
			return fail(x.line, "%q is no number of packets", clip(o.args[0]))
		}
	}
	x.put(ruleset.GlobalLimit{Limit: l})
	return nil
}
