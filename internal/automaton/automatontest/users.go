package automatontest

import (
	"fmt"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// users gives a door some, or leaves it as it is.
func (o Options) users(roll dice, d *policy.Door) {
	if !o.Users {
		return
	}
	for i := range roll("users", 3) {
		u := policy.User{Name: fmt.Sprintf("u%d", i), Kind: policy.Token, Ports: policy.DefaultPorts(), Pool: policy.MinPool}
		if pick(roll, "a sequence", false, true) {
			u.Kind, u.Length = policy.Sequence, pick(roll, "length", policy.MinLength, 5, policy.DefaultLength)
			u.First = port.Port{Proto: port.UDP, Number: uint16(1050 + roll("first", 8))}
			if pick(roll, "first of a door", false, false, true) {
				u.First = pick(roll, "first", knocks()...)
			}
		}
		d.Users = append(d.Users, u)
	}
	if len(d.Users) > 0 && pick(roll, "users only", false, true) {
		d.Knocks = nil
	}
}

// value plans to use one: as it is, or a token that is not quite one. It gives the
// door that it opens.
func (w *walker) value() (automaton.Door, []planned) {
	v := pick(w.roll, "value", w.values...)
	var plan []planned
	for _, k := range v.Knocks {
		plan = append(plan, planned{to: k})
	}
	if len(v.Knocks) == 0 {
		data := string(v.Token[:])
		switch pick(w.roll, "token", "exact", "exact", "exact", "exact", "long", "short", "other") {
		case "long":
			data += "\x00"
		case "short":
			data = data[:len(data)-1]
		case "other":
			data = data[:len(data)-1] + string([]byte{data[len(data)-1] ^ 1})
		}
		to := pick(w.roll, "to", port.Port{Proto: port.UDP, Number: 9}, port.Port{Proto: port.UDP, Number: 53},
			port.Port{Proto: port.UDP, Number: 500}, port.Port{Proto: port.UDP, Number: 1001})
		plan = []planned{{to, data}}
	}
	return w.g.Doors[w.g.Users[v.User].Door], plan
}
