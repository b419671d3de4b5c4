package diagram

import (
	"fmt"
	"strings"

	"tirl/internal/automaton"
)

// Mermaid draws the automaton as a Mermaid state diagram
// (mermaid.js.org/syntax/stateDiagram.html).
func Mermaid(g *automaton.Program) string {
	t := wholeTree(g)
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    direction LR\n    state \"start\" as s0\n    [*] --> s0\n")
	for _, s := range t.places[1:] {
		t.mermaidStep(&b, s)
	}
	b.WriteString("    note right of s0\n")
	for _, l := range append([]string{backToStart}, rules(g)...) {
		fmt.Fprintf(&b, "        %s\n", mermaidEscape(l))
	}
	b.WriteString("    end note\n")
	return b.String()
}

// mermaidStep writes a place, the knock that leads there, and the door at its end.
func (t *tree) mermaidStep(b *strings.Builder, s automaton.State) {
	from, d := t.g.Places[s].Parent, t.g.DoorAt(s)
	if t.g.Standing(s) {
		fmt.Fprintf(b, "    state \"%s\" as s%d\n    s%d --> s%d : %s\n", t.name(s), s, from, s, t.knock(s))
	}
	if d == nil {
		return
	}
	lines := nonEmpty(d.Name, t.opens(d), whom(d))
	for i, l := range lines {
		lines[i] = mermaidEscape(l)
	}
	fmt.Fprintf(b, "    state \"%s\" as d%d\n", strings.Join(lines, "<br/>"), s)
	if t.class(d).Once {
		fmt.Fprintf(b, "    s%d --> d%d : %s\n", s, s, t.connection(d))
	} else {
		fmt.Fprintf(b, "    s%d --> d%d : %s\n", from, s, t.knock(s))
	}
}

// mermaidEscape writes every character that could mean something to Mermaid, to
// Markdown or to HTML as an entity code.
func mermaidEscape(s string) string {
	var b strings.Builder
	for _, r := range oneLine(s) {
		if strings.ContainsRune("\"#;<>&%:`*_~\\{}[]()|$", r) {
			fmt.Fprintf(&b, "#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
