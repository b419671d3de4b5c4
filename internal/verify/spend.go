package verify

import (
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// spending is what a path has done to a value: noted that it is spent, and taken it
// out of those that are live.
type spending struct {
	tokenNoted, tokenGone bool
	pathNoted, pathGone   bool
	asked                 bool // the bucket of a note was asked already, by looking it up
}

// hasData says whether a key has what the datagram carries.
func hasData(key []ruleset.Field) bool {
	for _, f := range key {
		if f.Kind == ruleset.FieldData {
			return true
		}
	}
	return false
}

// lookUpPool asks a set that holds values, or notes of them.
func (m *machine) lookUpPool(n *node, st ruleset.Lookup, p *path, out *outcome) {
	role := m.pool.roles[st.Set]
	var found outcome
	switch {
	case role == liveTokens && p.spent.tokenGone || role == livePaths && p.spent.pathGone:
		found.no = append(found.no, p)
	case role == noteTokens && p.spent.tokenNoted || role == notePaths && p.spent.pathNoted:
		found.yes = append(found.yes, p)
	default:
		m.lookUpStatic(n, st.Set, st.Key, p, &found)
		if !st.Not && m.rs.Sets[st.Set].Limited {
			// The kernel carries out the limit of an element that it finds
			// (net/netfilter/nft_lookup.c, nft_lookup_eval), which may have room again.
			for _, q := range found.yes {
				q = q.copy()
				q.spent.asked = true
				found.no = append(found.no, q)
			}
		}
	}
	if st.Not {
		found.yes, found.no = found.no, found.yes
	}
	out.yes, out.no = append(out.yes, found.yes...), append(out.no, found.no...)
}

// lookUpStatic asks a set whose elements are known.
func (m *machine) lookUpStatic(n *node, set int, key []ruleset.Field, p *path, out *outcome) {
	if !hasData(key) {
		m.lookUpTable(n, set, key, p, out)
		return
	}
	if !m.carries(n, key, p) {
		return
	}
	in := newBitset(m.pool.classes())
	for _, e := range m.rs.Sets[set].Elements {
		in.add(int(e.Key[0].First))
	}
	yes, no := p.b.splitData(in)
	out.put(p, yes, no)
}

// loadData puts whose token it is into the register.
func (m *machine) loadData(n *node, st ruleset.Load, p *path, out *outcome) {
	if !m.carries(n, st.Key, p) {
		return
	}
	rest := p
	for i, value := range m.owners(st.Set) {
		yes, no := rest.b.splitData(value.in)
		if yes != nil {
			q := rest.with(*yes)
			q.reg = reg{kind: number, v: value.id}
			out.yes = append(out.yes, q)
		}
		if no == nil {
			return
		}
		if rest = rest.with(*no); i < 0 {
			return
		}
	}
	out.no = append(out.no, rest)
}

// owned are the classes of data that a map gives one value for.
type owned struct {
	id uint32
	in bitset
}

func (m *machine) owners(set int) []owned {
	var all []owned
	at := make(map[uint32]int)
	for _, e := range m.rs.Sets[set].Elements {
		i, ok := at[e.Value]
		if !ok {
			i = len(all)
			at[e.Value] = i
			all = append(all, owned{e.Value, newBitset(m.pool.classes())})
		}
		all[i].in.add(int(e.Key[0].First))
	}
	return all
}

// carries sees that a key of raw payload is that of a datagram of a token's length
// alone: of others it is unknown what the kernel reads there.
func (m *machine) carries(n *node, key []ruleset.Field, p *path) bool {
	udp := m.sp.protos(uint32(port.UDP), uint32(port.UDP))
	if len(key) == 1 && p.b.ports.within(udp) && !p.b.data.has(shortData) {
		return true
	}
	m.fail(n.line, "raw payload of packets that are no datagrams of a token's length")
	return false
}

// pieces cuts a path by the condition that the value of a key is in. What is no value
// is as one that is live: nothing is noted of it.
func (m *machine) pieces(n *node, key []ruleset.Field, p *path, each func(p *path, is condition)) {
	if hasData(key) {
		if !m.carries(n, key, p) {
			return
		}
		rest := p
		for is := isGone; is < conditions; is++ {
			yes, no := rest.b.splitData(m.pool.carriers(is))
			if yes != nil {
				each(rest.with(*yes), is)
			}
			if no == nil {
				return
			}
			rest = rest.with(*no)
		}
		each(rest, isLive)
		return
	}
	if len(key) != 1 || key[0].Kind != ruleset.FieldRegister {
		m.fail(n.line, "a note that is not of a value")
		return
	}
	for _, q := range m.concrete(n.line, p) {
		each(q, m.pool.condition[q.reg.v])
	}
}

// writePool changes a set that holds values, or notes of them.
func (m *machine) writePool(n *node, st ruleset.Write, p *path, out *outcome) {
	role := m.pool.roles[st.Set]
	switch {
	case st.Op == ruleset.Delete && (role == liveTokens || role == livePaths):
		if role == liveTokens && !m.carries(n, st.Key, p) {
			return
		}
		q := p.copy()
		if role == liveTokens {
			q.spent.tokenGone = true
		} else if q.spent.pathGone = true; len(st.Key) != 3 || st.Key[0].Kind != ruleset.FieldRegister || st.Key[1].Kind != ruleset.FieldProto || st.Key[2].Kind != ruleset.FieldDPort {
			m.fail(n.line, "a value is taken out by another key")
		}
		out.yes = append(out.yes, q)
	case (st.Op == ruleset.Update || st.Op == ruleset.Add) && (role == noteTokens || role == notePaths) && st.Timeout == 0:
		m.pieces(n, st.Key, p, func(p *path, is condition) { m.note(n, st, p, is, role, out) })
	default:
		m.fail(n.line, "set `"+m.rs.Sets[st.Set].Name+"` is changed otherwise than by values that are used")
	}
}

// note notes that a value is spent. Of packets that do so at the same moment the first
// makes the note, and its limit has room for as many as its burst says.
func (m *machine) note(n *node, st ruleset.Write, p *path, is condition, role poolRole, out *outcome) {
	full := func(p *path, empty bool) {
		if st.Limit == nil {
			out.yes = append(out.yes, p)
		} else {
			out.decide(p, empty == st.Limit.Over)
		}
	}
	noted := role == noteTokens && p.spent.tokenNoted || role == notePaths && p.spent.pathNoted
	switch {
	case is == isCrowded && !noted:
		out.no = append(out.no, p) // no room: the rule ends (net/netfilter/nft_dynset.c, nft_dynset_eval)
	case is == isContended && !noted:
		q := p.copy()
		q.spent.tokenNoted, q.spent.pathNoted = role == noteTokens || q.spent.tokenNoted, role == notePaths || q.spent.pathNoted
		full(q, st.Limit != nil && st.Limit.Burst == 1)
	case is == isGone || is == isDoubled || noted:
		if !p.spent.asked {
			full(p.copy(), false)
		}
		full(p, true)
	default:
		q := p.copy()
		q.spent.tokenNoted, q.spent.pathNoted = role == noteTokens || q.spent.tokenNoted, role == notePaths || q.spent.pathNoted
		full(q, false)
	}
}

// compareSpending sees that the packet that completes a live value, and no other, notes
// that it is spent and takes it out.
func (e *explorer) compareSpending(p *path, want verdictOf) {
	s := p.spent
	token, path := want.spends == spendsToken, want.spends == spendsPath
	switch {
	case e.fault != nil:
	case token != s.tokenGone, path != s.pathGone, token && !s.tokenNoted, path && !s.pathNoted:
		what := "a value that is used up is not taken out, or another is"
		e.fault = &ruleset.UnknownError{Line: p.line, What: what}
	case !token && s.tokenNoted && !p.b.data.within(e.m.pool.carriers(isContended)):
		e.fault = &ruleset.UnknownError{Line: p.line, What: "a token is noted as spent that is not"}
	case !path && s.pathNoted && !want.raced:
		e.fault = &ruleset.UnknownError{Line: p.line, What: "a sequence is noted as spent that is not"}
	}
}
