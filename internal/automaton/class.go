package automaton

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// classBit keeps class numbers apart from state numbers.
const classBit = 1 << 31

type classTable struct {
	list  []Class
	index map[string]int
	taken map[uint32]bool
}

func newClassTable() *classTable {
	return &classTable{index: make(map[string]int), taken: make(map[uint32]bool)}
}

// of finds or adds the class of a door.
func (t *classTable) of(d policy.Door) int {
	c := Class{Services: mergeRanges(d.Opens), Once: d.Once, OpenFor: d.OpenFor}
	key := c.key()
	if i, ok := t.index[key]; ok {
		return i
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	c.ID = h.Sum32() | classBit
	for t.taken[c.ID] {
		c.ID = (c.ID + 1) | classBit
	}
	t.taken[c.ID] = true
	t.index[key] = len(t.list)
	t.list = append(t.list, c)
	return len(t.list) - 1
}

// key is the meaning of a class in one line.
func (c Class) key() string {
	var b strings.Builder
	if c.Once {
		b.WriteString("once")
	} else {
		b.WriteString(c.OpenFor.String())
	}
	for _, r := range c.Services {
		b.WriteByte(' ')
		b.WriteString(r.String())
	}
	return b.String()
}

// ClassRange says that a range of ports belongs to a class.
type ClassRange struct {
	Range port.Range
	Class int
}

// GrantLayers says which timed classes a service belongs to. Within a layer no
// ranges overlap; a port that belongs to n classes stands in the first n layers.
func (g *Program) GrantLayers() [][]ClassRange {
	var layers [][]ClassRange
	for _, atom := range g.atoms() {
		for i, class := range atom.classes {
			if i == len(layers) {
				layers = append(layers, nil)
			}
			layers[i] = append(layers[i], ClassRange{atom.r, class})
		}
	}
	return layers
}

type atom struct {
	r       port.Range
	classes []int
}

// atoms cuts the services of timed classes at every boundary of any of them, so
// that all ports of a piece belong to the same classes.
func (g *Program) atoms() []atom {
	type cut struct {
		proto port.Proto
		at    int // first port of a piece; 65536 ends the last
		class int
		opens bool
	}
	var cuts []cut
	for i, c := range g.Classes {
		if c.Once {
			continue
		}
		for _, r := range c.Services {
			cuts = append(cuts, cut{r.Proto, int(r.First), i, true}, cut{r.Proto, int(r.Last) + 1, i, false})
		}
	}
	slices.SortStableFunc(cuts, func(a, b cut) int {
		if a.proto != b.proto {
			return int(a.proto) - int(b.proto)
		}
		return a.at - b.at
	})
	var atoms []atom
	open := make(map[int]bool)
	for i, c := range cuts {
		if c.opens {
			open[c.class] = true
		} else {
			delete(open, c.class)
		}
		if len(open) == 0 || cuts[i+1].at == c.at && cuts[i+1].proto == c.proto {
			continue
		}
		a := atom{r: port.Range{Proto: c.proto, First: uint16(c.at), Last: uint16(cuts[i+1].at - 1)}}
		for class := range open {
			a.classes = append(a.classes, class)
		}
		slices.Sort(a.classes)
		atoms = append(atoms, a)
	}
	return atoms
}

// Hidden lists every service of every door, merged.
func (g *Program) Hidden() []port.Range {
	var all []port.Range
	for _, c := range g.Classes {
		all = append(all, c.Services...)
	}
	return mergeRanges(all)
}

// OpenTimes lists the distinct times that doors open for, shortest first.
func (g *Program) OpenTimes() []time.Duration {
	var times []time.Duration
	for _, c := range g.Classes {
		if !c.Once {
			times = append(times, c.OpenFor)
		}
	}
	slices.Sort(times)
	return slices.Compact(times)
}

// mergeRanges sorts ranges and joins those that overlap or touch.
func mergeRanges(in []port.Range) []port.Range {
	sorted := slices.Clone(in)
	slices.SortFunc(sorted, port.Range.Compare)
	var out []port.Range
	for _, r := range sorted {
		if n := len(out); n > 0 && out[n-1].Proto == r.Proto && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Grants says whether some door of the class with this ID opens to a source.
func (g *Program) Grants(id uint32, source netip.Addr) bool {
	return slices.ContainsFunc(g.Doors, func(d Door) bool {
		c := g.Classes[d.Class]
		return c.ID == id && !c.Once && d.Admits(source)
	})
}

// Admits says whether the door opens to a source.
func (d Door) Admits(source netip.Addr) bool {
	return len(d.From) == 0 || slices.ContainsFunc(d.From, func(n netip.Prefix) bool { return n.Contains(source) })
}
