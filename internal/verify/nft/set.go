package nft

import (
	"slices"

	"tirl/internal/verify/ruleset"
)

// typeNames are the types of sets that are understood, by their names in nft
// describe.
func typeNames() map[string]valueKind {
	return map[string]valueKind{
		"ipv4_addr": addr4, "ipv6_addr": addr6, "inet_proto": proto, "inet_service": service, "classid": handle,
		"nf_proto": family, "icmp_type": icmpType, "icmpv6_type": icmpv6Type, "ct_state": connKind,
		"fib_addrtype": destKind, "ifname": ifname, "iface_index": ifname, "verdict": verdict,
	}
}

// newSet reads the name of a set and makes it, or takes the one of that name.
func (l *loader) newSet(t *table, isMap bool) *set {
	line := int(l.peek(0).line)
	name := l.name("the name of a set")
	s := t.sets[name]
	if s == nil {
		s = &set{name: name, line: line, isMap: isMap}
		t.sets[name] = s
	}
	if s.isMap != isMap {
		l.fail(l.last.errorf("%s is a set and a map", name))
	}
	return s
}

// setBody reads what stands between the braces of a set.
func (l *loader) setBody(s *set) {
	for l.err() == nil {
		switch t := l.next(); {
		case t.is("}"):
			if s.key == nil && s.strange == "" {
				l.fail(t.errorf("set %s has no type", s.name))
			}
			return
		case t.kind == newline:
		case t.is("type") || t.is("typeof"):
			l.setType(s, t)
		case t.is("flags"):
			l.setFlags(s)
		case t.is("size"):
			if _, ok := number(l.next().text, 1<<32-1); !ok {
				l.fail(l.last.errorf("%v is no size", l.last))
			}
		case t.is("timeout"):
			s.timeout, s.timed = l.duration(), true
		case t.is("gc-interval"):
			l.duration()
		case t.is("policy") || t.is("comment"):
			l.name("a word")
		case t.is("auto-merge"):
		case t.is("counter"):
			l.counts(l.cursor)
		case t.is("elements"):
			l.expect("=")
			l.expect("{")
			l.elements(l.cursor, s, 0)
		case t.kind == word:
			l.unknown(t, "set with `%s`", t.text)
		default:
			l.fail(t.errorf("%v in set %s", t, s.name))
		}
	}
}

// setType reads the type of the key, and of the value of a map.
func (l *loader) setType(s *set, how token) {
	list, _ := l.statement()
	c := l.over(list, how)
	before := *s
	s.key, s.value, s.strange = nil, other, ""
	read := func() valueKind {
		if how.is("typeof") {
			p := l.selector(c)
			if p.kind == other {
				s.strange = p.text
			}
			return p.kind
		}
		t := c.next()
		k := typeNames()[t.text]
		if k == other {
			s.strange = t.text
		}
		return k
	}
	for {
		s.key = append(s.key, read())
		if !c.accept(".") {
			break
		}
	}
	if s.isMap && s.strange == "" {
		c.expect(":")
		if how.is("typeof") && c.accept("verdict") {
			s.value = verdict
		} else {
			s.value = read()
		}
	}
	switch t := c.peek(0); {
	case t.kind != end && s.strange == "":
		c.fail(t.errorf("%v in the type of %s", t, s.name))
	case before.key != nil && (!slices.Equal(s.key, before.key) || s.value != before.value):
		c.fail(how.errorf("set %s has another type already", s.name))
	}
}

func (l *loader) setFlags(s *set) {
	for {
		switch t := l.next(); t.text {
		case "dynamic", "timeout":
			s.timed = true
		case "constant", "interval":
		default:
			l.unknown(t, "set with the flag `%s`", t.text)
		}
		if !l.accept(",") {
			return
		}
	}
}

// counts reads what may follow the word counter.
func (l *loader) counts(c *cursor) {
	if c.accept("packets") {
		c.count()
		c.expect("bytes")
		c.count()
	}
}

// maxNesting is how deep definitions may put sets into each other.
const maxNesting = 8

// elements reads elements up to the closing brace. What packets put into a set
// is only looked through.
func (l *loader) elements(c *cursor, s *set, depth int) {
	if s.timed || s.strange != "" {
		l.passElements(c, s)
		return
	}
	if depth > maxNesting {
		c.fail(c.last.errorf("too many braces"))
		return
	}
	for c.err() == nil {
		c.skipLines()
		switch {
		case c.accept("}"):
			return
		case c.accept("{"):
			l.elements(c, s, depth+1)
		default:
			l.element(c, s)
		}
		c.skipLines()
		if !c.accept(",") && !c.peek(0).is("}") {
			c.fail(c.peek(0).errorf("%v in the elements of %s", c.peek(0), s.title()))
		}
	}
}

