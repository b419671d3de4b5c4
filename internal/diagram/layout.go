package diagram

import (
	"fmt"
	"unicode/utf8"

	"tirl/internal/automaton"
)

// Sizes in the image, in pixels.
const (
	margin     = 28
	titleRoom  = 44 // above the trie
	startWidth = 64
	radius     = 18 // of a place
	bend       = 26 // from a place to where its edges part
	arrow      = 18 // from the end of a label to the next place
	rowGap     = 18 // between two doors
	laneDrop   = 40 // from a place down to the way back
	lineHeight = 18
	padding    = 14 // inside a door

	// No browser is asked how wide its fonts are: these are on the safe side.
	monoWidth = 8  // of a character on an edge
	textWidth = 7  // of a character in a door or the legend
	boldWidth = 9  // of a character of a door's name
	maxLine   = 34 // characters in a door
	maxFrom   = 3  // lines of networks in a door
)

// layout says where everything stands: depth is the column, a door is a row.
type layout struct {
	*tree
	labelWidth, doorWidth, doorHeight int
	y                                 []int // middle of each place, indexed by State
	width, height                     int
	lane                              int // height of the way back to the start, 0 if it is not drawn
	legend                            int // top of the legend
}

func newLayout(t *tree) *layout {
	l := &layout{tree: t, y: make([]int, len(t.g.Places))}
	l.measure()
	next := titleRoom + margin + l.doorHeight/2
	bottom := l.place(automaton.Root, next) - l.doorHeight/2 - rowGap
	if len(t.g.Doors) == 1 && (t.g.Standing(t.places[1]) || len(t.places) > 2) {
		l.lane = l.y[automaton.Root] + radius + laneDrop
		bottom = max(bottom, l.lane+lineHeight)
	}
	l.legend = bottom + margin
	l.height = l.legend + lineHeight*len(l.legendLines()) + margin
	if l.lane == 0 {
		l.height += lineHeight
	}
	l.size()
	return l
}

// measure finds how wide labels and doors are.
func (l *layout) measure() {
	label, door, lines := 0, 0, 0
	for _, s := range l.places[1:] {
		label = max(label, utf8.RuneCountInString(l.knock(s)))
		d := l.g.DoorAt(s)
		if d == nil {
			continue
		}
		if l.class(d).Once {
			label = max(label, utf8.RuneCountInString(l.connection(d)))
		}
		inside := l.inside(d)
		lines = max(lines, len(inside))
		door = max(door, boldWidth*utf8.RuneCountInString(inside[0]))
		for _, in := range inside[1:] {
			door = max(door, textWidth*utf8.RuneCountInString(in))
		}
	}
	l.labelWidth = label * monoWidth
	l.doorWidth = door + 2*padding
	l.doorHeight = max(lines*lineHeight+padding, 2*radius)
}

// place sets the rows of the places below s, the next free row being at y, and
// gives the next free row after them.
func (l *layout) place(s automaton.State, y int) int {
	kids := l.kids[s]
	l.y[s] = y
	if len(kids) == 0 {
		return y + l.doorHeight + rowGap
	}
	for _, k := range kids {
		y = l.place(k, y)
	}
	l.y[s] = (l.y[kids[0]] + l.y[kids[len(kids)-1]]) / 2
	return y
}

// size sets how wide the image is.
func (l *layout) size() {
	for _, s := range l.places {
		l.width = max(l.width, l.right(s))
		if d := l.g.DoorAt(s); d != nil {
			l.width = max(l.width, l.doorLeft(s)+l.doorWidth)
		}
	}
	for _, r := range append(l.legendLines(), title(l.g)) {
		l.width = max(l.width, margin+textWidth*utf8.RuneCountInString(r))
	}
	l.width += margin
}

// step is the room between two columns of places.
func (l *layout) step() int { return bend + l.labelWidth + arrow }

// left is where the edge that leads to a place, or to the timed door there, ends.
func (l *layout) left(s automaton.State) int {
	depth := l.g.Places[s].Depth
	if depth == 0 {
		return margin
	}
	return margin + startWidth + depth*l.step() + (depth-1)*2*radius
}

// right is where the edges that leave a place begin.
func (l *layout) right(s automaton.State) int {
	if s == automaton.Root {
		return margin + startWidth
	}
	return l.left(s) + 2*radius
}

// doorLeft is where the door at the end of a sequence begins.
func (l *layout) doorLeft(s automaton.State) int {
	if l.g.Standing(s) {
		return l.right(s) + l.step()
	}
	return l.left(s)
}

// inside lists what is written in a door, its name first.
func (l *layout) inside(d *automaton.Door) []string {
	lines := []string{clip(d.Name, maxName, "…"), clip("opens "+l.services(d), maxLine, "…"), "to one connection"}
	if c := l.class(d); !c.Once {
		lines[2] = "to new connections for " + span(c.OpenFor)
	}
	for i, p := range d.From {
		if i == maxFrom-1 && len(d.From) > maxFrom {
			return append(lines, fmt.Sprintf("or from %d networks more", len(d.From)-i))
		}
		word := "from "
		if i > 0 {
			word = "or from "
		}
		lines = append(lines, clip(word+network(p), maxLine, "…"))
	}
	return lines
}

// legendLines are those below the picture.
func (l *layout) legendLines() []string {
	return append([]string{"In a circle: how many knocks are done."}, rules(l.g)...)
}
