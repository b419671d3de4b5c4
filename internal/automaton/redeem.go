package automaton

import (
	"slices"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// value is one that was loaded. A sequence that is spent still leads up to its
// last knock, until it is unloaded.
type value struct {
	Value
	spent bool
}

// Load makes a value live. Whoever loads sees to it that no value is loaded
// twice in its life, and that Program.Loadable agrees.
func (in *Interpreter) Load(v Value) { in.values = append(in.values, &value{Value: v}) }

// Unload takes a value away, live or spent.
func (in *Interpreter) Unload(v Value) {
	in.values = slices.DeleteFunc(in.values, func(w *value) bool { return w.User == v.User && w.Number == v.Number })
}

// Live lists the numbers of a user's values that are live, ascending.
func (in *Interpreter) Live(user int) []uint64 {
	var numbers []uint64
	for _, v := range in.values {
		if v.User == user && !v.spent {
			numbers = append(numbers, v.Number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

func (in *Interpreter) find(is func(*value) bool) *value {
	if i := slices.IndexFunc(in.values, is); i >= 0 {
		return in.values[i]
	}
	return nil
}

// carried gives the live token that a packet carries, or nil. Neither trust nor
// public services nor the source's bucket matter: it has been on the wire.
func (in *Interpreter) carried(p Packet) *value {
	if p.To.Proto != port.UDP || p.Dest != ToHost || p.Conn == Established || p.Conn == Invalid ||
		!p.Cut.Comes() || p.Iface == "lo" || len(p.Data) != policy.TokenBytes {
		return nil
	}
	return in.find(func(v *value) bool { return !v.spent && v.Knocks == nil && string(v.Token[:]) == p.Data })
}

// redeem spends a token: the source goes to the end of the user's door, wherever
// it stood. The datagram is no knock, and is judged as if the source were at the
// root.
func (in *Interpreter) redeem(p Packet, v *value, out *Outcome) {
	v.spent = true
	key, door := in.key(p), in.g.Users[v.User].Door
	delete(in.places, key)
	out.Reason, out.Door = Redeemed, door
	switch {
	case !in.within(door, p.Src):
		out.Reason = Excluded
	case in.g.class(door).Once:
		in.places[key] = standing{in.ending(door), in.now + in.g.StepTimeout}
	default:
		in.grant(p, door)
	}
	if in.g.trusts(p) || contains(in.g.Public, p.To) {
		return
	}
	if out.Service = in.g.service(p.To); out.Service || in.g.Firewall {
		out.Verdict = in.g.refusal(p)
	}
}

// ending is the place at a door's end, as knocks; for a door that only users open
// as the step that no packet can take.
func (in *Interpreter) ending(door int) []port.Port {
	if d := in.g.Doors[door]; len(d.Knocks) > 0 {
		return d.Knocks
	}
	return in.g.Way(in.g.Doors[door].End)
}

// leadsUser says whether these knocks are a user's first, or go along a value's.
func (in *Interpreter) leadsUser(done []port.Port) bool {
	if len(done) == 1 {
		return in.g.Beginner(done) >= 0
	}
	return in.find(func(v *value) bool {
		return len(v.Knocks) > len(done) && slices.Equal(v.Knocks[:len(done)], done)
	}) != nil || in.whole(done) != nil
}

// whole gives the live value of these knocks, or nil.
func (in *Interpreter) whole(done []port.Port) *value {
	return in.find(func(v *value) bool { return !v.spent && v.Knocks != nil && slices.Equal(v.Knocks, done) })
}

// completed gives the live value that a knock completes, or nil.
func (in *Interpreter) completed(done []port.Port, k port.Port) *value {
	return in.whole(append(slices.Clone(done), k))
}

// onPath says whether the knocks done are those of a user, which begin like no
// door's.
func (in *Interpreter) onPath(done []port.Port) bool {
	return in.g.Beginner(done) >= 0
}
