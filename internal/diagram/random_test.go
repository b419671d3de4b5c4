package diagram

import (
	"fmt"
	"net/netip"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// randomPolicy has one to eight doors with shared beginnings and any names.
func randomPolicy(t *rapid.T) *policy.Policy {
	p := guard()
	if rapid.Bool().Draw(t, "firewall") {
		p.Mode = policy.Firewall
	}
	n := rapid.IntRange(1, 8).Draw(t, "doors")
	for i := range n {
		p.Doors = append(p.Doors, randomDoor(t, i))
	}
	return p
}

// randomDoor draws its knocks from few ports; the last is its own, so that no
// sequence is the beginning of another's.
func randomDoor(t *rapid.T, i int) policy.Door {
	d := policy.Door{
		Name:   rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z"\\<>&#;:%\n]{1,40}`)).Draw(t, "name"),
		Opens:  tcp(rapid.SliceOfN(rapid.Uint16Range(1, 9999), 1, 6).Draw(t, "opens")...),
		Knocks: udp(rapid.SliceOfN(rapid.Uint16Range(20001, 20003), 0, 15).Draw(t, "knocks")...),
	}
	d.Knocks = append(d.Knocks, port.Port{Proto: port.TCP, Number: uint16(30000 + i)})
	if d.Once = rapid.Bool().Draw(t, "once"); !d.Once {
		d.OpenFor = time.Duration(rapid.IntRange(1, 100000).Draw(t, "seconds")) * time.Second
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "from") {
		d.From = append(d.From, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
	}
	return d
}

// randomMarks puts different sources at places where a source can stand.
func randomMarks(t *rapid.T, g *automaton.Program) map[automaton.State]string {
	marks := make(map[automaton.State]string)
	for i := range rapid.IntRange(0, 4).Draw(t, "marks") {
		s := automaton.State(rapid.IntRange(0, len(g.Places)-1).Draw(t, "place"))
		if s == automaton.Root || g.Standing(s) {
			marks[s] = fmt.Sprintf("2001:db8::%d", i)
		}
	}
	return marks
}
