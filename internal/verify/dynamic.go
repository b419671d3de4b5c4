package verify

import (
	"slices"
	"time"

	"tirl/internal/verify/ruleset"
)

// setTable is how a portFunc remembers what a table says of its values.
type setTable struct{ set int }

func (m *machine) lookUp(n *node, st ruleset.Lookup, p *path, out *outcome) {
	if !m.readable(st.Key, p, out) {
		return
	}
	if !m.rs.Sets[st.Set].Dynamic {
		var found outcome
		m.lookUpTable(n, st.Set, st.Key, p, &found)
		if st.Not {
			found.yes, found.no = found.no, found.yes
		}
		out.yes, out.no = append(out.yes, found.yes...), append(out.no, found.no...)
		return
	}
	if st.Hits > 1 {
		m.fail(n.line, "`--hitcount` decides about packets")
	}
	for _, k := range m.keys(n.line, st.Key, p) {
		var found outcome
		m.lookUpKey(st, k, &found)
		if st.Not {
			found.yes, found.no = found.no, found.yes
		}
		out.yes, out.no = append(out.yes, found.yes...), append(out.no, found.no...)
	}
}

// absent answers for statements that ask for the source in a set that does not have
// it, or take it out: what most rules with a list for each place do.
func (m *machine) absent(n *node, st ruleset.Statement, p *path) (holds, ok bool) {
	var set int
	var key []ruleset.Field
	not := false
	switch st := st.(type) {
	case ruleset.Lookup:
		if set, key, not = st.Set, st.Key, st.Not; st.Within == 0 && len(m.sets[set].times) > 0 || !m.rs.Sets[set].Dynamic {
			return false, false
		}
	case ruleset.Write:
		if set, key = st.Set, st.Key; st.Op != ruleset.Delete && (st.Op != ruleset.Remove || !n.alone) {
			return false, false
		}
		not = st.Op == ruleset.Delete
	default:
		return false, false
	}
	if len(key) != 1 || key[0].Kind != ruleset.FieldSrc || key[0].Family&m.sp.family == 0 {
		return false, false
	}
	if m.flagSets[set] || p.find(elemKey{set: set}) >= 0 {
		return false, false
	}
	return not, true
}

// readable says whether the packet has what a key is made of. If not, the rule
// ends, whether the statement is inverted or not.
func (m *machine) readable(key []ruleset.Field, p *path, out *outcome) bool {
	for _, f := range key {
		if f.Kind == ruleset.FieldSrc && f.Family&m.sp.family == 0 {
			out.no = append(out.no, p)
			return false
		}
	}
	return true
}

// lookUpTable asks a set that packets do not change.
func (m *machine) lookUpTable(n *node, set int, key []ruleset.Field, p *path, out *outcome) {
	t := m.table(set, key)
	if !t.reg {
		m.lookup(t.entries[0], p, out)
		return
	}
	if t.onlyReg && p.reg.kind == byPort {
		at := setTable{set: set}
		hits, ok := p.reg.fn.hits[at]
		if !ok {
			hits = newBitset(len(m.sp.atoms))
			for a, v := range p.reg.fn.value {
				if t.entries[v] != nil {
					hits.add(a)
				}
			}
			p.reg.fn.hits[at] = hits
		}
		out.add(p, p.b.splitPorts)(hits)
		return
	}
	for _, q := range m.concrete(n.line, p) {
		if e := t.entries[q.reg.v]; t.onlyReg {
			out.decide(q, e != nil)
		} else {
			m.lookup(e, q, out)
		}
	}
}

// keyed is a path with the key that a statement has on it. With ports set, the
// last number of the key is the packet's port.
type keyed struct {
	*path
	key   elemKey
	dport bool
	at    uint8 // where in the key the port stands
}

// keys cuts a path until the numbers of a key are known. The source, and its TTL,
// are those of the one source.
func (m *machine) keys(line int, fields []ruleset.Field, p *path) []keyed {
	return m.keysOf(line, fields, keyed{path: p})
}

