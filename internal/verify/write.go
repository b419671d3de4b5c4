package verify

import (
	"slices"
	"time"

	"tirl/internal/verify/ruleset"
)

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
func (m *machine) takeAll(p *path, sets []int) {
	if len(m.flags) == 0 && len(p.elems) == 0 {
		return
	}
	flagged := slices.ContainsFunc(sets, func(set int) bool { return m.flagSets[set] })
	if !flagged && !slices.ContainsFunc(p.elems, func(e elem) bool { return e.key.n == 0 && slices.Contains(sets, e.key.set) }) {
		return
	}
	for _, set := range sets {
		key := elemKey{set: set}
		if _, ok := m.flags[key]; ok {
			p.ops = append(p.ops, flagOp{key: key})
		} else {
			m.take(p, key)
		}
	}
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

// write changes a dynamic set.
func (m *machine) write(n *node, st ruleset.Write, p *path, out *outcome) {
	if !m.readable(st.Key, p, out) {
		return
	}
	if m.pool.has(st.Set) {
		m.writePool(n, st, p, out)
		return
	}
	for _, k := range m.keys(n.line, st.Key, p) {
		k.key.set = st.Set
		if !k.dport {
			m.writeKey(n, st, k.path, k.key, out)
			continue
		}
		for _, k := range m.eachPort(n.line, k) {
			m.writeKey(n, st, k.path, k.key, out)
		}
	}
}

// eachPort cuts a path whose key has the packet's port in it by ports.
func (m *machine) eachPort(line int, k keyed) []keyed {
	var out []keyed
	for a := range k.path.b.ports.each {
		atom := m.sp.atoms[a]
		if atom.first != atom.last || !hasPorts(atom.proto) {
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
		exists := k.path.find(k.key) >= 0
		m.put(k.path, elem{key: k.key, timers: setTimers(fillTime(st.Limit))})
		m.ask(n, k.path, set, exists, st.Limit.Over, out)
	}
}

// fillTime is how long an empty bucket takes to fill.
func fillTime(l ruleset.Limit) time.Duration {
	if l.Count == 0 {
		return 0
	}
	return l.Per * time.Duration(l.Burst) / time.Duration(l.Count)
}
