package verify

import (
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// spends is what a packet uses up, as the policy has it.
type spends uint8

const (
	spendsNothing spends = iota
	spendsToken
	spendsPath
)

// final is the last knock of a sample sequence.
type final struct {
	atom, door int
	is         condition
}

// growUsers adds the places of users, and of the sample sequences, to those of the
// doors. What is noted as spent but not taken out yet ends at the start.
func (s *meaning) growUsers() {
	s.own = make(map[automaton.State]bool)
	s.finals = make(map[automaton.State][]final)
	grow := func(up automaton.State, k port.Port) automaton.State {
		at := automaton.State(len(s.places))
		s.places = append(s.places, automaton.Place{Parent: up, Knock: k, Depth: s.places[up].Depth + 1, Door: -1})
		s.knocks = append(s.knocks, s.sp.atomOf(k))
		s.children = append(s.children, nil)
		s.children[up] = append(s.children[up], at)
		s.own[at] = true
		return at
	}
	begin := make(map[int]automaton.State)
	for i, u := range s.g.Users {
		if u.Kind == policy.Sequence {
			begin[i] = grow(automaton.Root, u.First)
		}
	}
	for _, sample := range s.pool.paths {
		at := begin[sample.user]
		last := len(sample.knocks) - 1
		for _, k := range sample.knocks[1:last] {
			at = grow(at, k)
		}
		s.finals[at] = append(s.finals[at], final{s.sp.atomOf(sample.knocks[last]), s.g.Users[sample.user].Door, sample.is})
	}
}

// tokens goes before trust: what has been on the wire is worth nothing from then on.
func (j *judging) tokens(v verdictOf) {
	if len(j.pool.tokens) == 0 {
		j.known(v)
		return
	}
	for i, user := range j.pool.tokens {
		live := newBitset(j.pool.classes())
		live.add(class(i, isLive))
		yes, no := v.b.splitData(live)
		if yes == nil {
			continue
		}
		w := v
		w.b = *yes
		j.carried(w, func(v verdictOf) { j.redeem(v, j.g.Users[user].Door) })
		if no == nil {
			return
		}
		v.b = *no
	}
	// Where another packet is first with the same token, or there is no room to note that
	// it is spent, the datagram opens nothing, and is not heard either.
	raced, rest := v.b.splitData(j.pool.carriers(isDoubled, isContended, isCrowded))
	parts(v, raced, rest, func(v verdictOf) { j.carried(v, j.carrier) }, j.known)
}

// carried is a datagram with a token that rules take for live, which only counts at one of the host's own
// addresses, and if conntrack finds nothing wrong with it.
func (j *judging) carried(v verdictOf, then func(verdictOf)) {
	local, other := v.b.splitDests(ruleset.Local)
	parts(v, local, other, func(v verdictOf) {
		invalid, rest := v.b.splitConns(ruleset.Invalid)
		parts(v, invalid, rest, j.known, then)
	}, j.known)
}

func (j *judging) redeem(v verdictOf, door int) {
	v.reason, v.moves, v.place, v.spends = automaton.Redeemed, true, automaton.Root, spendsToken
	yes, no := v.b.splitSources(j.admits[door])
	parts(v, yes, no, func(v verdictOf) {
		if class := j.g.Doors[door].Class; j.g.Classes[class].Once {
			v.place = j.g.Doors[door].End
		} else {
			v.grant = class
		}
		j.carrier(v)
	}, j.carrier)
}

// carrier gives the datagram the verdict of one from a source that is nowhere.
func (j *judging) carrier(v verdictOf) {
	accept := func(v verdictOf) { v.verdict = automaton.Accept; j.emit(v) }
	refuse := func(v verdictOf) {
		if v.verdict = automaton.Dropped; j.g.Reset {
			v.verdict = automaton.Rejected
		}
		j.emit(v)
	}
	byIface, rest := v.b.splitIfaces(j.trustIfaces)
	parts(v, byIface, rest, accept, func(v verdictOf) {
		trusted, rest := v.b.splitSources(j.trusted)
		parts(v, trusted, rest, accept, func(v verdictOf) {
			public, rest := v.b.splitPorts(j.public)
			parts(v, public, rest, accept, func(v verdictOf) {
				if j.g.Firewall {
					refuse(v)
					return
				}
				service, rest := v.b.splitPorts(j.service)
				parts(v, service, rest, refuse, accept)
			})
		})
	})
}

// finish comes to the last knock of a sequence. False: there are no other packets.
func (j *judging) finish(v *verdictOf) bool {
	for _, f := range j.finals[j.place] {
		if f.is == isGone {
			continue
		}
		if !j.takeAtom(v, f.atom, func(v verdictOf) {
			if f.is == isLive {
				j.open(v, j.g.Doors[f.door].End, f.door, automaton.Knocked, spendsPath)
				return
			}
			j.pay(v, automaton.Lost, func(v verdictOf) {
				v.moves, v.place, v.raced = true, automaton.Root, true
				j.emit(v)
			})
		}) {
			return false
		}
	}
	return true
}

// sampleOf gives a sample that opens a door: the data of a token, or knocks.
func (p *pool) sampleOf(g *automaton.Program, door int) (data int, knocks []port.Port) {
	for i, user := range p.tokens {
		if g.Users[user].Door == door {
			return class(i, isLive), []port.Port{{Proto: port.UDP, Number: freePorts(g)[0].Number}}
		}
	}
	i := slices.IndexFunc(p.paths, func(s samplePath) bool { return g.Users[s.user].Door == door && s.is == isLive })
	if i < 0 {
		return shortData, nil
	}
	return shortData, p.paths[i].knocks
}