func (m *machine) keysOf(line int, fields []ruleset.Field, k keyed) []keyed {
	for i, f := range fields {
		switch f.Kind {
		case ruleset.FieldSrc, ruleset.FieldTTL:
			continue
		case ruleset.FieldConst:
			k.key.push(f.Const)
		case ruleset.FieldNFProto:
			k.key.push(m.nfproto())
		case ruleset.FieldRegister:
			return m.keysRest(line, fields[i+1:], k, m.concrete(line, k.path), func(p *path) uint32 { return p.reg.v })
		case ruleset.FieldProto:
			return m.keysRest(line, fields[i+1:], k, m.protocols(k.path), func(p *path) uint32 {
				return uint32(m.sp.atoms[p.b.ports.first()].proto)
			})
		case ruleset.FieldDPort:
			if k.dport {
				m.fail(line, "a key with two ports")
			}
			k.dport, k.at = true, k.key.n
			k.key.push(0)
		default:
			m.fail(line, "a set that packets change has "+f.Name+" in its key")
			return nil
		}
	}
	return []keyed{k}
}

func (m *machine) keysRest(line int, rest []ruleset.Field, k keyed, paths []*path, value func(*path) uint32) []keyed {
	var out []keyed
	for _, p := range paths {
		next := k
		next.path = p
		next.key.push(value(p))
		out = append(out, m.keysOf(line, rest, next)...)
	}
	return out
}

func (k *elemKey) push(v uint32) {
	if int(k.n) < len(k.k) {
		k.k[k.n] = v
	}
	k.n++
}

// lookUpKey asks a dynamic set.
func (m *machine) lookUpKey(st ruleset.Lookup, k keyed, out *outcome) {
	k.key.set = st.Set
	if int(k.key.n) > len(k.key.k) {
		m.fail(0, "set `"+m.rs.Sets[st.Set].Name+"` has too many fields")
		return
	}
	if k.dport {
		m.lookUpPort(st, k, out)
		return
	}
	if class, ok := m.flags[k.key]; ok {
		yes, no := k.path.holds(class)
		if yes != nil && st.Touch {
			yes.ops = append(yes.ops, flagOp{key: k.key})
		}
		out.some(yes, no)
		return
	}
	i := k.path.find(k.key)
	m.found(st, k.path, i, out)
}

// found goes on with the element that a lookup has found, or with none (-1).
func (m *machine) found(st ruleset.Lookup, p *path, i int, out *outcome) {
	info := &m.sets[st.Set]
	live, unsure := i >= 0, false
	switch {
	case st.Within > 0:
		live = i >= 0 && slices.ContainsFunc(p.elems[i].timers, func(t timer) bool { return t.d == st.Within })
	case i < 0 && info.list && len(info.times) > 0:
		// It may have an element that is too old for the other rules.
		unsure = true
	}
	if unsure {
		out.no = append(out.no, p.copy())
		out.yes = append(out.yes, p)
		return
	}
	if live && st.Touch {
		p = p.copy()
		m.put(p, elem{key: p.elems[i].key, val: p.elems[i].val, timers: m.listTimers(st.Set)})
	}
	out.decide(p, live)
}

// lookUpPort asks for an element whose key has the packet's port in it.
func (m *machine) lookUpPort(st ruleset.Lookup, k keyed, out *outcome) {
	rest := k.path
	for i := 0; i < len(k.path.elems) && rest != nil; i++ {
		key := k.path.elems[i].key
		port := key.k[k.at]
		key.k[k.at] = 0
		if key != k.key {
			continue
		}
		yes, no := rest.b.splitPorts(m.sp.dports(port, port))
		if yes != nil {
			m.found(st, rest.with(*yes), i, out)
		}
		if no == nil {
			return
		}
		rest = rest.with(*no)
	}
	m.found(st, rest, -1, out)
}

func (o *outcome) some(yes, no *path) {
	if yes != nil {
		o.yes = append(o.yes, yes)
	}
	if no != nil {
		o.no = append(o.no, no)
	}
}

// holds cuts a path by whether the source holds a grant, unless that has been
// chosen.
func (p *path) holds(class int) (yes, no *path) {
	for _, h := range p.g {
		if h.class == class {
			if h.yes {
				return p, nil
			}
			return nil, p
		}
	}
	yes, no = p.copy(), p.copy()
	yes.g = append(yes.g, held{class, true})
	no.g = append(no.g, held{class, false})
	return yes, no
}

// find gives the index of an element, or -1.
func (p *path) find(key elemKey) int {
	for i := range p.elems {
		if p.elems[i].key == key {
			return i
		}
	}
	return -1
}

