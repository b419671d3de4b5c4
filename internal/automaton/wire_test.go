package automaton

import (
	"net/netip"
	"testing"

	"tirl/internal/port"
)

// TestWire: how a packet is written makes no difference to what becomes of it,
// unless it never becomes one.
func TestWire(t *testing.T) {
	g := compile(t, door("a", false, 1, 2))
	plain := Packet{Src: netip.MustParseAddr("192.0.2.7"), To: port.Port{Proto: port.UDP, Number: 1}}
	for cut := Uncut; cut <= Overlapping; cut++ {
		p := plain
		p.Cut, p.With = cut, NoOperation|PriorityTag
		out := NewInterpreter(g).Packet(p)
		want := Knocked
		if cut == First || cut == Later || cut == Overlapping {
			want = Incomplete
		}
		if out.Reason != want || (out.Verdict == Dropped) != (want == Incomplete) || len(out.After) == 1 != (want == Knocked) {
			t.Errorf("%s: %+v", cut, out)
		}
	}
	for i := range 8 {
		h := Headers(1) << i
		if got, ok := Header(h.String()); !ok || got != h || h.IPv4() && h.IPv6() != (h == PriorityTag) || !h.IPv4() && !h.IPv6() {
			t.Errorf("header %d is called %q", i, h)
		}
	}
	if _, ok := Header(""); ok {
		t.Error("there is a header without a name")
	}
}
