package verify

import (
	"slices"

	"tirl/internal/verify/ruleset"
)

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
	if e == nil {
		return []branch{{path: p, miss: true}}
	}
	var out []branch
	m.eachRow(e, p, func(q *path, r *row) {
		out = append(out, branch{q, r.then, r.chain, false})
	}, func(q *path) {
		out = append(out, branch{path: q, miss: true})
	})
	return out
}