// passElements looks for the end of a list of elements, and for one that stays
// for ever.
func (l *loader) passElements(c *cursor, s *set) {
	depth, expires, empty := 0, s.timeout > 0, true
	first := c.peek(0)
	for c.err() == nil {
		t := c.next()
		switch {
		case t.kind == end:
			c.fail(t.errorf("%v in the elements of %s", t, s.title()))
		case t.is("{"):
			depth++
		case depth == 0 && (t.is("}") || t.is(",")):
			if !expires && !empty && s.forever == nil {
				s.forever = &first
			}
			if t.is("}") {
				return
			}
			expires, empty, first = s.timeout > 0, true, c.peek(0)
		case t.is("}"):
			depth--
		case t.is("timeout") || t.is("expires"):
			expires = true
		case t.kind != newline:
			if empty {
				first = t
			}
			empty = false
		}
	}
}

// element reads one element: its key, what is attached to it, and its value.
func (l *loader) element(c *cursor, s *set) {
	var few [8]ruleset.Range
	buf := few[:0]
	var lengths []int // how many ranges a field has, if one has more than one
	at := c.peek(0)
	for i, k := range s.key {
		if i > 0 {
			c.expect(".")
		}
		n := len(buf)
		buf = l.field(c, s, k, buf)
		if c.err() != nil {
			return
		}
		if len(buf) != n+1 {
			lengths = append(lengths, i, len(buf)-n)
		}
		if last := buf[len(buf)-1]; k == proto && (last.First != last.Last || last.First != tcp && last.First != udp) {
			s.portless = true
		}
	}
	l.attached(c, s)
	var e ruleset.Element
	target := ""
	if s.isMap {
		c.expect(":")
		c.skipLines()
		target = l.elementValue(c, s, &e)
	}
	if c.peek(0).is(".") {
		c.fail(c.peek(0).errorf("an element of %s has %d fields", s.title(), len(s.key)))
	}
	if len(lengths) > 2 {
		c.unknown(at, "element with two ranges of addresses")
		return
	}
	for _, key := range products(buf, lengths) {
		e.Key = s.hold(key)
		s.elements = append(s.elements, e)
		if s.value == verdict {
			s.targets = append(s.targets, target)
		}
	}
}

// products gives an element for each network that a range of addresses was cut
// into. lengths is empty, or says which field has how many.
func products(buf []ruleset.Range, lengths []int) [][]ruleset.Range {
	if len(lengths) == 0 {
		return [][]ruleset.Range{buf}
	}
	at, n := lengths[0], lengths[1]
	var keys [][]ruleset.Range
	for i := range n {
		key := append([]ruleset.Range{}, buf[:at]...)
		key = append(key, buf[at+i])
		keys = append(keys, append(key, buf[at+n:]...))
	}
	return keys
}

// field reads one field of an element's key.
func (l *loader) field(c *cursor, s *set, k valueKind, buf []ruleset.Range) []ruleset.Range {
	if k != ifname {
		return l.value(c, k, buf)
	}
	n := uint32(len(s.names))
	t := c.peek(0)
	s.names = append(s.names, c.name("the name of an interface"))
	// nft takes a number for the index of an interface, and tcp for a number.
	if _, number := l.kinds[proto].names[t.text]; t.kind == word && (number || startsDigit(t.text)) {
		c.unknown(t, "interface number `%s`", t.text)
	}
	return append(buf, ruleset.Range{First: n, Last: n})
}

// attached reads what may stand between key and value.
func (l *loader) attached(c *cursor, s *set) {
	for c.err() == nil {
		switch t := c.peek(0); {
		case t.is("counter"):
			c.next()
			l.counts(c)
		case t.is("comment"):
			c.next()
			c.next()
		case t.kind == word:
			c.unknown(t, "element with `%s`", t.text)
		default:
			return
		}
	}
}

// elementValue reads what a map gives, and the chain that it leads to.
func (l *loader) elementValue(c *cursor, s *set, e *ruleset.Element) string {
	t := c.peek(0)
	if s.value == verdict {
		v, target, ok := l.verdict(c)
		if !ok {
			c.unknown(t, "verdict `%s` in a map", t.text)
		}
		e.Then = v
		return target
	}
	var one [1]ruleset.Range
	if v := l.value(c, s.value, one[:0]); len(v) == 1 {
		if v[0].First != v[0].Last {
			c.fail(t.errorf("the value of an element is a range"))
		}
		e.Value = v[0].First
	}
	return ""
}

// verdict reads one of the verdicts that maps can hold too.
func (l *loader) verdict(c *cursor) (v ruleset.Verdict, target string, ok bool) {
	switch t := c.next(); t.text {
	case "accept":
		return ruleset.Accept, "", true
	case "drop":
		return ruleset.Drop, "", true
	case "return":
		return ruleset.Return, "", true
	case "jump":
		return ruleset.Jump, c.name("the name of a chain"), true
	case "goto":
		return ruleset.Goto, c.name("the name of a chain"), true
	}
	return 0, "", false
}

// title is what messages call a set.
func (s *set) title() string {
	if s.name == "" {
		return "a set"
	}
	return "set " + s.name
}
