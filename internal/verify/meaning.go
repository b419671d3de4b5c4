package verify

import (
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// meaning says what the policy does with sets of packets: the reference
// interpreter, for all packets at once. A test holds the two together.
type meaning struct {
	g    *automaton.Program
	sp   *space
	pool *pool

	loopback, trustIfaces uint64
	trusted               bitset // sources
	public, service       bitset
	heard                 bitset // guard: of a protocol that some knock uses
	answered              bitset // TCP and UDP
	tcp                   bitset
	protos                bitset // firewall: public protocols
	icmp                  bitset // the family's own ICMP
	dhcpPort              bitset
	linkLocal             bitset // sources
	classes               []bitset
	places                []automaton.Place        // of the program, then those of users
	own                   map[automaton.State]bool // places of users
	finals                map[automaton.State][]final
	children              [][]automaton.State
	knocks                []int     // atoms, by place
	singles               []bitset  // by atom, those that were asked for
	staying               []bitset  // by place, those that were asked for: the knocks that stay there
	first                 *portFunc // first knocks that end no door
	firstEnds             []automaton.State
	admits                []bitset // sources, by door
	limited               bool
}

// verdictOf is what the policy says of a set of packets.
type verdictOf struct {
	b       box
	g       []held
	limit   choice
	verdict automaton.Verdict
	reason  automaton.Reason
	moves   bool // the place changes, or its time is set anew
	place   automaton.State
	first   bool // the place is that of the first knock, by port
	paid    bool // the bucket is asked, or made
	grant   int  // class; -1
	spends  spends
	raced   bool // another packet with the same value was first
}

func newMeaning(g *automaton.Program, sp *space, pl *pool, limited bool) *meaning {
	s := &meaning{g: g, sp: sp, pool: pl, places: slices.Clone(g.Places), limited: limited}
	s.loopback = sp.ifaceSet(func(n string) bool { return n == "lo" })
	s.trustIfaces = sp.ifaceSet(func(n string) bool { return slices.Contains(g.Ifaces, n) })
	s.trusted = sp.sources(g.Trust)
	s.public = sp.ports(g.Public)
	s.service = sp.ports(g.Hidden())
	s.tcp = sp.protos(uint32(port.TCP), uint32(port.TCP))
	s.answered = s.tcp.or(sp.protos(uint32(port.UDP), uint32(port.UDP)))
	s.heard = newBitset(len(sp.atoms))
	for i, a := range sp.atoms {
		if g.Heard(a.proto) {
			s.heard.add(i)
		}
	}
	s.ofFirewall()
	for _, c := range g.Classes {
		s.classes = append(s.classes, sp.ports(c.Services))
	}
	s.children = make([][]automaton.State, len(g.Places))
	s.knocks = make([]int, len(g.Places))
	s.singles = make([]bitset, len(sp.atoms))
	for at := 1; at < len(g.Places); at++ {
		if g.Detached(automaton.State(at)) {
			continue
		}
		up := g.Places[at].Parent
		s.knocks[at] = sp.atomOf(g.Places[at].Knock)
		s.children[up] = append(s.children[up], automaton.State(at))
	}
	s.growUsers()
	s.staying = make([]bitset, len(s.places))
	s.first = newPortFunc(len(sp.atoms))
	for _, c := range s.children[automaton.Root] {
		if s.places[c].Door >= 0 {
			s.firstEnds = append(s.firstEnds, c)
			continue
		}
		a := s.knock(c)
		s.first.dom.add(a)
		s.first.value[a] = uint32(c)
	}
	everybody := fullBitset(len(sp.srcs))
	for _, d := range g.Doors {
		if len(d.From) == 0 {
			s.admits = append(s.admits, everybody)
		} else {
			s.admits = append(s.admits, sp.sources(d.From))
		}
	}
	return s
}

func (s *meaning) ofFirewall() {
	s.protos = newBitset(len(s.sp.atoms))
	for _, p := range s.g.Protos {
		s.protos = s.protos.or(s.sp.protos(uint32(p), uint32(p)))
	}
	own := port.ICMP
	if s.sp.family == ruleset.IPv6 {
		own = port.ICMPv6
	}
	s.icmp = s.sp.protos(uint32(own), uint32(own))
	s.dhcpPort = newBitset(len(s.sp.atoms))
	if !s.g.Firewall || !s.g.DHCP {
		return
	}
	n := uint16(68)
	if s.sp.family == ruleset.IPv6 {
		n = 546
		s.linkLocal = newBitset(len(s.sp.srcs))
		for i, a := range s.sp.srcs {
			if a.addr.IsLinkLocalUnicast() {
				s.linkLocal.add(i)
			}
		}
	}
	s.dhcpPort = s.sp.ports([]port.Range{{Proto: port.UDP, First: n, Last: n}})
}

// knock gives the atom of the knock that leads to a place.
func (s *meaning) knock(at automaton.State) int { return s.knocks[at] }

// single is the set of one atom.
func (s *meaning) single(atom int) bitset {
	if s.singles[atom] == nil {
		s.singles[atom] = newBitset(len(s.sp.atoms))
		s.singles[atom].add(atom)
	}
	return s.singles[atom]
}

// judging is a judgement under way.
type judging struct {
	*meaning
	place  automaton.State
	bucket bool
	exact  map[int]bool // classes whose grants are known: whether the source holds them
	emit   func(verdictOf)
	hear   func(v verdictOf, service bool) // what is heard, or goes to a service
}

// sift gives what becomes of the packets of a box wherever their source stands, and
// hands over those that are heard.
func (s *meaning) sift(b box, emit func(verdictOf), hear func(v verdictOf, service bool)) {
	j := &judging{meaning: s, emit: emit, hear: hear}
	j.exempt(verdictOf{b: b, grant: -1})
}

// judge gives what becomes of packets that sift has handed over, from a source that
// stands at place, and has a bucket or not. Choices that a path through the rules has
// made are taken over; others are made here.
func (s *meaning) judge(place automaton.State, bucket bool, exact map[int]bool, v verdictOf, service bool, emit func(verdictOf)) {
	j := &judging{meaning: s, place: place, bucket: bucket, exact: exact, emit: emit}
	if service {
		j.granted(v, 0)
	} else {
		j.refuse(v, service)
	}
}

func (j *judging) let(v verdictOf, why automaton.Reason) {
	v.verdict, v.reason = automaton.Accept, why
	j.emit(v)
}

func (j *judging) drop(v verdictOf, why automaton.Reason) {
	v.verdict, v.reason = automaton.Dropped, why
	j.emit(v)
}

// exempt is what is never judged.
func (j *judging) exempt(v verdictOf) {
	loopback, rest := v.b.splitIfaces(j.loopback)
	parts(v, loopback, rest, func(v verdictOf) { j.let(v, automaton.ByLoopback) }, func(v verdictOf) {
		answered, rest := v.b.splitConns(ruleset.Established)
		parts(v, answered, rest, func(v verdictOf) { j.let(v, automaton.ByEstablished) }, j.tokens)
	})
}

// known is what comes from trusted sources, or to public services.
func (j *judging) known(v verdictOf) {
	type rule struct {
		why   automaton.Reason
		split func(box) (yes, no *box)
	}
	rules := []rule{
		{automaton.ByTrust, func(b box) (*box, *box) { return b.splitIfaces(j.trustIfaces) }},
		{automaton.ByTrust, func(b box) (*box, *box) { return b.splitSources(j.trusted) }},
		{automaton.ByPublic, func(b box) (*box, *box) { return b.splitPorts(j.public) }},
	}
	if j.g.Firewall {
		rules = append(rules, rule{automaton.ByPublic, func(b box) (*box, *box) { return b.splitPorts(j.protos) }})
	}
	for _, r := range rules {
		yes, no := r.split(v.b)
		if yes != nil {
			let := v
			let.b = *yes
			j.let(let, r.why)
		}
		if no == nil {
			return
		}
		v.b = *no
	}
	if j.g.Firewall {
		j.exemptICMP(v)
		return
	}
	j.fresh(v)
}

// parts goes on with each part of a split.
func parts(v verdictOf, yes, no *box, then, other func(verdictOf)) {
	if yes != nil {
		w := v
		w.b = *yes
		then(w)
	}
	if no != nil {
		w := v
		w.b = *no
		other(w)
	}
}

func (j *judging) exemptICMP(v verdictOf) {
	yes, no := v.b.splitPorts(j.icmp)
	parts(v, yes, no, func(v verdictOf) {
		switch {
		case j.g.ICMP:
			j.let(v, automaton.ByICMP)
		case j.sp.family == ruleset.IPv4:
			j.fresh(v)
		default:
			var always [4]uint64
			for _, t := range automaton.AlwaysICMPv6() {
				always[t/64] |= 1 << (t % 64)
			}
			yes, no := v.b.splitICMP(always)
			parts(v, yes, no, func(v verdictOf) { j.let(v, automaton.ByICMP) }, j.fresh)
		}
	}, j.exemptDHCP)
}

func (j *judging) exemptDHCP(v verdictOf) {
	yes, no := v.b.splitPorts(j.dhcpPort)
	parts(v, yes, no, func(v verdictOf) {
		yes, no := v.b.splitSPorts(j.sp.sportSet(67, 67))
		if j.sp.family == ruleset.IPv6 {
			yes, no = v.b.splitSources(j.linkLocal)
		}
		parts(v, yes, no, func(v verdictOf) { j.let(v, automaton.ByDHCP) }, j.fresh)
	}, j.fresh)
}

// fresh is what tries to begin something.
func (j *judging) fresh(v verdictOf) {
	yes, no := v.b.splitPorts(j.service)
	parts(v, yes, no, func(v verdictOf) { j.freshTCP(v, true) }, func(v verdictOf) { j.freshTCP(v, false) })
}

func (j *judging) freshTCP(v verdictOf, service bool) {
	next := func(v verdictOf) { j.freshDest(v, service) }
	if j.g.Firewall {
		next(v)
		return
	}
	notOurs := func(v verdictOf) { j.let(v, automaton.NotOurs) }
	yes, no := v.b.splitPorts(j.tcp)
	parts(v, yes, no, func(v verdictOf) {
		yes, no := v.b.splitFlags(begins())
		parts(v, yes, no, next, notOurs)
	}, next)
}

func (j *judging) freshDest(v verdictOf, service bool) {
	ours := j.g.Firewall || service
	notOurs := func(v verdictOf) { j.let(v, automaton.NotOurs) }
	here := func(v verdictOf) {
		local, other := v.b.splitDests(ruleset.Local)
		parts(v, local, other, func(v verdictOf) {
			invalid, rest := v.b.splitConns(ruleset.Invalid)
			parts(v, invalid, rest, func(v verdictOf) {
				if ours {
					j.drop(v, automaton.IsInvalid)
				} else {
					notOurs(v)
				}
			}, func(v verdictOf) { j.heardOf(v, service) })
		}, func(v verdictOf) {
			if ours {
				j.drop(v, automaton.NotUnicast)
			} else {
				notOurs(v)
			}
		})
	}
	away, rest := v.b.splitDests(ruleset.Unicast)
	parts(v, away, rest, notOurs, func(v verdictOf) {
		if service {
			here(v)
			return
		}
		related, rest := v.b.splitConns(ruleset.Related)
		parts(v, related, rest, func(v verdictOf) {
			if j.g.Firewall {
				j.let(v, automaton.ByRelated)
			} else {
				notOurs(v)
			}
		}, here)
	})
}

// heardOf leaves alone what guard mode does not hear. The rest comes in the normative
// order: grant, limit, once, step, open, verdict.
func (j *judging) heardOf(v verdictOf, service bool) {
	if j.g.Firewall {
		j.hear(v, service)
		return
	}
	protos := j.answered
	if !service {
		protos = protos.and(j.heard)
	}
	yes, no := v.b.splitPorts(protos)
	parts(v, yes, no, func(v verdictOf) { j.hear(v, service) }, func(v verdictOf) { j.let(v, automaton.NotOurs) })
}
