package nft

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"tirl/internal/verify/ruleset"
)

// match reads a match, or what gives meta priority a value.
func (t *translator) match(at token) {
	parts := t.key()
	if t.err() != nil {
		return
	}
	first := parts[0]
	if i := slices.IndexFunc(parts, func(p selector) bool { return p.kind == other }); i >= 0 {
		t.notUnderstood(parts[i])
		return
	}
	switch {
	case t.peek(0).is("set") && len(parts) == 1:
		t.next()
		if first.kind != handle {
			t.unknown(at, "statement `%s set`", first.text)
			return
		}
		t.setRegister()
	case t.accept("vmap"):
		t.verdictMap(parts)
	case first.kind == tcpFlag && len(parts) == 1:
		t.flags(first)
	default:
		t.compare(parts)
	}
}

// notUnderstood says what it is that a rule has there.
func (t *translator) notUnderstood(p selector) {
	firstWord, _, _ := strings.Cut(p.text, " ")
	_, isMatch := t.begins[firstWord]
	switch {
	case strings.HasPrefix(p.text, "@"):
		t.unknown(p.at, "raw payload `%s`", p.text)
	case t.peek(0).is("set"):
		t.unknown(p.at, "statement `%s set`", p.text)
	case p.text == "xt":
		t.unknown(p.at, "%s `%s` of iptables", t.next().text, t.next().text)
	case isMatch:
		t.unknown(p.at, "match `%s`", p.text)
	default:
		t.unknown(p.at, "statement `%s`", p.text)
	}
}

// setRegister reads what follows meta priority set: a number, or a key and a map.
func (t *translator) setRegister() {
	at := t.peek(0)
	if _, isKey := t.begins[at.text]; !isKey && !at.is("@") {
		v := t.value(t.cursor, handle, nil)
		if len(v) == 1 && v[0].First == v[0].Last {
			t.emit(ruleset.SetRegister{Value: v[0].First})
		} else {
			t.fail(at.errorf("%v is no class handle", at))
		}
		return
	}
	parts := t.key()
	if t.peek(0).kind == end || !t.accept("map") {
		t.unknown(at, "statement `meta priority set %s`", parts[0].text)
		return
	}
	s := t.mapOf(parts, handle)
	if t.err() != nil {
		return
	}
	key := t.keyOf(s, parts)
	t.unlimited(s, at)
	t.emit(ruleset.Load{Set: t.linker.set(t.table, s, at), Key: key})
}

// mapOf reads a map, by its name or in braces, that a key is looked up in.
func (t *translator) mapOf(parts []selector, value valueKind) *set {
	at := parts[0].at
	s := t.setFor(parts, value)
	if t.err() == nil && (!s.isMap || s.value != value) {
		t.fail(at.errorf("%s does not hold what is wanted of it", s.title()))
	}
	return s
}

// setFor reads @NAME or { ELEMENTS }.
func (t *translator) setFor(parts []selector, value valueKind) *set {
	at := t.next()
	s := &set{line: int(at.line), value: value, isMap: value != other}
	switch {
	case at.is("@"):
		s = t.namedSet()
		t.typed(s, parts)
	case at.is("{"):
		for _, p := range parts {
			s.key = append(s.key, p.kind)
		}
		t.load.elements(t.cursor, s, 0)
		if t.err() == nil && len(s.elements) == 0 {
			t.fail(at.errorf("a set without elements"))
		}
	default:
		t.fail(at.errorf("%v where a set should be", at))
	}
	t.withPorts(s, parts)
	return s
}

// withPorts makes sure that th dport is looked up only for packets that have
// one: to the kernel it is two bytes of anything.
func (t *translator) withPorts(s *set, parts []selector) {
	if t.ports || !slices.ContainsFunc(parts, func(p selector) bool { return p.anyPorts }) {
		return
	}
	at := parts[0].at
	t.closed = append(t.closed, use{s, at, "match `th dport` of any protocol in a set that packets change"})
	if s.portless {
		t.unknown(at, "%s with a port of a protocol other than TCP and UDP", s.title())
	}
}

