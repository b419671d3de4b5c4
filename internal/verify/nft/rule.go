package nft

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tirl/internal/verify/ruleset"
)

// translator turns one rule into statements.
type translator struct {
	*cursor
	*linker
	table *table
	out   []ruleset.Statement
	cases [][]ruleset.Statement // of a verdict map that became a rule for each verdict
	ended bool                  // by a verdict

	// What the matches so far say of a packet that has passed them.
	family   uint8 // 4, 6 or 0
	protocol uint8 // or 0
	ports    bool  // it is TCP or UDP
}

// translate gives a chain its rules.
func (k *linker) translate(chain int) {
	c := k.chains[chain]
	for _, r := range c.rules {
		t := &translator{cursor: k.load.over(r.tokens, r.tokens[0]), linker: k, table: c.table}
		switch c.table.family {
		case ruleset.IPv4:
			t.family = 4
		case ruleset.IPv6:
			t.family = 6
		}
		t.statements()
		if *k.failed != nil {
			return
		}
		if t.cases == nil {
			t.cases = [][]ruleset.Statement{t.out}
		}
		for _, statements := range t.cases {
			k.out.Chains[chain].Rules = append(k.out.Chains[chain].Rules, ruleset.Rule{Line: r.line, Text: r.text, Statements: statements})
		}
	}
}

// Both parents have these.
func (t *translator) fail(err error) { t.cursor.fail(err) }

func (t *translator) unknown(at token, format string, args ...any) {
	t.cursor.unknown(at, format, args...)
}

func (t *translator) emit(s ruleset.Statement) { t.out = append(t.out, s) }

func (t *translator) note(text string) { t.emit(ruleset.Note{Text: text}) }

func (t *translator) do(v ruleset.Verdict, chain int) {
	t.emit(ruleset.Do{Verdict: v, Chain: chain})
	t.ended = true
}

func (t *translator) statements() {
	commented := false
	for t.err() == nil {
		switch at := t.peek(0); {
		case at.kind == end:
			return
		case commented:
			t.fail(at.errorf("%v after a comment", at))
		case at.is("comment"):
			t.next()
			t.name("a comment")
			commented = true
		case t.ended:
			t.fail(at.errorf("%v after a verdict", at))
		default:
			t.statement(at)
		}
	}
}

func (t *translator) statement(at token) {
	switch at.text {
	case "accept", "drop", "return", "jump", "goto":
		v, target, _ := t.load.verdict(t.cursor)
		chain := 0
		if target != "" {
			chain = t.target(t.table, target, at)
		}
		t.do(v, chain)
	case "continue":
		t.next()
		t.note(at.text)
		t.ended = true
	case "reject":
		t.reject()
	case "counter":
		t.countingStatement()
	case "log":
		t.log()
	case "limit":
		if t.peek(1).is("name") {
			t.unknown(at, "statement `limit name`")
			return
		}
		t.emit(ruleset.GlobalLimit{Limit: t.limit()})
	case "add", "update", "delete":
		t.next()
		t.write(at)
	case "set":
		t.next()
		t.oldWrite(at)
	default:
		t.match(at)
	}
}

// countingStatement reads counter, with or without its values or a name.
func (t *translator) countingStatement() {
	t.next()
	if t.accept("name") {
		at, name := t.peek(0), t.name("the name of a counter")
		if !t.table.counters[name] {
			t.fail(at.errorf("counter %s does not exist", name))
		}
		t.note("counter " + name)
		return
	}
	t.load.counts(t.cursor)
	t.note("counter")
}

// log reads a log statement, whose options may come in any order.
func (t *translator) log() {
	t.next()
	text := "log"
	for t.err() == nil {
		switch at := t.peek(0); at.text {
		case "prefix":
			t.next()
			text = fmt.Sprintf("log prefix %q", t.name("a prefix"))
		case "level":
			t.next()
			t.name("a level")
		case "group", "snaplen", "queue-threshold":
			t.next()
			t.count()
		case "flags":
			t.next()
			for slices.ContainsFunc([]string{"tcp", "sequence", "options", "ip", "skuid", "ether", "all", ","}, t.accept) {
			}
		default:
			t.note(text)
			return
		}
	}
}

// defaultBurst is what nft leaves out, and the kernel takes 0 for
// (net/netfilter/nft_limit.c).
const defaultBurst = 5

