package automaton

import (
	"net/netip"
	"slices"
	"time"

	"tirl/internal/port"
)

// Interpreter is the reference: it says what the kernel must do with each
// packet. It works on the doors' sequences alone, not on the trie or the table,
// so that an error in those shows as a disagreement. It forgets nothing for
// lack of room.
type Interpreter struct {
	g       *Program
	now     time.Duration
	places  map[sourceKey]standing
	buckets map[sourceKey]*bucket
	grants  map[grantKey]time.Duration
	values  []*value
}

type sourceKey struct {
	addr netip.Addr
	ttl  uint8 // 0 unless MatchTTL
}

type grantKey struct {
	addr  netip.Addr
	class int
}

// standing is a place as the knocks done, and when it ends.
type standing struct {
	done []port.Port
	ends time.Duration
}

// NewInterpreter starts with every source at the root.
func NewInterpreter(g *Program) *Interpreter {
	return &Interpreter{
		g:       g,
		places:  make(map[sourceKey]standing),
		buckets: make(map[sourceKey]*bucket),
		grants:  make(map[grantKey]time.Duration),
	}
}

// Packet gives the outcome of one packet. Packets come in the order of their time.
func (in *Interpreter) Packet(p Packet) Outcome {
	in.now = p.Time
	out := Outcome{Door: -1, Before: in.Place(p.Src, p.TTL)}
	if v := in.carried(p); v != nil {
		in.redeem(p, v, &out)
	} else if reason, fresh := in.g.fresh(p); fresh {
		out.Service = in.g.service(p.To)
		in.hear(p, &out)
	} else {
		out.Reason = reason
		if reason == IsInvalid || reason == NotUnicast || reason == Incomplete {
			// Nobody may answer the former (RFC 1122, section 3.2.2), and the last never is a packet.
			out.Verdict = Dropped
		}
	}
	out.After = in.Place(p.Src, p.TTL)
	return out
}

// hear is the normative order of evaluation of a fresh packet: grant, limit,
// once, step, open, verdict.
func (in *Interpreter) hear(p Packet, out *Outcome) {
	if in.granted(p) {
		out.Reason = Granted
		return
	}
	if out.Verdict = Accept; in.g.Firewall || out.Service {
		out.Verdict = in.g.refusal(p)
	}
	if !in.g.Firewall && !out.Service && !in.g.Heard(p.To.Proto) {
		out.Reason = NotOurs
		return
	}
	key := in.key(p)
	at := in.place(key)
	next, reason, door := in.step(p, at)
	out.Door = door
	if !in.pay(p, changes(reason)) {
		out.Reason, out.Door = Limited, -1
		return
	}
	out.Reason = reason
	if v := in.completed(at, p.To); v != nil {
		v.spent = true
	}
	switch reason {
	case LetIn:
		out.Verdict = Accept
		delete(in.places, key)
	case Opened:
		in.grant(p, door)
		delete(in.places, key)
	case Knocked, Restarted, Repeated:
		in.places[key] = standing{next, in.now + in.g.StepTimeout}
	case Lost, Excluded:
		delete(in.places, key)
	}
}

// step says where a heard packet leads from the knocks done so far, why, and
// which door that concerns.
func (in *Interpreter) step(p Packet, done []port.Port) (next []port.Port, why Reason, door int) {
	if d := in.doorOf(done); d >= 0 && contains(in.g.class(d).Services, p.To) {
		return nil, LetIn, d
	}
	if longer := append(slices.Clone(done), p.To); in.leads(longer) {
		return in.arrive(p, longer, Knocked)
	}
	first := []port.Port{p.To}
	repeats := slices.Contains(done, p.To)
	if repeats && (in.g.Stay && !in.onPath(done) || slices.Equal(done, first)) {
		return done, Repeated, -1
	}
	if in.leads(first) {
		return in.arrive(p, first, Restarted)
	}
	if len(done) == 0 {
		return nil, Nothing, -1
	}
	return nil, Lost, -1
}

// arrive says what becomes of a source that has just done these knocks.
func (in *Interpreter) arrive(p Packet, done []port.Port, how Reason) ([]port.Port, Reason, int) {
	d := in.doorOf(done)
	switch {
	case d < 0:
		return done, how, -1
	case !in.within(d, p.Src):
		return nil, Excluded, d
	case !in.g.class(d).Once:
		return nil, Opened, d
	}
	return in.ending(d), how, d
}

// changes says whether an outcome of step is a change of place, which makes the
// bucket of a source that has none.
func changes(r Reason) bool { return r != Repeated && r != Nothing }

// leads says whether these knocks begin some door's sequence, or a user's.
func (in *Interpreter) leads(done []port.Port) bool {
	return slices.ContainsFunc(in.g.Doors, func(d Door) bool {
		return len(d.Knocks) >= len(done) && slices.Equal(d.Knocks[:len(done)], done)
	}) || in.leadsUser(done)
}

// doorOf gives the door whose whole sequence this is, or at whose end a source
// stands that has done it, or whose user has a live value of it; else -1.
func (in *Interpreter) doorOf(done []port.Port) int {
	if len(done) == 0 {
		return -1
	}
	if v := in.whole(done); v != nil {
		return in.g.Users[v.User].Door
	}
	for d := range in.g.Doors {
		if slices.Equal(in.ending(d), done) {
			return d
		}
	}
	return -1
}

func (in *Interpreter) within(door int, src netip.Addr) bool {
	return in.g.Doors[door].Admits(in.g.Source(src))
}

func (in *Interpreter) granted(p Packet) bool {
	for i, c := range in.g.Classes {
		end, ok := in.grants[grantKey{in.g.Source(p.Src), i}]
		if ok && in.now < end && contains(c.Services, p.To) {
			return true
		}
	}
	return false
}

func (in *Interpreter) grant(p Packet, door int) {
	class := in.g.Doors[door].Class
	k := grantKey{in.g.Source(p.Src), class}
	in.grants[k] = max(in.grants[k], in.now+in.g.Classes[class].OpenFor)
}

func (in *Interpreter) key(p Packet) sourceKey {
	k := sourceKey{addr: in.g.Source(p.Src)}
	if in.g.MatchTTL {
		k.ttl = p.TTL
	}
	return k
}

func (in *Interpreter) place(k sourceKey) []port.Port {
	if s, ok := in.places[k]; ok && in.now < s.ends {
		return s.done
	}
	delete(in.places, k)
	return nil
}

// Place gives the knocks that a source has done, at the time of the last packet.
// The TTL counts only if the program matches it.
func (in *Interpreter) Place(src netip.Addr, ttl uint8) []port.Port {
	return in.place(in.key(Packet{Src: src, TTL: ttl}))
}

// PlaceEnds says when a source that is not at the root will be back there if it
// stays silent.
func (in *Interpreter) PlaceEnds(src netip.Addr, ttl uint8) time.Duration {
	return in.places[in.key(Packet{Src: src, TTL: ttl})].ends
}

// GrantEnds says when a grant that Grants lists ends.
func (in *Interpreter) GrantEnds(src netip.Addr, class int) time.Duration {
	return in.grants[grantKey{in.g.Source(src), class}]
}

// Advance lets time pass without a packet.
func (in *Interpreter) Advance(to time.Duration) { in.now = max(in.now, to) }

// Grants lists the classes that a source holds, as indexes into Program.Classes.
func (in *Interpreter) Grants(src netip.Addr) []int {
	var held []int
	for i := range in.g.Classes {
		if end, ok := in.grants[grantKey{in.g.Source(src), i}]; ok && in.now < end {
			held = append(held, i)
		}
	}
	return held
}
