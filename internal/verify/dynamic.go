package verify

import (
	"slices"

	"tirl/internal/verify/ruleset"
)

// setTable is how a portFunc remembers what a table says of its values.
type setTable struct{ set int }

func (m *machine) lookUp(n *node, st ruleset.Lookup, p *path, out *outcome) {
	if !m.readable(st.Key, p, out) {
		return
	}
	if m.pool.has(st.Set) {
		m.lookUpPool(n, st, p, out)
		return
	}
	if set := &m.rs.Sets[st.Set]; set.Drained || set.Limited {
		m.fail(n.line, "set `"+set.Name+"` decides about packets")
	}
	if !m.rs.Sets[st.Set].Dynamic {
		m.lookUpStatic(n, st.Set, st.Key, p, out)
		if st.Not {
			out.yes, out.no = out.no, out.yes
		}
		return
	}
	if st.SameTTL && !m.oneTTL {
		m.fail(n.line, "`--rttl`, which the policy does not ask for")
	}
	if st.Hits > 1 {
		m.fail(n.line, "`--hitcount` decides about packets")
	}
	for _, k := range m.keys(n.line, st.Key, p) {
		m.lookUpKey(st, k, out)
	}
	if st.Not {
		out.yes, out.no = out.no, out.yes
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
		if set, key, not = st.Set, st.Key, st.Not; st.Within == 0 && len(m.sets[set].times) > 0 || !m.rs.Sets[set].Dynamic || m.pool.has(set) {
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
// are those of the one source. What it gives is to be used up before it is called again.
func (m *machine) keys(line int, fields []ruleset.Field, p *path) []keyed {
	m.keyed = m.keyed[:0]
	m.keysOf(line, fields, keyed{path: p})
	return m.keyed
}

func (m *machine) keysOf(line int, fields []ruleset.Field, k keyed) {
	for i, f := range fields {
		switch f.Kind {
		case ruleset.FieldSrc, ruleset.FieldTTL:
			continue
		case ruleset.FieldConst:
			k.key.push(f.Const)
		case ruleset.FieldNFProto:
			k.key.push(m.nfproto())
		case ruleset.FieldRegister:
			m.keysRest(line, fields[i+1:], k, m.concrete(line, k.path), func(p *path) uint32 { return p.reg.v })
			return
		case ruleset.FieldProto:
			m.keysRest(line, fields[i+1:], k, m.protocols(k.path), func(p *path) uint32 {
				return uint32(m.sp.atoms[p.b.ports.first()].proto)
			})
			return
		case ruleset.FieldDPort:
			if k.dport {
				m.fail(line, "a key with two ports")
			}
			k.dport, k.at = true, k.key.n
			k.key.push(0)
		default:
			m.fail(line, "a set that packets change has "+f.Name+" in its key")
			return
		}
	}
	m.keyed = append(m.keyed, k)
}

func (m *machine) keysRest(line int, rest []ruleset.Field, k keyed, paths []*path, value func(*path) uint32) {
	for _, p := range paths {
		next := k
		next.path = p
		next.key.push(value(p))
		m.keysOf(line, rest, next)
	}
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
	yes, no = p, p.copy()
	yes.g = append(yes.g, held{class, true})
	no.g = append(no.g, held{class, false})
	return yes, no
}

// load puts the value of a map into the register.
func (m *machine) load(n *node, st ruleset.Load, p *path, out *outcome) {
	if !m.readable(st.Key, p, out) {
		return
	}
	if hasData(st.Key) && !m.rs.Sets[st.Set].Dynamic {
		m.loadData(n, st, p, out)
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
			k.path.reg = k.path.elems[i].val
			out.yes = append(out.yes, k.path)
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
	m.eachRow(e, p, func(q *path, r *row) {
		q.reg = reg{kind: number, v: r.value}
		out.yes = append(out.yes, q)
	}, func(q *path) { out.no = append(out.no, q) })
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