// limit reads limit rate [over] 10/second [burst 5 packets].
func (t *translator) limit() ruleset.Limit {
	at := t.next()
	t.expect("rate")
	l := ruleset.Limit{Over: t.accept("over"), Burst: defaultBurst}
	rate := t.next()
	count, unit, whole := strings.Cut(rate.text, "/")
	if !whole {
		if !t.accept("/") {
			t.unknown(at, "limit of `%s %s`", rate.text, t.peek(0).text)
			return l
		}
		unit = t.next().text
	}
	n, ok := number(count, 1<<32-1)
	l.Count, l.Per = n, map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour,
		"day": 24 * time.Hour, "week": 7 * 24 * time.Hour}[unit]
	if !ok || n == 0 || l.Per == 0 {
		t.fail(rate.errorf("%v is no rate", rate))
	}
	if t.accept("burst") {
		if l.Burst, ok = number(t.next().text, 1<<32-1); !ok {
			t.fail(t.last.errorf("%v is no number of packets", t.last))
		}
		t.expect("packets")
	}
	if l.Burst == 0 {
		l.Burst = defaultBurst
	}
	return l
}

// reject reads reject [with tcp reset | [icmp|icmpv6|icmpx] [type] CODE].
func (t *translator) reject() {
	t.next()
	if !t.accept("with") {
		t.do(ruleset.RejectPort, 0)
		return
	}
	switch how := t.next(); how.text {
	case "tcp":
		t.expect("reset")
		t.implyFirst(0, tcp)
		t.do(ruleset.RejectReset, 0)
		return
	case "icmp":
		t.implyFirst(4, 0)
	case "icmpv6":
		t.implyFirst(6, 0)
	case "icmpx":
	default:
		t.unknown(how, "statement `reject with %s`", how.text)
		return
	}
	t.accept("type")
	if t.name("an ICMP code") == "port-unreachable" {
		t.do(ruleset.RejectPort, 0)
	} else {
		t.do(ruleset.RejectOther, 0)
	}
}

// imply puts the matches in front that the words of a statement imply.
func (t *translator) imply(family, protocol uint8) {
	if family != 0 && t.family != family {
		t.emit(ruleset.Match{Attr: ruleset.NFProto, Ranges: one(uint32(family))})
		t.family = family
	}
	if protocol != 0 && t.protocol != protocol {
		t.emit(ruleset.Match{Attr: ruleset.Proto, Ranges: one(uint32(protocol))})
		t.protocol, t.ports = protocol, protocol == tcp || protocol == udp
	}
}

// implyFirst puts the matches at the beginning of the rule, where nft puts those
// of reject.
func (t *translator) implyFirst(family, protocol uint8) {
	n := len(t.out)
	t.imply(family, protocol)
	t.out = append(slices.Clone(t.out[n:]), t.out[:n]...)
}

func one(n uint32) []ruleset.Range { return []ruleset.Range{{First: n, Last: n}} }

// write reads what follows add, update or delete: @SET { KEY ... [: VALUE] }.
func (t *translator) write(op token) {
	t.expect("@")
	s := t.namedSet()
	t.expect("{")
	w := t.dynamic(op, s, t.key())
	for t.err() == nil && !t.accept("}") {
		switch at := t.peek(0); {
		case at.is("timeout"):
			t.next()
			w.Timeout = t.duration()
		case at.is("counter"):
			t.next()
			t.load.counts(t.cursor)
		case at.is("limit"):
			l := t.limit()
			w.Limit = &l
			t.bucket[s] = true
		case at.is(":"):
			t.next()
			w.Value = t.stored(s)
		default:
			t.unknown(at, "set statement with `%s`", at.text)
		}
	}
	if (w.Value != nil) != s.isMap {
		t.fail(op.errorf("a value goes with a map, and none with a set"))
	}
	t.put(w, s)
}

// oldWrite reads the form set add KEY [timeout T] @SET.
func (t *translator) oldWrite(at token) {
	op := t.next()
	if !op.is("add") && !op.is("update") && !op.is("delete") {
		t.unknown(at, "statement `set %s`", op.text)
		return
	}
	parts := t.key()
	timeout := time.Duration(0)
	if t.accept("timeout") {
		timeout = t.duration()
	}
	t.expect("@")
	s := t.namedSet()
	if s.isMap {
		t.unknown(at, "statement `set %s` of a map", op.text)
		return
	}
	w := t.dynamic(op, s, parts)
	if timeout > 0 {
		w.Timeout = timeout
	}
	t.put(w, s)
}

// dynamic begins a write to a set.
func (t *translator) dynamic(op token, s *set, parts []selector) ruleset.Write {
	w := ruleset.Write{Timeout: s.timeout}
	switch op.text {
	case "update":
		w.Op = ruleset.Update
	case "delete":
		w.Op, w.Timeout = ruleset.Delete, 0
	}
	t.typed(s, parts)
	w.Key = t.fields(parts)
	for _, p := range parts {
		// What is taken out of a set that has the protocol in its key is of no other one.
		exact := w.Op == ruleset.Delete && slices.ContainsFunc(parts, func(p selector) bool { return p.kind == proto })
		if p.anyPorts && !t.ports && !exact {
			t.unknown(p.at, "`%s` of any protocol in a set that packets change", p.text)
		}
	}
	w.Set = t.linker.set(t.table, s, op)
	t.written[s] = true
	return w
}