// put puts an element in, or in the place of the one with its key.
func (m *machine) put(p *path, e elem) {
	elems := slices.Clone(p.elems)
	if i := p.find(e.key); i >= 0 {
		elems[i] = e
	} else {
		elems = append(elems, e)
	}
	p.elems = elems
	p.made = append(p.made, e.key)
}

func (m *machine) take(p *path, key elemKey) {
	if i := p.find(key); i >= 0 {
		p.elems = slices.Delete(slices.Clone(p.elems), i, i+1)
		p.gone = append(p.gone, key)
	}
}

// takeAll takes the source out of many sets.
func (m *machine) takeAll(p *path, sets []int) *path {
	if len(m.flags) == 0 && len(p.elems) == 0 {
		return p
	}
	flagged := slices.ContainsFunc(sets, func(set int) bool { return m.flagSets[set] })
	if !flagged && !slices.ContainsFunc(p.elems, func(e elem) bool { return e.key.n == 0 && slices.Contains(sets, e.key.set) }) {
		return p
	}
	p = p.copy()
	for _, set := range sets {
		key := elemKey{set: set}
		if _, ok := m.flags[key]; ok {
			p.ops = append(p.ops, flagOp{key: key})
		} else {
			m.take(p, key)
		}
	}
	return p
}

// listTimers are those of an element of a list whose time is set.
func (m *machine) listTimers(set int) []timer {
	var t []timer
	for _, d := range m.sets[set].times {
		t = append(t, timer{d, now})
	}
	return t
}

func setTimers(d time.Duration) []timer {
	if d == 0 {
		return nil
	}
	return []timer{{d, now}}
}

// load puts the value of a map into the register.
func (m *machine) load(n *node, st ruleset.Load, p *path, out *outcome) {
	if !m.readable(st.Key, p, out) {
		return
	}
	if m.rs.Sets[st.Set].Dynamic {
		for _, k := range m.keys(n.line, st.Key, p) {
			k.key.set = st.Set
			if k.dport {
				m.fail(n.line, "a map that packets change has a port in its key")
			}
			i := k.path.find(k.key)
			if i < 0 {
				out.no = append(out.no, k.path)
				continue
			}
			q := k.path.copy()
			q.reg = q.elems[i].val
			out.yes = append(out.yes, q)
		}
		return
	}
	t := m.table(st.Set, st.Key)
	if !t.reg {
		m.loadEntry(t.entries[0], p, out)
		return
	}
	if t.onlyReg && p.reg.kind == byPort {
		m.loadComposed(st.Set, t, p, out)
		return
	}
	for _, q := range m.concrete(n.line, p) {
		if e := t.entries[q.reg.v]; t.onlyReg {
			if e != nil {
				q = q.copy()
				q.reg = reg{kind: number, v: e.rows[0].value}
			}
			out.decide(q, e != nil)
		} else {
			m.loadEntry(e, q, out)
		}
	}
}

// fewRows is how many rows a table may have for each to be a piece of its own.
const fewRows = 4

func (m *machine) loadEntry(e *entry, p *path, out *outcome) {
	if e == nil {
		out.no = append(out.no, p)
		return
	}
	if e.ports != nil && len(e.rows) > fewRows {
		f := e.asFunc(len(m.sp.atoms))
		yes, no := p.b.splitPorts(f.dom)
		if no != nil {
			out.no = append(out.no, p.with(*no))
		}
		if yes != nil {
			q := p.with(*yes)
			q.reg = reg{kind: byPort, fn: f}
			out.yes = append(out.yes, q)
		}
		return
	}
	rest := []box{p.b}
	for i := range e.rows {
		var left []box
		for _, b := range rest {
			yes, no := m.splitRow(b, &e.rows[i])
			for _, y := range yes {
				q := p.with(y)
				q.reg = reg{kind: number, v: e.rows[i].value}
				out.yes = append(out.yes, q)
			}
			left = append(left, no...)
		}
		rest = left
	}
	for _, b := range rest {
		out.no = append(out.no, p.with(b))
	}
}

