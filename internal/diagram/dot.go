package diagram

import (
	"fmt"
	"strings"

	"tirl/internal/automaton"
)

// DOT draws the automaton as Graphviz source (graphviz.org/doc/info/lang.html).
func DOT(g *automaton.Program) string {
	t := wholeTree(g)
	var b strings.Builder
	b.WriteString("digraph tirl {\n\trankdir=LR\n")
	legend := backToStart + `\l` + strings.Join(rules(g), `\l`) + `\l`
	fmt.Fprintf(&b, "\tgraph [label=\"%s\", labeljust=l, labelloc=b, fontname=\"sans-serif\", fontsize=11]\n", legend)
	b.WriteString("\tnode [shape=circle, fontname=\"sans-serif\"]\n\tedge [fontname=\"monospace\", fontsize=11]\n\n")
	b.WriteString("\ts0 [label=\"start\", shape=box, style=rounded]\n")
	for _, s := range t.places[1:] {
		t.dotStep(&b, s)
	}
	if len(g.Doors) == 1 {
		t.dotReturn(&b)
	}
	b.WriteString("}\n")
	return b.String()
}

// dotStep writes a place, the knock that leads there, and the door at its end.
func (t *tree) dotStep(b *strings.Builder, s automaton.State) {
	from, d := t.g.Places[s].Parent, t.g.DoorAt(s)
	if t.g.Standing(s) {
		fmt.Fprintf(b, "\ts%d [label=\"%s\"]\n\ts%d -> s%d [label=\"%s\"]\n", s, t.name(s), from, s, t.knock(s))
	}
	if d == nil {
		return
	}
	lines := nonEmpty(d.Name, t.opens(d), whom(d))
	for i, l := range lines {
		lines[i] = dotEscape(l)
	}
	fmt.Fprintf(b, "\td%d [label=\"%s\", shape=box, style=rounded, peripheries=2]\n", s, strings.Join(lines, `\n`))
	if t.class(d).Once {
		fmt.Fprintf(b, "\ts%d -> d%d [label=\"%s\", style=bold]\n", s, s, t.connection(d))
	} else {
		fmt.Fprintf(b, "\ts%d -> d%d [label=\"%s\"]\n", from, s, t.knock(s))
	}
}

// dotReturn draws the way back to the start, if it does not hide the rest.
func (t *tree) dotReturn(b *strings.Builder) {
	for _, s := range t.places {
		if t.g.Standing(s) {
			fmt.Fprintf(b, "\ts%d -> s0 [style=dashed, color=gray, constraint=false]\n", s)
		}
	}
}

// dotEscape makes a string fit for a quoted label, where a backslash begins an
// escape and an ampersand an HTML entity.
func dotEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;").Replace(oneLine(s))
}