// put ends a write.
func (t *translator) put(w ruleset.Write, s *set) {
	if w.Op != ruleset.Delete {
		t.grown[s] = true
	}
	if w.Op == ruleset.Delete {
		w.Timeout = 0
	} else if w.Timeout == 0 {
		t.untimed[s] = true
	}
	t.emit(w)
}

// stored reads the value that a write gives an element of a map.
func (t *translator) stored(s *set) *ruleset.Field {
	at := t.peek(0)
	if !s.isMap {
		t.fail(at.errorf("a value of set %s", s.name))
		return nil
	}
	if s.value != handle {
		t.unknown(at, "value of map `%s`", s.name)
		return nil
	}
	if at.is("meta") {
		p := t.selector(t.cursor)
		if p.kind != handle {
			t.unknown(at, "value `%s`", p.text)
		}
		return p.field
	}
	v := t.value(t.cursor, handle, nil)
	if len(v) != 1 || v[0].First != v[0].Last {
		t.fail(at.errorf("%v is no value", at))
		return nil
	}
	return &ruleset.Field{Kind: ruleset.FieldConst, Const: v[0].First}
}

// namedSet reads the name after an @.
func (t *translator) namedSet() *set {
	at := t.peek(0)
	name := t.name("the name of a set")
	if s := t.table.sets[name]; s != nil {
		return s
	}
	t.fail(at.errorf("set %s does not exist", name))
	return &set{}
}

// typed holds a key against the type of a set.
func (t *translator) typed(s *set, parts []selector) {
	if t.err() != nil {
		return
	}
	at := parts[0].at
	if s.strange != "" {
		t.unknown(at, "set of type `%s`", s.strange)
		return
	}
	if !slices.EqualFunc(parts, s.key, func(p selector, k valueKind) bool { return p.kind == k || p.kind == other }) {
		var words []string
		for _, p := range parts {
			words = append(words, p.text)
		}
		t.fail(at.errorf("`%s` is not what %s holds", strings.Join(words, " . "), s.title()))
		return
	}
	// A constant is of the type that the set has in its place.
	for i := range parts {
		if p := &parts[i]; p.kind == other {
			if _, begins := t.begins[p.at.text]; begins || p.at.is("@") {
				t.notUnderstood(*p)
				return
			}
			v := t.value(t.over([]token{p.at}, p.at), s.key[i], nil)
			if len(v) != 1 || v[0].First != v[0].Last || v[0].Prefix.IsValid() {
				t.unknown(p.at, "match `%s`", p.text)
				return
			}
			p.field = &ruleset.Field{Kind: ruleset.FieldConst, Const: v[0].First}
		}
	}
}

// key reads selectors with dots between them.
func (t *translator) key() []selector {
	var parts []selector
	for {
		parts = append(parts, t.selector(t.cursor))
		if !t.accept(".") {
			return parts
		}
	}
}

// fields gives a key its fields, after the matches that its words imply.
func (t *translator) fields(parts []selector) []ruleset.Field {
	t.implied(parts, true)
	fields := make([]ruleset.Field, len(parts))
	for i, p := range parts {
		if p.field == nil {
			t.unknown(p.at, "match `%s` in a key", p.text)
			return nil
		}
		fields[i] = *p.field
	}
	return fields
}

// implied puts the matches in front that a key implies. The address of a source
// in a key implies its family by itself.
func (t *translator) implied(parts []selector, isKey bool) {
	var family uint8
	bySource := false
	for _, p := range parts {
		if p.family != 0 {
			if family != 0 && family != p.family || t.table.family == ruleset.IPv4 && p.family == 6 || t.table.family == ruleset.IPv6 && p.family == 4 {
				t.fail(p.at.errorf("`%s` of a packet that is not of its family", p.text))
			}
			family = p.family
		}
		bySource = bySource || isKey && p.field != nil && p.field.Kind == ruleset.FieldSrc && !p.raw6
	}
	if bySource {
		t.family = family
	}
	t.imply(family, 0)
	for _, p := range parts {
		t.imply(0, p.protocol)
	}
	for _, p := range parts {
		if p.raw6 && t.family != 6 {
			t.unknown(p.at, "match `%s` of any family", p.text)
		}
		if p.anyPorts && !t.ports && !(len(parts) > 1 && slices.ContainsFunc(parts, func(q selector) bool { return q.kind == proto })) {
			t.unknown(p.at, "match `%s` of any protocol", p.text)
		}
	}
}