// loadComposed looks a number up that depends on the port.
func (m *machine) loadComposed(set int, t *table, p *path, out *outcome) {
	at := setTable{set: set}
	f := p.reg.fn.loads[at]
	if f == nil {
		f = newPortFunc(len(m.sp.atoms))
		for a, v := range p.reg.fn.value {
			if e := t.entries[v]; e != nil {
				f.dom.add(a)
				f.value[a] = e.rows[0].value
			}
		}
		p.reg.fn.loads[at] = f
	}
	yes, no := p.b.splitPorts(f.dom)
	if no != nil {
		out.no = append(out.no, p.with(*no))
	}
	if yes != nil {
		q := p.with(*yes)
		q.reg = reg{kind: byPort, fn: f}
		out.yes = append(out.yes, q)
	}
}

// write changes a dynamic set.
func (m *machine) write(n *node, st ruleset.Write, p *path, out *outcome) {
	if !m.readable(st.Key, p, out) {
		return
	}
	for _, k := range m.keys(n.line, st.Key, p) {
		k.key.set = st.Set
		for _, k := range m.eachPort(n.line, k) {
			m.writeKey(n, st, k.path.copy(), k.key, out)
		}
	}
}

// eachPort cuts a path whose key has the packet's port in it by ports.
func (m *machine) eachPort(line int, k keyed) []keyed {
	if !k.dport {
		return []keyed{k}
	}
	var out []keyed
	for a := range k.path.b.ports.each {
		atom := m.sp.atoms[a]
		if atom.first != atom.last {
			m.fail(line, "a set takes in the port of every packet")
			return nil
		}
		q := k
		q.path = k.path.copy()
		q.path.b.ports = newBitset(len(m.sp.atoms))
		q.path.b.ports.add(a)
		q.key.k[k.at] = uint32(atom.first)
		out = append(out, q)
	}
	return out
}

func (m *machine) writeKey(n *node, st ruleset.Write, p *path, key elemKey, out *outcome) {
	if int(key.n) > len(key.k) {
		m.fail(n.line, "set `"+m.rs.Sets[st.Set].Name+"` has too many fields")
		return
	}
	if _, ok := m.flags[key]; ok {
		m.writeFlag(st, p, key, out)
		return
	}
	i := p.find(key)
	switch st.Op {
	case ruleset.Delete:
		m.take(p, key)
		out.yes = append(out.yes, p)
	case ruleset.Remove:
		if i < 0 && len(m.sets[st.Set].times) > 0 && !n.alone {
			out.yes = append(out.yes, p.copy())
			out.no = append(out.no, p)
			return
		}
		m.take(p, key)
		out.decide(p, (i >= 0) != st.Not)
	case ruleset.Mark:
		m.put(p, elem{key: key, timers: m.listTimers(st.Set)})
		out.yes = append(out.yes, p)
	case ruleset.Add, ruleset.Update:
		m.insert(n, st, p, key, i, out)
	}
}

// writeFlag records what happens to an element that stands for a grant.
func (m *machine) writeFlag(st ruleset.Write, p *path, key elemKey, out *outcome) {
	op := flagOp{key: key}
	switch {
	case st.Op == ruleset.Update && st.Limit == nil && st.Value == nil:
		op.refresh, op.d = true, st.Timeout
	case st.Op == ruleset.Mark:
		op.refresh = true
		if times := m.sets[st.Set].times; len(times) == 1 {
			op.d = times[0]
		}
	}
	p.ops = append(p.ops, op)
	out.yes = append(out.yes, p)
}

// insert is Add and Update, with the bucket that the element may have.
func (m *machine) insert(n *node, st ruleset.Write, p *path, key elemKey, i int, out *outcome) {
	e := elem{key: key, timers: setTimers(st.Timeout)}
	if i >= 0 {
		e.val = p.elems[i].val
		if st.Op == ruleset.Add {
			e.timers = p.elems[i].timers
		}
	} else if st.Value != nil {
		switch st.Value.Kind {
		case ruleset.FieldConst:
			e.val = reg{kind: number, v: st.Value.Const}
		case ruleset.FieldRegister:
			e.val = p.reg
		default:
			m.fail(n.line, "a map takes in "+st.Value.Name)
		}
	}
	if i < 0 || st.Op == ruleset.Update {
		m.put(p, e)
	}
	if st.Limit == nil {
		out.yes = append(out.yes, p)
		return
	}
	m.ask(n, p, st.Set, i >= 0, st.Limit.Over, out)
}

