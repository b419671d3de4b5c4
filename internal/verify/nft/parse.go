// Package nft reads nftables rulesets: what tirl renders, what nft lists, and
// what people write. It is pure.
//
// A text means the ruleset that an empty kernel holds after nft -f. What the
// package does not understand it refuses with a *ruleset.UnknownError, unless no
// packet on its way to this host can meet it.
//
// nft leaves the address family out where a rule matches ICMP or ICMPv6, so a
// listing does not say whether the kernel looks at it. Such a rule is read as
// one that does: ICMP in IPv6 and ICMPv6 in IPv4, which no host answers, are
// taken not to exist.
package nft

import (
	"fmt"
	"strconv"
	"strings"

	"tirl/internal/verify/ruleset"
)

// maxText keeps offsets in 32 bits.
const maxText = 1 << 30

// Parse reads a ruleset.
func Parse(text string) (*ruleset.Ruleset, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("the ruleset has %d bytes, more than %d", len(text), maxText)
	}
	var failed error
	l := &loader{
		cursor: &cursor{lex: newLexer(text), failed: &failed},
		text:   text,
		words:  newWords(),
	}
	l.open()
	l.commands()
	if failed != nil {
		return nil, failed
	}
	return link(l)
}

// loader carries out the commands of a text.
type loader struct {
	*cursor
	*words
	text   string
	tables []*table
}

func (l *loader) commands() {
	for l.err() == nil {
		switch t := l.next(); t.kind {
		case end:
			return
		case newline:
		case word:
			l.command(t)
			if t := l.peek(0); !t.endsStatement() && !l.last.is("}") {
				l.fail(t.errorf("%v after a command", t))
			}
		default:
			l.fail(t.errorf("%v where a command should be", t))
		}
	}
}

func (l *loader) command(t token) {
	switch t.text {
	case "define", "redefine":
		l.define()
	case "add", "create":
		l.add(l.next(), false)
	case "insert":
		if what := l.next(); !what.is("rule") {
			l.unknown(t, "command `insert %s`", what.text)
			return
		}
		l.add(l.last, true)
	case "flush":
		l.flush()
	case "delete", "destroy":
		what := l.next()
		if !what.is("table") {
			l.unknown(t, "command `%s %s`", t.text, what.text)
			return
		}
		family, name := l.tableName()
		for i, known := range l.tables {
			if known.family == family && known.name == name {
				l.tables = append(l.tables[:i], l.tables[i+1:]...)
				break
			}
		}
	default:
		l.add(t, false)
	}
}

// add makes an object. The word add may be left out.
func (l *loader) add(what token, first bool) {
	switch what.text {
	case "table":
		t := l.table()
		if l.accept("{") {
			l.tableBody(t)
		}
	case "chain":
		c := l.chainOf(l.table())
		if l.accept("{") {
			l.chainBody(c)
		}
	case "rule":
		l.addRule(first)
	case "set", "map":
		t := l.table()
		s := l.newSet(t, what.text == "map")
		l.expect("{")
		l.setBody(s)
	case "element":
		s := l.setOf(l.table())
		l.expect("{")
		l.elements(l.cursor, s, 0)
	case "counter":
		l.counter(l.table())
	default:
		l.unknown(what, "command `%s`", what.text)
	}
}

func (l *loader) addRule(first bool) {
	t := l.table()
	name := l.next()
	c := t.chains[name.text]
	if c == nil {
		l.fail(name.errorf("chain %s does not exist", name.text))
		return
	}
	if at := l.peek(0); at.is("position") || at.is("handle") || at.is("index") {
		l.unknown(at, "rule at a `%s`", at.text)
		return
	}
	r := l.rule()
	if first {
		c.rules = append([]rule{r}, c.rules...)
	} else {
		c.rules = append(c.rules, r)
	}
}

func (l *loader) flush() {
	what := l.next()
	switch what.text {
	case "ruleset":
		if !l.peek(0).endsStatement() {
			l.unknown(l.peek(0), "command `flush ruleset %s`", l.peek(0).text)
		}
		l.tables = nil
	case "table":
		if t := l.findTable(l.tableName()); t != nil {
			for _, c := range t.order {
				c.rules = nil
			}
		}
	case "chain":
		t := l.findTable(l.tableName())
		if name := l.name("the name of a chain"); t != nil && t.chains[name] != nil {
			t.chains[name].rules = nil
		}
	case "set", "map":
		t := l.findTable(l.tableName())
		if name := l.name("the name of a set"); t != nil && t.sets[name] != nil {
			t.sets[name].flush()
		}
	default:
		l.unknown(what, "command `flush %s`", what.text)
	}
}

// tableName reads [FAMILY] NAME.
func (l *loader) tableName() (ruleset.Family, string) {
	family := ruleset.IPv4
	switch t := l.peek(0); t.text {
	case "ip", "ip6", "inet":
		l.next()
		family = map[string]ruleset.Family{"ip": ruleset.IPv4, "ip6": ruleset.IPv6, "inet": ruleset.Both}[t.text]
	case "arp", "bridge", "netdev":
		l.unknown(t, "table family `%s`", t.text)
	}
	return family, l.name("the name of a table")
}

func (l *loader) findTable(f ruleset.Family, name string) *table {
	for _, t := range l.tables {
		if t.family == f && t.name == name {
			return t
		}
	}
	return nil
}

