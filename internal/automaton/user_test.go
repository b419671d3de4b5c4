package automaton

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/policy"
	"tirl/internal/port"
)

func knockAt(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }

func withUsers(users ...policy.User) *policy.Policy {
	return &policy.Policy{
		Knocking: policy.Knocking{PerSource: 20, StepTimeout: time.Second, IPv6Prefix: 128},
		Public:   policy.Public{Services: []port.Range{{Proto: port.UDP, First: 53, Last: 53}}},
		Doors: []policy.Door{
			{Name: "ssh", Opens: []port.Range{{Proto: port.UDP, First: 500, Last: 510}}, OpenFor: 1, Users: users},
			{Name: "web", Opens: []port.Range{{Proto: port.TCP, First: 80, Last: 80}}, Once: true, Knocks: []port.Port{knockAt(7), knockAt(8)}},
		},
	}
}

func bob() policy.User {
	return policy.User{Name: "bob", Kind: policy.Sequence, First: knockAt(4000), Length: 4, Ports: policy.DefaultPorts(), Pool: 16}
}

func TestLoadable(t *testing.T) {
	g, err := Compile(withUsers(policy.User{Name: "alice", Kind: policy.Token}, bob()))
	if err != nil {
		t.Fatal(err)
	}
	loaded := func(first, second port.Port) bool { return first == knockAt(4000) && second == knockAt(2222) }
	for _, test := range []struct {
		user   int
		knocks []port.Port
		want   bool
	}{
		{0, nil, true},
		{1, []port.Port{knockAt(4000), knockAt(9), knockAt(5000), knockAt(4000)}, true},
		{1, []port.Port{knockAt(4000), knockAt(7), knockAt(8), knockAt(8)}, true}, // what doors knock at is no matter behind the first
		{1, []port.Port{knockAt(4000), knockAt(9), knockAt(5000)}, false},
		{1, []port.Port{knockAt(4001), knockAt(9), knockAt(5000), knockAt(6)}, false},
		{1, []port.Port{knockAt(4000), knockAt(9), knockAt(505), knockAt(6)}, false},
		{1, []port.Port{knockAt(4000), knockAt(9), knockAt(6000), knockAt(53)}, false},
		{1, []port.Port{knockAt(4000), knockAt(4001), knockAt(4002), knockAt(4003)}, false},
		{1, []port.Port{knockAt(4000), knockAt(4000), knockAt(5000), knockAt(6)}, false},
		{1, []port.Port{knockAt(4000), knockAt(2222), knockAt(5000), knockAt(6)}, false},
	} {
		if got := g.Loadable(Value{User: test.user, Knocks: test.knocks}, loaded); got != test.want {
			t.Errorf("%v: %v", test.knocks, got)
		}
	}
}

func TestUsersOfProgram(t *testing.T) {
	g, err := Compile(withUsers(policy.User{Name: "alice", Kind: policy.Token}, bob()))
	if err != nil {
		t.Fatal(err)
	}
	end := g.Doors[0].End
	if end == Root || !g.Detached(end) || g.Detached(g.Doors[1].End) || g.DoorAt(end).Name != "ssh" {
		t.Errorf("the end of a door of users is %d, place %+v", end, g.Places[end])
	}
	if slices.ContainsFunc(g.Edges(), func(e Edge) bool { return e.To == end || e.From == end }) || len(g.Edges()) != 2 {
		t.Errorf("edges %v", g.Edges())
	}
	if slices.ContainsFunc(g.Stays(), func(s Stay) bool { return s.At == end }) {
		t.Errorf("stays %v", g.Stays())
	}
	v := Value{User: 1, Number: 3, Knocks: []port.Port{knockAt(4000), knockAt(1), knockAt(2), knockAt(3)}, Serial: MaxSerial - 1}
	for _, test := range []struct {
		place State
		want  []port.Port
	}{
		{Root, nil}, {g.Doors[1].End, g.Doors[1].Knocks}, {State(g.Users[1].ID), v.Knocks[:1]},
		{State(PathPlace(v.Serial, 2)), v.Knocks[:2]}, {State(PathPlace(v.Serial, 3)), v.Knocks[:3]}, {State(PathPlace(5, 3)), nil},
	} {
		if got := g.WayOf(test.place, []Value{v}); !slices.Equal(got, test.want) {
			t.Errorf("place %x: %v, want %v", test.place, got, test.want)
		}
		if user := test.place>>30 == 1; user != IsUserPlace(test.place) {
			t.Errorf("place %x: user's %v", test.place, !user)
		}
	}
}

func TestCompileRefusesUsers(t *testing.T) {
	twin := bob()
	twin.Name = "twin"
	early := bob()
	early.First = knockAt(7)
	for _, test := range []struct {
		users []policy.User
		want  string
	}{
		{[]policy.User{bob(), twin}, "another sequence begins with udp/4000"},
		{[]policy.User{early}, "another sequence begins with udp/7"},
		{[]policy.User{bob(), bob()}, "has the same number"},
		{nil, "it has no knocks"},
	} {
		if _, err := Compile(withUsers(test.users...)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}

// A value opens once, and what is spent or taken out opens nothing.
func TestValuesInInterpreter(t *testing.T) {
	g, err := Compile(withUsers(policy.User{Name: "alice", Kind: policy.Token}))
	if err != nil {
		t.Fatal(err)
	}
	in := NewInterpreter(g)
	v, w := Value{Number: 5, Token: [16]byte{1}}, Value{Number: 6, Token: [16]byte{2}}
	in.Load(w)
	in.Load(v)
	if live := in.Live(0); !slices.Equal(live, []uint64{5, 6}) {
		t.Errorf("live %d", live)
	}
	p := Packet{Src: netip.MustParseAddr("192.0.2.7"), To: knockAt(9), Data: string(v.Token[:])}
	if out := in.Packet(p); out.Reason != Redeemed || out.Door != 0 || out.Verdict != Accept {
		t.Errorf("%+v", out)
	}
	if out := in.Packet(p); out.Reason == Redeemed {
		t.Errorf("again: %+v", out)
	}
	in.Unload(w)
	if p.Data = string(w.Token[:]); in.Packet(p).Reason == Redeemed || len(in.Live(0)) > 0 {
		t.Errorf("a value that was taken out is live: %d", in.Live(0))
	}
}
