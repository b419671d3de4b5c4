package verify

import (
	"slices"

	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// table is a set that packets do not change, as one kind of key reads it: by the
// number in the register, if the key has it, and then by port and source.
type table struct {
	reg     bool // the key has the register
	entries map[uint32]*entry
	onlyReg bool // the key is the register alone
}

// entry is what a table holds for one number in the register; without one
// in the key it is entry 0.
type entry struct {
	rows []row
	// If all rows hold for all sources: the ports of all rows. If all hold for all
	// ports: the sources.
	ports, srcs bitset
	fn          *portFunc
}

type row struct {
	ports bitset // nil: all
	srcs  bitset // nil: all
	value uint32
	then  ruleset.Verdict
	chain int
}

// portFunc is a number that depends on the packet's port.
type portFunc struct {
	dom   bitset
	value map[int]uint32 // by atom
	// What has been asked of it before.
	hits  map[any]bitset
	loads map[any]*portFunc
	maps  map[any][]portGroup
}

// portGroup is a set of ports on which a portFunc has one result.
type portGroup struct {
	ports bitset
	value uint32
	then  ruleset.Verdict
	chain int
	miss  bool
}

func newPortFunc(n int) *portFunc {
	return &portFunc{dom: newBitset(n), value: make(map[int]uint32), hits: make(map[any]bitset), loads: make(map[any]*portFunc), maps: make(map[any][]portGroup)}
}

// groups cuts ports into those of equal value.
func (f *portFunc) groups(ports bitset) []portGroup {
	byValue := make(map[uint32]int)
	var out []portGroup
	for a := range ports.each {
		v := f.value[a]
		i, ok := byValue[v]
		if !ok {
			i = len(out)
			byValue[v] = i
			out = append(out, portGroup{ports: newBitset(ports.n), value: v})
		}
		out[i].ports.add(a)
	}
	return out
}

type tableKey struct {
	set   int
	shape string
}

// table reads a static set by a key, once for each kind of key.
func (m *machine) table(set int, key []ruleset.Field) *table {
	shape := make([]byte, len(key))
	for i, f := range key {
		shape[i] = byte(f.Kind)
	}
	at := tableKey{set, string(shape)}
	if t := m.tables[at]; t != nil {
		return t
	}
	t := &table{entries: make(map[uint32]*entry)}
	t.reg = slices.ContainsFunc(key, func(f ruleset.Field) bool { return f.Kind == ruleset.FieldRegister })
	t.onlyReg = t.reg && len(key) == 1
	s := &m.rs.Sets[set]
	for _, e := range s.Elements {
		if len(e.Key) != len(key) {
			m.fail(s.Line, "set `"+s.Name+"` is looked up by another number of fields than it has")
			break
		}
		m.addRow(t, s, key, e)
	}
	for _, e := range t.entries {
		e.sum(len(m.sp.atoms), len(m.sp.srcs))
	}
	m.tables[at] = t
	return t
}

func (m *machine) addRow(t *table, s *ruleset.Set, key []ruleset.Field, e ruleset.Element) {
	r := row{value: e.Value, then: e.Then, chain: e.Chain}
	reg := uint32(0)
	var proto *ruleset.Range
	for i, f := range key {
		k := e.Key[i]
		switch f.Kind {
		case ruleset.FieldRegister:
			if reg = k.First; k.First != k.Last {
				m.fail(s.Line, "set `"+s.Name+"` has a range of meta priority")
			}
		case ruleset.FieldProto:
			proto = &k
		case ruleset.FieldDPort:
			if p, ok := oneProto(proto); ok && k.Last <= 65535 && len(key) <= 3 {
				r.narrow(m.sp.ports([]port.Range{{Proto: p, First: uint16(k.First), Last: uint16(k.Last)}}))
				proto = nil
				continue
			}
			r.narrow(m.sp.dports(k.First, k.Last))
		case ruleset.FieldSrc:
			srcs := m.sp.sources(prefixesOf(k))
			if r.srcs != nil {
				srcs = srcs.and(r.srcs)
			}
			r.srcs = srcs
		case ruleset.FieldNFProto:
			if n := m.nfproto(); n < k.First || n > k.Last {
				return
			}
		case ruleset.FieldConst:
			if f.Const < k.First || f.Const > k.Last {
				return
			}
		default:
			m.fail(s.Line, "set `"+s.Name+"` is looked up by "+f.Name)
			return
		}
	}
	if proto != nil {
		r.narrow(m.sp.protos(proto.First, proto.Last))
	}
	if t.entries[reg] == nil {
		t.entries[reg] = &entry{}
	}
	t.entries[reg].rows = append(t.entries[reg].rows, r)
}

func oneProto(r *ruleset.Range) (port.Proto, bool) {
	if r == nil || r.First != r.Last || !hasPorts(port.Proto(r.First)) {
		return 0, false
	}
	return port.Proto(r.First), true
}

func (r *row) narrow(ports bitset) {
	if r.ports != nil {
		ports = ports.and(r.ports)
	}
	r.ports = ports
}

func (e *entry) sum(atoms, srcs int) {
	if !slices.ContainsFunc(e.rows, func(r row) bool { return r.srcs != nil || r.ports == nil }) {
		e.ports = newBitset(atoms)
		for i := range e.rows {
			for a := range e.rows[i].ports.each {
				e.ports.add(a)
			}
		}
	}
	if !slices.ContainsFunc(e.rows, func(r row) bool { return r.srcs == nil || r.ports != nil }) {
		e.srcs = newBitset(srcs)
		for _, r := range e.rows {
			e.srcs = e.srcs.or(r.srcs)
		}
	}
}

// asFunc gives an entry whose rows hold for all sources as a function of the port.
func (e *entry) asFunc(atoms int) *portFunc {
	if e.fn == nil {
		f := newPortFunc(atoms)
		f.dom = e.ports
		for i := range e.rows {
			for a := range e.rows[i].ports.each {
				f.value[a] = e.rows[i].value
			}
		}
		e.fn = f
	}
	return e.fn
}

// lookup cuts a path by whether an entry has a row for the packet.
func (m *machine) lookup(e *entry, p *path, out *outcome) {
	switch {
	case e == nil:
		out.no = append(out.no, p)
	case e.ports != nil:
		out.add(p, p.b.splitPorts)(e.ports)
	case e.srcs != nil:
		out.add(p, p.b.splitSources)(e.srcs)
	default:
		m.eachRow(e, p, func(q *path, _ *row) { out.yes = append(out.yes, q) }, func(q *path) { out.no = append(out.no, q) })
	}
}

// eachRow cuts a path by which row of an entry is the packet's, and what none has.
func (m *machine) eachRow(e *entry, p *path, has func(*path, *row), none func(*path)) {
	if e.ports != nil {
		for i := range e.rows {
			yes, no := p.b.splitPorts(e.rows[i].ports)
			if no == nil {
				has(p, &e.rows[i])
				return
			}
			if yes != nil {
				has(p.with(*yes), &e.rows[i])
				p.b = *no
			}
		}
		none(p)
		return
	}
	rest := []box{p.b}
	for i := range e.rows {
		var left []box
		for _, b := range rest {
			yes, no := m.splitRow(b, &e.rows[i])
			for _, y := range yes {
				has(p.with(y), &e.rows[i])
			}
			left = append(left, no...)
		}
		rest = left
	}
	for _, b := range rest {
		none(p.with(b))
	}
}

// splitRow cuts a box by whether one row holds.
func (m *machine) splitRow(b box, r *row) (yes, no []box) {
	if r.ports != nil {
		in, out := b.splitPorts(r.ports)
		if out != nil {
			no = append(no, *out)
		}
		if in == nil {
			return nil, no
		}
		b = *in
	}
	if r.srcs != nil {
		in, out := b.splitSources(r.srcs)
		if out != nil {
			no = append(no, *out)
		}
		if in == nil {
			return nil, no
		}
		b = *in
	}
	return []box{b}, no
}
