package automaton

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/policy"
	"tirl/internal/port"
)

func udp(numbers ...uint16) []port.Port {
	var all []port.Port
	for _, n := range numbers {
		all = append(all, port.Port{Proto: port.UDP, Number: n})
	}
	return all
}

func door(name string, once bool, knocks ...uint16) policy.Door {
	d := policy.Door{Name: name, Opens: []port.Range{{Proto: port.TCP, First: 22, Last: 22}}, Knocks: udp(knocks...), Once: once}
	if !once {
		d.OpenFor = time.Minute
	}
	return d
}

func TestCompileRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		doors []policy.Door
		want  string
	}{
		{"no knocks", []policy.Door{door("a", false)}, "compile door a: it has no knocks"},
		{"the same", []policy.Door{door("a", false, 1, 2), door("b", true, 1, 2)}, "compile door b: door a has the same sequence"},
		{"longer", []policy.Door{door("a", false, 1, 2), door("b", false, 1, 2, 3)}, "compile door b: door a ends on the way"},
		{"shorter", []policy.Door{door("a", false, 1, 2, 3), door("b", false, 1, 2)}, "compile door b: its sequence is the beginning of another door's"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Compile(&policy.Policy{Doors: test.doors})
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func compile(t testing.TB, doors ...policy.Door) *Program {
	t.Helper()
	g, err := Compile(&policy.Policy{
		Doors:    doors,
		Knocking: policy.Knocking{StepTimeout: time.Second, Duplicates: policy.IgnoreDuplicates, PerSource: 20, IPv6Prefix: 128},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestTrieSharesBeginnings(t *testing.T) {
	g := compile(t, door("a", false, 1, 2, 3), door("b", true, 1, 2, 4, 5), door("c", false, 2, 1))
	var got []string
	for _, e := range g.Edges() {
		got = append(got, fmt.Sprintf("%d %d %d", e.From, e.On.Number, e.To))
	}
	want := []string{"0 1 1", "1 2 2", "2 3 3", "2 4 4", "4 5 5", "0 2 6", "6 1 7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	var standing []State
	for s := range g.Places {
		if g.Standing(State(s)) {
			standing = append(standing, State(s))
		}
	}
	if want := []State{1, 2, 4, 5, 6}; !slices.Equal(standing, want) {
		t.Errorf("a source can stand at %v, want %v", standing, want)
	}
	if way := g.Way(g.Doors[1].End); !slices.Equal(way, udp(1, 2, 4, 5)) {
		t.Errorf("the way to the end of b is %v", way)
	}
	if d := g.DoorAt(3); d == nil || d.Name != "a" {
		t.Errorf("place 3 is the end of %v, want a", d)
	}
	if d := g.DoorAt(2); d != nil {
		t.Errorf("place 2 is the end of %v", d)
	}
}

func TestStays(t *testing.T) {
	list := func(g *Program) string {
		var all []string
		for _, s := range g.Stays() {
			all = append(all, fmt.Sprintf("%d:%d", s.At, s.On.Number))
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	for _, test := range []struct {
		name          string
		door          policy.Door
		ignore, reset string
	}{
		{"a plain sequence", door("a", false, 1, 2, 3), "1:1 2:1 2:2", "1:1"},
		{"its end, if it is once", door("a", true, 1, 2, 3), "1:1 2:1 2:2 3:1 3:2 3:3", "1:1"},
		{"1 1 2", door("a", false, 1, 1, 2), "2:1", ""},
		{"1 2 1 3", door("a", false, 1, 2, 1, 3), "1:1 2:2 3:1 3:2", "1:1"},
		{"a single knock, once", door("a", true, 1), "1:1", "1:1"},
		{"a single knock, timed", door("a", false, 1), "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := compile(t, test.door)
			if got := list(g); got != test.ignore {
				t.Errorf("with ignore: %s, want %s", got, test.ignore)
			}
			g.Stay = false
			if got := list(g); got != test.reset {
				t.Errorf("with reset: %s, want %s", got, test.reset)
			}
		})
	}
}

// manyDoors makes doors with four random-looking knocks each.
func manyDoors(n int) []policy.Door {
	doors := make([]policy.Door, n)
	x := uint32(1)
	for i := range doors {
		knocks := make([]uint16, 4)
		for k := range knocks {
			x = x*1664525 + 1013904223
			knocks[k] = uint16(x>>16)%60000 + 1024
		}
		doors[i] = door(fmt.Sprint("d", i), false, knocks...)
	}
	return doors
}

func TestTenThousandDoors(t *testing.T) {
	doors := manyDoors(10000)
	start := time.Now()
	g := compile(t, doors...)
	edges, stays := g.Edges(), g.Stays()
	if took := time.Since(start); took > time.Second {
		t.Errorf("compiling took %s", took)
	}
	if len(edges) < 35000 || len(edges) > 40000 || len(stays) < len(edges)/2 {
		t.Errorf("%d edges, %d stays", len(edges), len(stays))
	}
	if len(g.Classes) != 1 {
		t.Errorf("%d classes of equal doors", len(g.Classes))
	}
}

func BenchmarkCompileTenThousandDoors(b *testing.B) {
	doors := manyDoors(10000)
	for b.Loop() {
		g := compile(b, doors...)
		g.Edges()
		g.Stays()
	}
}

func TestGrants(t *testing.T) {
	inside := door("inside", false, 1, 2)
	inside.From = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	once := door("once", true, 3, 4)
	g := compile(t, inside, once)
	id := g.Classes[g.Doors[0].Class].ID
	for _, test := range []struct {
		id   uint32
		from string
		want bool
	}{
		{id, "192.0.2.1", true},
		{id, "198.51.100.1", false},
		{id + 1, "192.0.2.1", false},
		{g.Classes[g.Doors[1].Class].ID, "192.0.2.1", false},
	} {
		if got := g.Grants(test.id, netip.MustParseAddr(test.from)); got != test.want {
			t.Errorf("class %x from %s: %v", test.id, test.from, got)
		}
	}
}

func TestSource(t *testing.T) {
	g := compile(t, door("a", false, 1, 2))
	for _, test := range []struct {
		bits     int
		in, want string
	}{
		{128, "2001:db8::1:2", "2001:db8::1:2"},
		{64, "2001:db8:0:1:2::3", "2001:db8:0:1::"},
		{64, "192.0.2.7", "192.0.2.7"},
	} {
		g.IPv6Prefix = test.bits
		if got := g.Source(netip.MustParseAddr(test.in)); got.String() != test.want {
			t.Errorf("%s of /%d is %s, want %s", test.in, test.bits, got, test.want)
		}
	}
}