// verdictMap reads what follows vmap.
func (t *translator) verdictMap(parts []selector) {
	at := parts[0].at
	s := t.mapOf(parts, verdict)
	if t.err() != nil {
		return
	}
	t.ended = true
	if parts[0].kind == tcpFlag {
		t.unknown(at, "`%s vmap`", parts[0].text)
		return
	}
	if !t.byAttribute(parts) {
		key := t.keyOf(s, parts)
		t.static = append(t.static, use{s, at, "verdict map that packets change"})
		t.emit(ruleset.VerdictMap{Set: t.linker.set(t.table, s, at), Key: key})
		return
	}
	// A rule for each verdict: what such a match looks at does not change from
	// rule to rule, so that one of them at most holds.
	t.implied(parts, false)
	for _, before := range t.out {
		if m, ok := before.(ruleset.Match); !ok || m.Attr == ruleset.Register {
			t.unknown(at, "`%s vmap` after more than matches", parts[0].text)
			return
		}
	}
	t.expanded(s, at, "map of `"+parts[0].text+"` that packets change")
	for _, i := range s.sorted() {
		e := s.elements[i]
		m := t.attribute(parts[0], s, []ruleset.Range{e.Key[0]})
		chain := 0
		if target := s.targets[i]; target != "" {
			chain = t.target(t.table, target, at)
		}
		t.cases = append(t.cases, append(slices.Clone(t.out), m, ruleset.Do{Verdict: e.Then, Chain: chain}))
	}
	if t.cases == nil {
		t.cases = [][]ruleset.Statement{}
	}
}

// expanded notes that the elements of a set became part of rules.
func (t *translator) expanded(s *set, at token, what string) {
	t.static = append(t.static, use{s, at, what})
}

// compare reads what the key is compared with.
func (t *translator) compare(parts []selector) {
	p, at := parts[0], t.peek(0)
	op := "=="
	for _, o := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if t.accept(o) {
			op = o
			break
		}
	}
	explicit := op == "==" && at.is("==")
	if op != "==" && op != "!=" {
		t.order(parts, op)
		return
	}
	switch next := t.peek(0); {
	case next.is("@") || next.is("{") && (len(parts) > 1 || !p.isAttr):
		t.lookup(parts, op == "!=")
	case next.is("{"):
		s := t.setFor(parts, other)
		t.emitMatch(p, s, ranges(s), op == "!=")
	case len(parts) > 1 || !p.isAttr:
		t.unknown(p.at, "match `%s`", p.text)
	case next.kind != word && next.kind != quoted:
		t.unknown(p.at, "match `%s %s`", p.text, next.text)
	default:
		t.single(p, op == "!=", explicit)
	}
}

// single reads one value, or a list of states.
func (t *translator) single(p selector, not, explicit bool) {
	s := &set{key: []valueKind{p.kind}}
	list := t.load.field(t.cursor, s, p.kind, nil)
	for t.accept(",") {
		// With an operator nft compares with all of the bits at once.
		if p.kind != connKind || not || explicit {
			t.unknown(p.at, "match `%s` with a list", p.text)
			return
		}
		list = t.value(t.cursor, p.kind, list)
	}
	if t.peek(0).is("|") {
		t.unknown(p.at, "match `%s` with `|`", p.text)
		return
	}
	t.emitMatch(p, s, list, not)
}

func ranges(s *set) []ruleset.Range {
	var list []ruleset.Range
	for _, e := range s.elements {
		list = append(list, e.Key[0])
	}
	return list
}

