package verify

import (
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// learnGrants finds out which elements stand for the grant of each timed class: it
// knocks at a door of the class, and looks which of the elements that are there then,
// and alone, lets the source in. A class for which it finds none is followed like
// everything else.
func (e *explorer) learnGrants() {
	e.grantElems, e.m.flags, e.m.flagSets = make(map[int][]elemKey), make(map[elemKey]int), make(map[int]bool)
	flags := make(map[elemKey]int)
	e.m.limited = false
	for class, c := range e.g.Classes {
		if c.Once || e.exact[class] {
			continue
		}
		for _, key := range e.grantsOf(class) {
			flags[key] = class
			e.grantElems[class] = append(e.grantElems[class], key)
		}
		if len(e.grantElems[class]) == 0 {
			e.exact[class] = true
		}
	}
	e.m.flags, e.m.limited = flags, e.s.limited
	for key := range flags {
		e.m.flagSets[key.set] = true
	}
}

// grantsOf gives the elements that let a source in that has knocked at a door of a
// class.
func (e *explorer) grantsOf(class int) []elemKey {
	door := slices.IndexFunc(e.g.Doors, func(d automaton.Door) bool { return d.Class == class })
	src := -1
	for door >= 0 && src < 0 {
		if src = e.s.admits[door].without(e.s.trusted).first(); src < 0 {
			next := slices.IndexFunc(e.g.Doors[door+1:], func(d automaton.Door) bool { return d.Class == class })
			if next < 0 {
				return nil // no source of this family
			}
			door += 1 + next
		}
	}
	if src < 0 {
		return nil
	}
	var elems []elem
	knocks, data := e.g.Doors[door].Knocks, shortData
	if len(knocks) == 0 {
		data, knocks = e.m.pool.sampleOf(e.g, door)
	}
	for _, k := range knocks {
		elems, _ = e.sendData(src, k, data, elems)
	}
	r := e.g.Classes[class].Services[0]
	service := port.Port{Proto: r.Proto, Number: r.First}
	if _, open := e.send(src, service, nil); open {
		return nil
	}
	var out []elemKey
	for _, el := range elems {
		if _, open := e.send(src, service, []elem{el}); open && el.val.kind == foreign {
			out = append(out, el.key)
		}
	}
	return out
}

// send carries out the rules for one plain packet.
func (e *explorer) send(src int, to port.Port, elems []elem) (after []elem, let bool) {
	return e.sendData(src, to, shortData, elems)
}

func (e *explorer) sendData(src int, to port.Port, data int, elems []elem) (after []elem, let bool) {
	b := Scope{Unicast: true}.narrow(e.sp.all())
	b.conns = ruleset.New
	b.srcs = newBitset(len(e.sp.srcs))
	b.srcs.add(src)
	b.ports = e.s.single(e.sp.atomOf(to))
	b.flags = 1 << automaton.SYN
	b.data = newBitset(e.sp.datas)
	b.data.add(data)
	b.ifaces = 1 << (len(e.sp.ifaces) - 1)
	b.sports = 1 << (len(e.sp.sports) - 1)
	e.m.execute(b, elems, func(p *path, v ruleset.Verdict) {
		after, let = slices.Clone(p.elems), v == ruleset.Accept
		for i := range after {
			if val := &after[i].val; val.kind == byPort {
				*val = reg{kind: number, v: val.fn.value[p.b.ports.first()]}
			}
		}
	})
	return after, let
}

// keyUse is how the key of a set names the source.
type keyUse struct {
	bits int
	ttl  bool
	line int
}

// structure sees to it that no element of a set that matters belongs to more or
// fewer packets than the policy's: of place and bucket, and of grants. It gives the
// sets that neighbours of an IPv6 source share with it.
func (e *explorer) structure(matchTTL bool) (coarse map[int]bool, err error) {
	identity, bucket := e.m.bits(), e.m.bits()
	if e.sp.family == ruleset.IPv6 {
		identity, bucket = e.g.IPv6Prefix, 64
	}
	coarse = make(map[int]bool)
	e.anyTTL = make(map[int]bool)
	for set, uses := range e.keyUses() {
		info := &e.m.sets[set]
		if !info.relevant || e.m.pool.has(set) {
			continue
		}
		for _, u := range uses {
			switch {
			case u.bits == identity && u.ttl == matchTTL:
			case u.bits == bucket && u.ttl == matchTTL:
				coarse[set] = true
			case u.bits == identity && !u.ttl:
				e.anyTTL[set] = true
			default:
				return nil, &ruleset.UnknownError{Line: u.line, What: "set `" + info.name + "` does not keep each source of the policy apart"}
			}
		}
		if coarse[set] && slices.ContainsFunc(uses, func(u keyUse) bool { return u.bits != bucket }) {
			return nil, &ruleset.UnknownError{Line: uses[0].line, What: "set `" + info.name + "` is looked up by different lengths of the source"}
		}
	}
	return coarse, nil
}

// keyUses lists how each dynamic set is keyed, by statements for this family.
func (e *explorer) keyUses() map[int][]keyUse {
	out := make(map[int][]keyUse)
	add := func(set, line int, key []ruleset.Field) {
		u := keyUse{line: line}
		for _, f := range key {
			switch f.Kind {
			case ruleset.FieldSrc:
				if f.Family&e.sp.family == 0 {
					return // no packet of this family gets there
				}
				u.bits = f.Bits
			case ruleset.FieldTTL:
				u.ttl = true
			}
		}
		out[set] = append(out[set], u)
	}
	for _, c := range e.m.rs.Chains {
		for _, r := range c.Rules {
			for _, st := range r.Statements {
				switch st := st.(type) {
				case ruleset.Lookup:
					if e.m.rs.Sets[st.Set].Dynamic {
						add(st.Set, r.Line, st.Key)
					}
				case ruleset.Load:
					if e.m.rs.Sets[st.Set].Dynamic {
						add(st.Set, r.Line, st.Key)
					}
				case ruleset.Write:
					add(st.Set, r.Line, st.Key)
				case ruleset.HashLimit:
					add(e.m.names[hashLimitSet(st.Name)], r.Line, st.Key)
				}
			}
		}
	}
	return out
}

// limits finds out which buckets fill as the policy says. The others may stand for
// something else, as long as they are never asked twice; see ask.
func (e *explorer) limits(relevant map[string]bool) error {
	is := make(map[int]bool)
	differ := func(line int) error {
		return &ruleset.UnknownError{Line: line, What: "a limit that is not the policy's"}
	}
	for _, c := range e.m.rs.Chains {
		for _, r := range c.Rules {
			for _, st := range r.Statements {
				switch st := st.(type) {
				case ruleset.Write:
					if st.Limit == nil || !relevant[e.m.rs.Sets[st.Set].Name] || e.m.pool.has(st.Set) {
						continue
					}
					is[st.Set] = e.ofPolicy(*st.Limit, st.Timeout)
					if known, ok := e.m.foreign[st.Set]; ok && known == is[st.Set] {
						return differ(r.Line) // one rule has it so, another so
					}
					e.m.foreign[st.Set] = !is[st.Set]
				case ruleset.HashLimit:
					if !relevant[hashLimitSet(st.Name)] {
						continue
					}
					if !e.ofPolicy(st.Limit, st.Expire) {
						return differ(r.Line)
					}
					e.buckets = true
				}
			}
		}
	}
	for _, own := range is {
		e.buckets = e.buckets || own
	}
	return nil
}

// ofPolicy says whether a bucket is as the policy has it.
func (e *explorer) ofPolicy(l ruleset.Limit, life time.Duration) bool {
	return l.Count > 0 && l.Per/time.Duration(l.Count) == time.Second/time.Duration(e.g.PerSource) &&
		l.Burst == uint32(e.g.PerSource*automaton.BucketDepth) && life == automaton.BucketLife
}