// ask cuts a path by what a bucket says. One that is made by being asked is full. What
// one that is not the policy's says a second time is not known.
func (m *machine) ask(n *node, p *path, set int, exists, over bool, out *outcome) {
	if m.foreign[set] {
		if exists && m.limited {
			m.fail(n.line, "a limit that is not the policy's")
		}
		out.decide(p, !over)
		return
	}
	p.paid++
	empty := func(p *path, empty bool) {
		out.decide(p, empty == over)
	}
	if !exists || !m.limited {
		empty(p, false)
		return
	}
	switch p.limit {
	case isEmpty:
		empty(p, true)
	case notEmpty:
		empty(p, false)
	default:
		q := p.copy()
		p.limit, q.limit = notEmpty, isEmpty
		empty(p, false)
		empty(q, true)
	}
}

// hashLimit is a bucket that is full again, or forgotten, once it has not been
// asked for as long as it takes to fill.
func (m *machine) hashLimit(n *node, st ruleset.HashLimit, p *path, out *outcome) {
	if !m.readable(st.Key, p, out) {
		return
	}
	set := m.names[hashLimitSet(st.Name)]
	for _, k := range m.keys(n.line, st.Key, p) {
		if k.dport {
			m.fail(n.line, "hashlimit counts by port")
			return
		}
		k.key.set = set
		q := k.path.copy()
		exists := q.find(k.key) >= 0
		m.put(q, elem{key: k.key, timers: setTimers(fillTime(st.Limit))})
		m.ask(n, q, set, exists, st.Limit.Over, out)
	}
}

// fillTime is how long an empty bucket takes to fill.
func fillTime(l ruleset.Limit) time.Duration {
	if l.Count == 0 {
		return 0
	}
	return l.Per * time.Duration(l.Burst) / time.Duration(l.Count)
}

// branch is a way on from a verdict map.
type branch struct {
	path  *path
	then  ruleset.Verdict
	chain int
	miss  bool
}

// verdicts cuts a path by what a verdict map says.
func (m *machine) verdicts(n *node, p *path) []branch {
	t := m.table(n.vmap.Set, n.vmap.Key)
	if !t.reg {
		return m.entryVerdicts(t.entries[0], p)
	}
	if t.onlyReg && p.reg.kind == byPort {
		var out []branch
		for _, g := range m.mapGroups(n.vmap.Set, t, p.reg.fn) {
			if ports := p.b.ports.and(g.ports); !ports.empty() {
				q := p.copy()
				q.b.ports = ports
				out = append(out, branch{q, g.then, g.chain, g.miss})
			}
		}
		return out
	}
	var out []branch
	for _, q := range m.concrete(n.line, p) {
		e := t.entries[q.reg.v]
		if t.onlyReg && e != nil {
			out = append(out, branch{q, e.rows[0].then, e.rows[0].chain, false})
			continue
		}
		out = append(out, m.entryVerdicts(e, q)...)
	}
	return out
}

func (m *machine) mapGroups(set int, t *table, f *portFunc) []portGroup {
	at := setTable{set: set}
	if g := f.maps[at]; g != nil {
		return g
	}
	var out []portGroup
	for a := range f.dom.each {
		var g portGroup
		if e := t.entries[f.value[a]]; e != nil {
			g.then, g.chain = e.rows[0].then, e.rows[0].chain
		} else {
			g.miss = true
		}
		i := slices.IndexFunc(out, func(o portGroup) bool {
			return o.then == g.then && o.chain == g.chain && o.miss == g.miss
		})
		if i < 0 {
			i = len(out)
			out = append(out, portGroup{ports: newBitset(len(m.sp.atoms)), then: g.then, chain: g.chain, miss: g.miss})
		}
		out[i].ports.add(a)
	}
	f.maps[at] = out
	return out
}

func (m *machine) entryVerdicts(e *entry, p *path) []branch {
	rest := []box{p.b}
	var out []branch
	if e != nil {
		for i := range e.rows {
			r := &e.rows[i]
			var left []box
			for _, b := range rest {
				yes, no := m.splitRow(b, r)
				for _, y := range yes {
					out = append(out, branch{p.with(y), r.then, r.chain, false})
				}
				left = append(left, no...)
			}
			rest = left
		}
	}
	for _, b := range rest {
		out = append(out, branch{path: p.with(b), miss: true})
	}
	return out
}