// order reads a number after an operator such as <.
func (t *translator) order(parts []selector, op string) {
	p := parts[0]
	if len(parts) > 1 || p.kind != service && p.kind != octet && p.kind != proto || !p.isAttr {
		t.unknown(p.at, "match `%s %s`", p.text, op)
		return
	}
	at := t.peek(0)
	v := t.value(t.cursor, p.kind, nil)
	if len(v) != 1 || v[0].First != v[0].Last {
		t.fail(at.errorf("%v is not one number", at))
		return
	}
	n, limit := v[0].First, t.kinds[p.kind].max
	r := ruleset.Range{First: 0, Last: limit}
	switch op {
	case "<=":
		r.Last = n
	case ">=":
		r.First = n
	case "<":
		r.Last = n - 1
	case ">":
		r.First = n + 1
	}
	if op == "<" && n == 0 || op == ">" && n == limit {
		t.fail(at.errorf("nothing is %s %d", op, n))
		return
	}
	t.emitMatch(p, &set{}, []ruleset.Range{r}, false)
}

// lookup reads a set that holds keys, and looks a key up in it.
func (t *translator) lookup(parts []selector, not bool) {
	at := parts[0].at
	hadPorts := t.ports
	s := t.setFor(parts, other)
	if t.err() != nil {
		return
	}
	if s.isMap && s.value == verdict {
		t.static = append(t.static, use{s, at, "verdict map that packets change"})
	}
	if p := parts[0]; t.byAttribute(parts) {
		t.expanded(s, at, fmt.Sprintf("match `%s` in a set that packets change", p.text))
		if len(s.elements) == 0 && !s.timed {
			t.unknown(at, "match `%s` in an empty set", p.text)
			return
		}
		t.emitMatch(p, s, ranges(s), not)
		return
	}
	key := t.keyOf(s, parts)
	if not && !hadPorts && !t.ports && slices.ContainsFunc(parts, func(p selector) bool { return p.anyPorts }) {
		t.unknown(at, "match `th dport !=` of any protocol")
	}
	if !not {
		t.unlimited(s, at)
	}
	t.emit(ruleset.Lookup{Set: t.linker.set(t.table, s, at), Key: key, Not: not})
}

// unlimited makes sure that no element of a set holds a limit: the kernel
// carries it out when a look-up finds the element (net/netfilter/nft_lookup.c,
// nft_lookup_eval).
func (t *translator) unlimited(s *set, at token) {
	t.lookups = append(t.lookups, use{s, at, "match in set `" + s.name + "`, whose elements hold a limit"})
}

// byAttribute says whether a key can only be held against a set as a match of
// one attribute.
func (t *translator) byAttribute(parts []selector) bool {
	p := parts[0]
	return len(parts) == 1 && p.isAttr && (p.field == nil || p.field.Kind == ruleset.FieldOther)
}

// keyOf gives a key that is looked up in a set its fields. What differs from
// packet to packet only sets that packets fill may hold.
func (t *translator) keyOf(s *set, parts []selector) []ruleset.Field {
	key := t.fields(parts)
	for i, f := range key {
		if f.Kind == ruleset.FieldOther && !s.timed {
			t.unknown(parts[i].at, "match `%s`", parts[i].text)
		}
	}
	return key
}

// emitMatch puts a match with all that it implies.
func (t *translator) emitMatch(p selector, s *set, list []ruleset.Range, not bool) {
	if t.err() != nil {
		return
	}
	t.implied([]selector{p}, false)
	// nft prints the same whether or not it looks at the family here.
	if p.attr == ruleset.Proto && !not && len(list) == 1 && list[0].First == list[0].Last && t.table.family == ruleset.Both {
		switch list[0].First {
		case icmp:
			t.imply(4, 0)
		case icmpv6:
			t.imply(6, 0)
		}
	}
	m := t.attribute(p, s, list)
	m.Not = not
	if t.known(m) {
		return
	}
	t.emit(m)
}

