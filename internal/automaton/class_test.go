package automaton

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tirl/internal/policy"
	"tirl/internal/port"
)

func ranges(t *testing.T, texts ...string) []port.Range {
	t.Helper()
	var all []port.Range
	for _, text := range texts {
		r, err := port.ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestMergeRanges(t *testing.T) {
	for _, test := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"tcp/22"}, []string{"tcp/22"}},
		{[]string{"udp/1", "tcp/2", "tcp/1"}, []string{"tcp/1-2", "udp/1"}},
		{[]string{"tcp/10-20", "tcp/5-9"}, []string{"tcp/5-20"}},
		{[]string{"tcp/10-20", "tcp/22"}, []string{"tcp/10-20", "tcp/22"}},
		{[]string{"tcp/10-20", "tcp/12-15", "tcp/18-30"}, []string{"tcp/10-30"}},
		{[]string{"tcp/65535", "udp/1", "tcp/65000-65534"}, []string{"tcp/65000-65535", "udp/1"}},
	} {
		in := ranges(t, test.in...)
		before := slices.Clone(in)
		if diff := cmp.Diff(ranges(t, test.want...), mergeRanges(in)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.in, diff)
		}
		if !slices.Equal(in, before) {
			t.Errorf("%v was changed", test.in)
		}
	}
}

// compileDoors compiles doors with knocks of their own.
func compileDoors(t interface{ Fatal(...any) }, doors ...policy.Door) *Program {
	for i := range doors {
		doors[i].Name = fmt.Sprint("d", i)
		doors[i].Knocks = []port.Port{{Proto: port.UDP, Number: uint16(1000 + i)}, {Proto: port.UDP, Number: 7}}
	}
	g, err := Compile(&policy.Policy{Doors: doors})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestClasses(t *testing.T) {
	minute := func(opens ...string) policy.Door {
		return policy.Door{Opens: ranges(t, opens...), OpenFor: time.Minute}
	}
	longer := minute("tcp/22")
	longer.OpenFor *= 2
	once := policy.Door{Opens: ranges(t, "tcp/22"), Once: true}
	g := compileDoors(t,
		minute("tcp/22"), minute("tcp/22"), longer, once, minute("tcp/22", "tcp/23"), minute("tcp/22-23"), minute("udp/22"))
	var got []int
	for _, d := range g.Doors {
		got = append(got, d.Class)
	}
	if want := []int{0, 0, 1, 2, 3, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("classes %v, want %v", got, want)
	}
	seen := make(map[uint32]bool)
	for _, c := range g.Classes {
		if c.ID&classBit == 0 || seen[c.ID] {
			t.Errorf("class number %x is a state's, or another class's", c.ID)
		}
		seen[c.ID] = true
	}
	// Numbers do not depend on the doors around.
	alone := compileDoors(t, minute("tcp/23", "tcp/22"))
	if alone.Classes[0].ID != g.Classes[3].ID {
		t.Errorf("the same class is %x and %x", alone.Classes[0].ID, g.Classes[3].ID)
	}
	if got, want := g.OpenTimes(), []time.Duration{time.Minute, 2 * time.Minute}; !slices.Equal(got, want) {
		t.Errorf("open times %v, want %v", got, want)
	}
	if diff := cmp.Diff(ranges(t, "tcp/22-23", "udp/22"), g.Hidden()); diff != "" {
		t.Errorf("hidden (-want +got):\n%s", diff)
	}
}

// TestGrantLayers looks at every port: the classes that the layers give are those
// that have it for a service, in ascending order, and no layer has it twice.
func TestGrantLayers(t *testing.T) {
	const ports = 40
	rapid.Check(t, func(t *rapid.T) {
		var doors []policy.Door
		for range rapid.IntRange(1, 6).Draw(t, "doors") {
			var opens []port.Range
			for range rapid.IntRange(1, 3).Draw(t, "ranges") {
				first := rapid.Uint16Range(1, ports).Draw(t, "first")
				opens = append(opens, port.Range{
					Proto: rapid.SampledFrom([]port.Proto{port.TCP, port.UDP}).Draw(t, "proto"),
					First: first, Last: rapid.Uint16Range(first, ports).Draw(t, "last"),
				})
			}
			seconds := rapid.IntRange(0, 2).Draw(t, "seconds")
			doors = append(doors, policy.Door{Opens: opens, Once: seconds == 0, OpenFor: time.Duration(seconds) * time.Second})
		}
		g := compileDoors(t, doors...)
		layers := g.GrantLayers()
		for n := uint16(0); n <= ports+1; n++ {
			for _, proto := range []port.Proto{port.TCP, port.UDP} {
				p := port.Port{Proto: proto, Number: n}
				var want, got []int
				for i, c := range g.Classes {
					if !c.Once && contains(c.Services, p) {
						want = append(want, i)
					}
				}
				for depth, layer := range layers {
					for _, cr := range layer {
						if !cr.Range.Contains(p) {
							continue
						}
						if depth != len(got) {
							t.Fatalf("%s stands in layer %d, of %d before", p, depth, len(got))
						}
						got = append(got, cr.Class)
					}
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s: the layers give %v, want %v", p, got, want)
				}
			}
		}
	})
}
