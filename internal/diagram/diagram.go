// Package diagram draws an automaton: as text for a terminal, as a Graphviz or
// Mermaid source, and as an SVG image. The same program gives the same bytes.
// It is pure.
package diagram

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// tree is what is drawn of a program: its trie, or the part of it that leads to
// some of its doors.
type tree struct {
	g      *automaton.Program
	kids   [][]automaton.State // indexed by State
	places []automaton.State   // what is drawn, parents before children
}

// newTree takes the part of the trie that leads to the given doors.
func newTree(g *automaton.Program, doors []int) *tree {
	drawn := make([]bool, len(g.Places))
	drawn[automaton.Root] = true
	for _, d := range doors {
		for s := g.Doors[d].End; !drawn[s]; s = g.Places[s].Parent {
			drawn[s] = true
		}
	}
	t := &tree{g: g, kids: make([][]automaton.State, len(g.Places)), places: []automaton.State{automaton.Root}}
	for _, e := range g.Edges() {
		if drawn[e.To] {
			t.kids[e.From] = append(t.kids[e.From], e.To)
			t.places = append(t.places, e.To)
		}
	}
	for _, d := range doors {
		if end := g.Doors[d].End; g.Detached(end) {
			t.kids[automaton.Root] = append(t.kids[automaton.Root], end)
			t.places = append(t.places, end)
		}
	}
	return t
}

func wholeTree(g *automaton.Program) *tree {
	doors := make([]int, len(g.Doors))
	for i := range doors {
		doors[i] = i
	}
	return newTree(g, doors)
}

// name is what a place is called: the number of knocks done if there is one door
// only, else the number of the state.
func (t *tree) name(s automaton.State) string {
	switch {
	case s == automaton.Root:
		return "start"
	case t.g.Detached(s):
		return "end"
	case len(t.g.Doors) == 1:
		return strconv.Itoa(t.g.Places[s].Depth)
	}
	return strconv.Itoa(int(s))
}

// knock labels the step that leads to a place.
func (t *tree) knock(s automaton.State) string {
	if t.g.Detached(s) {
		return "a user"
	}
	return t.g.Places[s].Knock.String()
}

func (t *tree) class(d *automaton.Door) automaton.Class { return t.g.Classes[d.Class] }

// services lists what a door opens.
func (t *tree) services(d *automaton.Door) string { return join(t.class(d).Services) }

// connection labels the edge to a door that opens once: what opens, or one
// service of many.
func (t *tree) connection(d *automaton.Door) string {
	const room = 16
	s := t.services(d)
	if len(s) <= room {
		return s
	}
	return t.class(d).Services[0].String() + " …"
}

// howLong says for how long a door opens.
func (t *tree) howLong(d *automaton.Door) string {
	if c := t.class(d); !c.Once {
		return "for " + span(c.OpenFor)
	}
	return "once"
}

// opens says what a door opens, and for how long.
func (t *tree) opens(d *automaton.Door) string {
	return "opens " + t.services(d) + " " + t.howLong(d)
}

// whom says to whom a door opens, in few words; nothing if to everybody.
func whom(d *automaton.Door) string {
	switch n := len(d.From); n {
	case 0:
		return ""
	case 1:
		return "from " + network(d.From[0])
	default:
		return fmt.Sprintf("from %s +%d", network(d.From[0]), n-1)
	}
}

// backToStart is the rule that every picture shows or writes once.
const backToStart = "anything else: back to start"

// rules are what the picture cannot show: which packets count, and what repeats
// and time do.
func rules(g *automaton.Program) []string {
	repeat := "A repeated knock is a wrong one."
	if g.Stay {
		repeat = "A repeated knock changes nothing."
	}
	limit := "Each step within " + span(g.StepTimeout) + " of the one before."
	if g.StepTimeout >= policy.Day {
		limit = "No time limit between steps."
	}
	lines := []string{"A wrong packet may itself be a first knock. " + repeat, limit, heard(g)}
	if who := trusted(g); who != "" {
		lines = append(lines, "Always let in, without a knock: "+who+".")
	}
	if who := users(g); who != "" {
		lines = append(lines, "One-time: "+who+".")
	}
	if what := public(g); what != "" {
		lines = append(lines, "Public: "+what+".")
	}
	return lines
}

