package verify

import (
	"net/netip"
	"slices"
	"time"

	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// machine carries out a ruleset on sets of packets of one source. What a
// statement can tell apart cuts the set in two; each piece goes its own way.
type machine struct {
	rs    *ruleset.Ruleset
	sp    *space
	pool  *pool
	hooks []hook
	sets  []setInfo // of rs.Sets, then one for each name of hashlimit
	names map[string]int

	end *node // of a chain

	tables map[tableKey]*table
	ranges map[portKey]bitset
	// flags are the elements that stand for grants, by class of the policy. Whether a
	// source holds them is chosen anew for each packet, the same for both sides.
	flags    map[elemKey]int
	flagSets map[int]bool // that they are in
	foreign  map[int]bool // sets with buckets, and whether those are not the policy's
	// oneTTL = false: the policy does not ask for the TTL, so that a list that does is
	// not understood.
	oneTTL bool
	// limited = false: no bucket is ever empty.
	limited bool
	leaf    func(*path, ruleset.Verdict)
	alone   [1]*path    // what concrete gives, if it is one path; gone with its next call
	keyed   []keyed     // what keys gives
	suspend func(pause) // if set, a path stops where it first asks for the source
	unknown error
}

type hook struct {
	root   *node
	stage  ruleset.Stage
	policy ruleset.Verdict
}

// setInfo is what the rules ask of a dynamic set.
type setInfo struct {
	name     string
	line     int
	relevant bool
	list     bool            // of the recent match
	times    []time.Duration // that rules ask of a list
}

type elemKey struct {
	set int
	n   uint8
	k   [2]uint32
}

// elem is an element of a dynamic set that belongs to the source.
type elem struct {
	key    elemKey
	val    reg
	timers []timer // none: it stays until it is taken out
}

// timer is a time that runs: d since stamp. Two timers of one stamp and one
// d run out together; nothing else is known of when a timer runs out.
type timer struct {
	d     time.Duration
	stamp int
}

// now is the stamp of the packet at hand.
const now = 0

// reg is what is known of a number.
type reg struct {
	kind regKind
	v    uint32
	fn   *portFunc
}

type regKind uint8

const (
	foreign regKind = iota // not written by the ruleset
	number
	byPort
)

// path is a way through the rules that a set of packets has gone. Whoever is handed one
// may change it: nobody else has it.
type path struct {
	b     box
	reg   reg
	elems []elem // never changed in place
	g     []held
	limit choice // what a bucket that exists has said
	paid  int    // how often a bucket was asked or made
	ops   []flagOp
	made  []elemKey // elements that were put in or whose time was set anew
	gone  []elemKey // elements that were taken out
	spent spending
	hook  int
	line  int // of the rule that decided
}

type choice uint8

const (
	unasked choice = iota
	notEmpty
	isEmpty
)

// held is a choice of whether the source holds the grant of a class.
type held struct {
	class int
	yes   bool
}

// flagOp is a change of an element that stands for a grant.
type flagOp struct {
	key     elemKey
	refresh bool // put in, or its time set anew; else something else
	d       time.Duration
}

// frame is where a jump comes back to.
type frame struct {
	next *node
	up   *frame
}

// pause is where a path stands in a rule.
type pause struct {
	n  *node
	i  int
	p  *path
	up *frame
}

// outcome are the ways on from one statement.
type outcome struct{ yes, no []*path }

// add gives a function that splits a path by one attribute.
func (o *outcome) add(p *path, split func(bitset) (yes, no *box)) func(bitset) {
	return func(in bitset) {
		yes, no := split(in)
		o.put(p, yes, no)
	}
}

func (o *outcome) put(p *path, yes, no *box) {
	if yes != nil && no != nil {
		o.yes = append(o.yes, p.with(*yes))
		p.b = *no
		o.no = append(o.no, p)
		return
	}
	if yes != nil {
		o.yes = append(o.yes, p)
	}
	if no != nil {
		o.no = append(o.no, p)
	}
}

// with gives a path like p for fewer packets.
func (p *path) with(b box) *path {
	q := *p
	q.b = b
	q.g = slices.Clip(q.g)
	q.ops, q.made, q.gone = slices.Clip(q.ops), slices.Clip(q.made), slices.Clip(q.gone)
	return &q
}

func (p *path) copy() *path { return p.with(p.b) }

// fail says that something is not understood. The first such thing is kept.
func (m *machine) fail(line int, what string) {
	if m.unknown == nil {
		m.unknown = &ruleset.UnknownError{Line: line, What: what}
	}
}

func (m *machine) nfproto() uint32 {
	if m.sp.family == ruleset.IPv4 {
		return 4
	}
	return 6
}

func (m *machine) bits() int {
	if m.sp.family == ruleset.IPv4 {
		return 32
	}
	return 128
}

func prefixesOf(r ruleset.Range) []netip.Prefix { return []netip.Prefix{r.Prefix} }

// execute sends a set of packets of a source through all hooks.
func (m *machine) execute(b box, elems []elem, leaf func(*path, ruleset.Verdict)) {
	m.leaf = leaf
	m.enter(&path{b: b, elems: elems})
}

// until runs a set of packets up to where the rules first ask for their source.
func (m *machine) until(b box, pauses func(pause), leaf func(*path, ruleset.Verdict)) {
	m.suspend = pauses
	m.execute(b, nil, leaf)
	m.suspend = nil
}

// goOn runs a paused path for fewer packets, from a source with these elements.
func (m *machine) goOn(at pause, b box, elems []elem, leaf func(*path, ruleset.Verdict)) {
	m.leaf = leaf
	p := at.p.with(b)
	p.elems = elems
	m.resume(at.n, at.i, p, at.up)
}

// asksForSource says whether a statement has to do with what a set holds of the source.
func (m *machine) asksForSource(st ruleset.Statement) bool {
	switch st := st.(type) {
	case ruleset.Lookup:
		return m.rs.Sets[st.Set].Dynamic && !m.pool.has(st.Set)
	case ruleset.Load:
		return m.rs.Sets[st.Set].Dynamic
	case ruleset.Write:
		return !m.pool.has(st.Set)
	case ruleset.HashLimit:
		return true
	}
	return false
}

// enter begins with the hook that the path has come to.
func (m *machine) enter(p *path) {
	if p.hook == len(m.hooks) {
		m.leaf(p, ruleset.Accept)
		return
	}
	h := m.hooks[p.hook]
	if h.stage == ruleset.Input {
		away, here := p.b.splitDests(ruleset.Unicast)
		if away != nil {
			q := p.with(*away)
			q.hook = len(m.hooks)
			m.enter(q)
		}
		if here == nil {
			return
		}
		p = p.with(*here)
	}
	m.run(h.root, p, nil)
}

func (m *machine) finish(p *path, v ruleset.Verdict) {
	if v != ruleset.Accept {
		m.leaf(p, v)
		return
	}
	p.hook++
	m.enter(p)
}

// run goes from a node to the end of the hook.
func (m *machine) run(n *node, p *path, up *frame) { m.resume(n, 0, p, up) }

// resume goes on from inside a rule.
func (m *machine) resume(n *node, i int, p *path, up *frame) {
	for ; m.unknown == nil; i = 0 {
		switch n.kind {
		case atVerdict:
			m.finish(p, n.do)
			return
		case atEnd:
			if up == nil {
				m.finish(p, m.hooks[p.hook].policy)
				return
			}
			n, up = up.next, up.up
			continue
		}
		if n.removes != nil {
			if m.suspend != nil {
				m.suspend(pause{n, 0, p, up})
				return
			}
			m.takeAll(p, n.removes)
			n = n.next
			continue
		}
		var ok bool
		if p, ok = m.tests(n, i, p, up); p == nil {
			return
		}
		if !ok {
			n = n.next
			continue
		}
		switch n.ends {
		case endsOpen:
			n = n.next
		case endsReturn:
			n = m.end
		case endsGoto:
			n = n.target
		case endsJump:
			n, up = n.target, &frame{n.next, up}
		case endsVerdict:
			p.line = n.line
			m.finish(p, n.do)
			return
		case endsMap:
			m.runMap(n, p, up)
			return
		}
	}
}

// tests carries out the statements of a rule from the i-th on. It gives one of
// the paths that come out, and whether all statements held on it, and runs all
// other paths to their ends.
func (m *machine) tests(n *node, i int, p *path, up *frame) (*path, bool) {
	for ; i < len(n.tests); i++ {
		if m.suspend != nil && m.asksForSource(n.tests[i]) {
			m.suspend(pause{n, i, p, up})
			return nil, false
		}
		if set, ok := n.tests[i].(ruleset.SetRegister); ok {
			p.reg = reg{kind: number, v: set.Value}
			continue
		}
		if holds, ok := m.settled(n, n.tests[i], p); ok {
			if !holds {
				return p, false
			}
			continue
		}
		out := m.statement(n, n.tests[i], p)
		switch {
		case len(out.yes) == 0 && len(out.no) == 0:
			return nil, false
		case len(out.yes) == 0:
			for _, q := range out.no[1:] {
				m.run(n.next, q, up)
			}
			return out.no[0], false
		}
		for _, q := range out.no {
			m.run(n.next, q, up)
		}
		for _, q := range out.yes[1:] {
			m.resume(n, i+1, q, up)
		}
		p = out.yes[0]
	}
	return p, true
}

// runMap ends a rule with a verdict map.
func (m *machine) runMap(n *node, p *path, up *frame) {
	for _, q := range m.verdicts(n, p) {
		switch {
		case q.miss:
			m.run(n.next, q.path, up)
		case q.then == ruleset.Goto:
			m.run(n.targets[q.chain], q.path, up)
		case q.then == ruleset.Jump:
			m.run(n.targets[q.chain], q.path, &frame{n.next, up})
		case q.then == ruleset.Return:
			m.run(m.end, q.path, up)
		default:
			q.path.line = n.line
			m.finish(q.path, q.then)
		}
	}
}

// statement carries out one statement.
func (m *machine) statement(n *node, st ruleset.Statement, p *path) outcome {
	var out outcome
	switch st := st.(type) {
	case ruleset.Match:
		m.match(n.line, st, p, &out)
		if st.Not {
			out.yes, out.no = out.no, out.yes
		}
	case ruleset.Lookup:
		m.lookUp(n, st, p, &out)
	case ruleset.Load:
		m.load(n, st, p, &out)
	case ruleset.Write:
		m.write(n, st, p, &out)
	case ruleset.HashLimit:
		m.hashLimit(n, st, p, &out)
	default:
		m.fail(n.line, "a statement of this kind")
	}
	return out
}

// concrete cuts a path so that the register is a number on every piece. What it gives is to
// be used up before it is called again.
func (m *machine) concrete(line int, p *path) []*path {
	switch p.reg.kind {
	case foreign:
		m.fail(line, "meta priority is read before it is written")
		return nil
	case number:
		m.alone[0] = p
		return m.alone[:]
	}
	var out []*path
	for _, g := range p.reg.fn.groups(p.b.ports) {
		q := p.copy()
		q.b.ports = g.ports
		q.reg = reg{kind: number, v: g.value}
		out = append(out, q)
	}
	return out
}

// protocols cuts a path so that all packets of a piece have one protocol.
func (m *machine) protocols(p *path) []*path {
	byProto := make(map[port.Proto]bitset)
	for a := range p.b.ports.each {
		proto := m.sp.atoms[a].proto
		if byProto[proto] == nil {
			byProto[proto] = newBitset(len(m.sp.atoms))
		}
		byProto[proto].add(a)
	}
	var out []*path
	for _, proto := range sortedKeys(byProto) {
		q := p.copy()
		q.b.ports = byProto[proto]
		out = append(out, q)
	}
	return out
}