// table reads the name of a table, and makes it if it is not there. nft wants
// it to be there before it adds to it; a text that does without is as clear.
func (l *loader) table() *table {
	f, name := l.tableName()
	t := l.findTable(f, name)
	if t == nil {
		t = &table{family: f, name: name, sets: map[string]*set{}, chains: map[string]*chain{}, counters: map[string]bool{}}
		l.tables = append(l.tables, t)
	}
	return t
}

func (l *loader) chainOf(t *table) *chain {
	line := int(l.peek(0).line)
	return t.chain(l.name("the name of a chain"), line)
}

func (l *loader) setOf(t *table) *set {
	at := l.peek(0)
	name := l.name("the name of a set")
	s := t.sets[name]
	if s == nil {
		l.fail(at.errorf("set %s does not exist", name))
		return &set{}
	}
	return s
}

func (l *loader) tableBody(t *table) {
	l.open()
	defer l.close()
	for l.err() == nil {
		switch what := l.next(); {
		case what.is("}"):
			return
		case what.kind == newline:
		case what.is("chain"):
			c := l.chainOf(t)
			l.expect("{")
			l.chainBody(c)
		case what.is("set") || what.is("map"):
			s := l.newSet(t, what.is("map"))
			l.expect("{")
			l.setBody(s)
		case what.is("counter"):
			l.counter(t)
		case what.is("define") || what.is("redefine"):
			l.define()
		case what.is("comment"):
			l.name("a comment")
		case what.kind == word:
			l.unknown(what, "`%s` in a table", what.text)
		default:
			l.fail(what.errorf("%v in table %s", what, t.name))
		}
	}
}

// counter reads a named counter.
func (l *loader) counter(t *table) {
	t.counters[l.name("the name of a counter")] = true
	if !l.accept("{") {
		return
	}
	for l.err() == nil && !l.accept("}") {
		switch t := l.next(); {
		case t.kind == newline:
		case t.is("packets") || t.is("bytes"):
			l.count()
		case t.is("comment"):
			l.next()
		default:
			l.fail(t.errorf("%v in a counter", t))
		}
	}
}

func (l *loader) chainBody(c *chain) {
	l.open()
	defer l.close()
	for l.err() == nil {
		switch t := l.peek(0); {
		case t.is("}"):
			l.next()
			return
		case t.kind == newline:
			l.next()
		case t.is("type"):
			l.next()
			l.baseChain(c, t)
		case t.is("policy"):
			l.next()
			l.policy(c, l.next())
		case t.is("define") || t.is("redefine"):
			l.next()
			l.define()
		case t.is("comment"):
			l.next()
			l.name("a comment")
		case t.is("flags") || t.is("devices") || t.is("device") || t.is("include"):
			l.unknown(t, "chain with `%s`", t.text)
		case t.kind == end || t.is("{"):
			l.fail(t.errorf("%v in chain %s", t, c.name))
		default:
			c.rules = append(c.rules, l.rule())
		}
	}
}

func (l *loader) policy(c *chain, t token) {
	switch {
	case c.base == nil:
		l.fail(t.errorf("chain %s has a policy and no hook", c.name))
	case t.is("accept"):
		c.base.drop = false
	case t.is("drop"):
		c.base.drop = true
	default:
		l.unknown(t, "policy `%s`", t.text)
	}
}

// baseChain reads filter hook input priority filter + 10.
func (l *loader) baseChain(c *chain, at token) {
	b := &base{kind: l.name("the type of a chain"), line: int(at.line)}
	l.expect("hook")
	b.hook = l.name("the name of a hook")
	if t := l.peek(0); t.is("device") || t.is("devices") {
		l.unknown(t, "chain with `%s`", t.text)
	}
	l.expect("priority")
	sign := 1
	t := l.next()
	if t.is("-") {
		sign, t = -1, l.next()
	}
	n, named := priorities()[t.text]
	if !named {
		v, err := strconv.ParseInt(t.text, 10, 32)
		if err != nil {
			l.fail(t.errorf("%v is no priority", t))
		}
		n = sign * int(v)
	}
	if t := l.peek(0); named && (t.is("+") || t.is("-")) {
		l.next()
		v, ok := number(l.next().text, 1<<30)
		if !ok {
			l.fail(l.last.errorf("%v is no priority", l.last))
		}
		if t.is("-") {
			n -= int(v)
		} else {
			n += int(v)
		}
	}
	b.priority = n
	if c.base != nil {
		b.drop = c.base.drop
	}
	c.base = b
	if t := l.peek(0); !t.endsStatement() && !t.is("}") {
		l.fail(t.errorf("%v after a priority", t))
	}
}

// rule reads one rule of a chain, to the end of its line.
func (l *loader) rule() rule {
	list, comment := l.statement()
	if len(list) == 0 {
		l.fail(l.peek(0).errorf("%v where a rule should be", l.peek(0)))
		return rule{}
	}
	first, last := list[0], list[len(list)-1]
	r := rule{tokens: list, text: l.text[first.from:max(last.to, first.to)], line: int(first.line)}
	// Of the extensions of iptables some versions of nft print a comment only.
	if comment != "" && (strings.Contains(r.text, "counter packets") || strings.Contains(comment, "counter packets")) &&
		!strings.HasPrefix(comment, "# handle ") {
		l.unknown(first, "`%s`", comment)
	}
	return r
}