// mostListed is how many of a list the legend names.
const mostListed = 6

// some lists the first few.
func some(words []string) string {
	if more := len(words) - mostListed; more > 0 {
		words = append(slices.Clone(words[:mostListed]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

func trusted(g *automaton.Program) string {
	var words []string
	for _, name := range g.Ifaces {
		words = append(words, "interface "+name)
	}
	for _, p := range g.Trust {
		words = append(words, network(p))
	}
	return some(words)
}

// users lists those who open doors with values of their own.
func users(g *automaton.Program) string {
	var words []string
	for _, u := range g.Users {
		words = append(words, fmt.Sprintf("%s of %s (%s)", u.Name, g.Doors[u.Door].Name, u.Kind))
	}
	return some(words)
}

func public(g *automaton.Program) string {
	var words []string
	for _, r := range g.Public {
		words = append(words, r.String())
	}
	for _, p := range g.Protos {
		words = append(words, p.String())
	}
	return some(words)
}

// network writes a single address without its length.
func network(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// heard says which packets "anything else" are.
func heard(g *automaton.Program) string {
	if g.Firewall {
		if len(g.Public) > 0 {
			return "Heard: every new packet, public services aside."
		}
		return "Heard: every new packet."
	}
	var protos []string
	var others []port.Range
	for _, p := range []port.Proto{port.TCP, port.UDP} {
		if g.Heard(p) {
			protos = append(protos, p.String())
		}
	}
	for _, r := range g.Hidden() {
		if !g.Heard(r.Proto) {
			others = append(others, r)
		}
	}
	all := strings.Join(protos, " and ")
	switch {
	case len(others) > 3:
		all += " and those to a door's services"
	case len(others) > 0:
		all += " and those to " + join(others)
	}
	return "Heard: new packets of " + all + ". The rest does not count."
}

func join(ranges []port.Range) string {
	names := make([]string, len(ranges))
	for i, r := range ranges {
		names[i] = r.String()
	}
	return strings.Join(names, ", ")
}

// span writes a time as a policy does: 30s, 10m, 1h30m.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// clip cuts a string to n characters, the last being the mark of the cut.
func clip(s string, n int, mark string) string {
	r, m := []rune(s), []rune(mark)
	if len(r) <= n {
		return s
	}
	if n <= len(m) {
		return string(r[:max(n, 0)])
	}
	return string(r[:n-len(m)]) + mark
}

// describe says in one sentence how a door is opened, for those who cannot see
// the picture.
func (t *tree) describe(d *automaton.Door) string {
	knocks := make([]string, len(d.Knocks))
	for i, k := range d.Knocks {
		knocks[i] = k.String()
	}
	var b strings.Builder
	if len(knocks) == 0 {
		knocks = []string{"a value of a user"}
	}
	fmt.Fprintf(&b, "%s opens %s %s after %s", d.Name, t.services(d), t.howLong(d), strings.Join(knocks, ", "))
	if len(d.From) > 0 {
		b.WriteString(", " + whom(d))
	}
	return b.String() + "."
}

// title names the picture.
func title(g *automaton.Program) string {
	mode := "guard"
	if g.Firewall {
		mode = "firewall"
	}
	if len(g.Doors) == 1 {
		return fmt.Sprintf("How the door %s opens (%s mode)", g.Doors[0].Name, mode)
	}
	return fmt.Sprintf("How %d doors open (%s mode)", len(g.Doors), mode)
}

// oneLine replaces what would break a line, turn its direction, or is not a character.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