// attribute is a match of one attribute.
func (t *translator) attribute(p selector, s *set, list []ruleset.Range) ruleset.Match {
	m := ruleset.Match{Attr: p.attr}
	for _, r := range list {
		switch p.attr {
		case ruleset.Iface:
			name := s.names[r.First]
			if name == "" || strings.Contains(name, "\\") || strings.Contains(name, "*") && (strings.Index(name, "*") != len(name)-1 || !strings.HasSuffix(p.text, "iifname")) {
				t.unknown(p.at, "interface `%s`", name)
			}
			m.Names = append(m.Names, name)
		case ruleset.Conn:
			m.Conns |= ruleset.Conns(r.First)
		case ruleset.Dest:
			m.Dests |= ruleset.Dests(r.First)
		}
	}
	switch p.attr {
	case ruleset.Src:
		m.Prefixes = mergeAddrs(list)
	case ruleset.Iface:
		slices.Sort(m.Names)
		m.Names = slices.Compact(m.Names)
	case ruleset.Conn, ruleset.Dest:
	default:
		m.Ranges = mergeNumbers(list)
	}
	return m
}

// known notes what a match says of the packets that pass it, and whether that
// was known before.
func (t *translator) known(m ruleset.Match) bool {
	if m.Not || m.Attr != ruleset.NFProto && m.Attr != ruleset.Proto {
		return false
	}
	single := uint8(0)
	if len(m.Ranges) == 1 && m.Ranges[0].First == m.Ranges[0].Last {
		single = uint8(m.Ranges[0].First)
	}
	if m.Attr == ruleset.NFProto {
		was := t.family
		if single != 0 {
			t.family = single
		}
		return was != 0 && was == single
	}
	t.ports = t.ports || !slices.ContainsFunc(m.Ranges, func(r ruleset.Range) bool {
		return r.First != r.Last || r.First != tcp && r.First != udp
	})
	was := t.protocol
	if single != 0 {
		t.protocol = single
	}
	return was != 0 && was == single
}

// flags reads what TCP flags are compared with.
func (t *translator) flags(p selector) {
	m := ruleset.Match{Attr: ruleset.TCPFlags}
	switch {
	case t.accept("&"):
		// & binds more tightly than |, which would set bits here.
		single := !t.peek(0).is("(")
		m.Mask = t.flagSet()
		if single && bits.OnesCount8(m.Mask) > 1 {
			t.unknown(p.at, "match `tcp flags` with a mask without parentheses")
			return
		}
		switch op := t.next(); {
		case op.is("=="):
		case op.is("!="):
			m.Not = true
		default:
			t.fail(op.errorf("%v after the mask of TCP flags", op))
		}
		m.Value = t.flagSet()
	case t.accept("!"):
		m.Mask = t.flagSet()
	default:
		equal := t.accept("==")
		m.Not = !equal && t.accept("!=")
		if t.peek(0).is("{") || t.peek(0).is("@") {
			t.unknown(p.at, "match `tcp flags` with a set")
			return
		}
		m.Value = t.flagSet()
		switch {
		case t.accept("/"):
			m.Mask = t.flagSet()
		case equal || m.Not:
			m.Mask = 0xff
		default: // any of them
			m.Mask, m.Value, m.Not = m.Value, 0, true
		}
	}
	if m.Value&^m.Mask != 0 {
		t.unknown(p.at, "match `tcp flags` with bits outside of its mask")
		return
	}
	t.implied([]selector{p}, false)
	t.emit(m)
}

// flagSet reads flags with commas or bars between them, in parentheses or not.
func (t *translator) flagSet() uint8 {
	open := t.accept("(")
	set := uint8(0)
	for {
		for _, r := range t.value(t.cursor, tcpFlag, nil) {
			if r.First != r.Last {
				t.fail(t.last.errorf("a range of TCP flags"))
			}
			set |= uint8(r.First)
		}
		if !t.accept(",") && !t.accept("|") {
			break
		}
	}
	if open {
		t.expect(")")
	}
	return set
}
