package diagram

import (
	"fmt"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/svg"
)

var style = svg.Style{
	Light: `.name { font-size: 14px; font-weight: 600 }
.knock { font: 12.5px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
.place { fill: #f1f5f9; stroke: #52606d; stroke-width: 1.5 }
.door { fill: #e3f6ea; stroke: #1d7a46; stroke-width: 2 }
.edge { fill: none; stroke: #52606d; stroke-width: 1.5 }
.open { fill: none; stroke: #1d7a46; stroke-width: 2.5 }
.back { fill: none; stroke: #b4463c; stroke-width: 1.5; stroke-dasharray: 5 4 }
.tip { fill: #52606d }
.opentip { fill: #1d7a46 }
.backtip { fill: #b4463c }
.backtext { fill: #a03a31 }
`,
	Dark: `.place { fill: #242b33; stroke: #a5b1bd }
.door { fill: #17362a; stroke: #57c78a }
.edge { stroke: #a5b1bd }
.open { stroke: #57c78a }
.back { stroke: #ef8a7f }
.tip { fill: #a5b1bd }
.opentip { fill: #57c78a }
.backtip { fill: #ef8a7f }
.backtext { fill: #f09d93 }
`,
}

// maxDescribed is how many doors the description for screen readers tells of.
const maxDescribed = 20

// image writes an SVG image.
type image struct {
	*layout
	*svg.Image
}

// SVG draws the automaton as an image that needs nothing else: no script, no
// font, no style sheet. It follows the reader's choice of light or dark.
func SVG(g *automaton.Program) []byte {
	im := &image{layout: newLayout(wholeTree(g))}
	im.Image = svg.New(im.width, im.height, oneLine(title(g)), oneLine(im.description()), style)
	im.F(`<text class="title" x="%d" y="%d">%s</text>`, margin, margin+14, escape(clip(title(g), 80, "…")))
	if im.lane > 0 {
		im.wayBack()
	}
	for _, s := range im.places[1:] {
		im.knockStep(s)
	}
	im.F(`<rect class="place" x="%d" y="%d" width="%d" height="%d" rx="%d"/>`,
		margin, im.y[automaton.Root]-radius, startWidth, 2*radius, radius)
	im.F(`<text class="mid" x="%d" y="%d">start</text>`, margin+startWidth/2, im.y[automaton.Root]+5)
	im.explain()
	return im.End()
}

// description tells those who cannot see the image what it shows.
func (im *image) description() string {
	var parts []string
	for i := range im.g.Doors {
		if i == maxDescribed {
			parts = append(parts, fmt.Sprintf("And %d doors more.", len(im.g.Doors)-i))
			break
		}
		parts = append(parts, im.describe(&im.g.Doors[i]))
	}
	parts = append(parts, "A"+backToStart[1:]+".")
	return strings.Join(append(parts, rules(im.g)...), " ")
}

// knockStep draws a place, the knock that leads there, and the door at its end.
func (im *image) knockStep(s automaton.State) {
	from, d := im.g.Places[s].Parent, im.g.DoorAt(s)
	im.edge(im.right(from), im.y[from], im.left(s), im.y[s])
	im.label(im.left(s), im.y[s], im.knock(s))
	if im.g.Standing(s) {
		im.F(`<circle class="place" cx="%d" cy="%d" r="%d"/>`, im.left(s)+radius, im.y[s], radius)
		im.F(`<text class="mid" x="%d" y="%d">%d</text>`, im.left(s)+radius, im.y[s]+5, im.g.Places[s].Depth)
	}
	if d == nil {
		return
	}
	if im.class(d).Once {
		x := im.doorLeft(s)
		im.F(`<path class="open" d="M%d %dH%d"/>`, im.right(s), im.y[s], x-9)
		im.tip("opentip", x, im.y[s])
		im.label(x, im.y[s], im.connection(d))
	}
	im.door(im.doorLeft(s), im.y[s], d)
}

// edge draws an arrow whose corners are round.
func (im *image) edge(x1, y1, x2, y2 int) {
	const r = 8
	x, end := x1+bend/2, x2-8
	switch {
	case y1 == y2:
		im.F(`<path class="edge" d="M%d %dH%d"/>`, x1, y1, end)
	case y1-y2 < 2*r && y2-y1 < 2*r:
		im.F(`<path class="edge" d="M%d %dC%d %d %d %d %d %dH%d"/>`, x1, y1, x, y1, x, y2, x1+bend, y2, end)
	default:
		dy := r
		if y2 < y1 {
			dy = -r
		}
		im.F(`<path class="edge" d="M%d %dH%dQ%d %d %d %dV%dQ%d %d %d %dH%d"/>`,
			x1, y1, x-r, x, y1, x, y1+dy, y2-dy, x, y2, x+r, y2, end)
	}
	im.tip("tip", x2, y2)
}

// tip draws the head of an arrow that ends at x, y.
func (im *image) tip(class string, x, y int) {
	im.F(`<path class="%s" d="M%d %dl-10 -5v10z"/>`, class, x, y)
}

// label writes what leads to x, y above the arrow.
func (im *image) label(x, y int, s string) {
	im.F(`<text class="knock mid" x="%d" y="%d">%s</text>`, x-arrow+4-im.labelWidth/2, y-8, escape(s))
}

func (im *image) door(x, y int, d *automaton.Door) {
	lines := im.inside(d)
	height := len(lines)*lineHeight + padding
	top := y - height/2
	im.F(`<rect class="door" x="%d" y="%d" width="%d" height="%d" rx="10"/>`, x, top, im.doorWidth, height)
	for i, l := range lines {
		class := "soft"
		if i == 0 {
			class = "name"
		}
		im.F(`<text class="%s" x="%d" y="%d">%s</text>`, class, x+padding, top+padding/2+14+i*lineHeight, escape(l))
	}
}

// wayBack draws what a wrong packet does to a source, for one door.
func (im *image) wayBack() {
	start, last := margin+startWidth/2, 0
	for _, s := range im.places {
		if im.g.Standing(s) {
			last = im.left(s) + radius
			im.F(`<path class="back" d="M%d %dV%d"/>`, last, im.y[s]+radius, im.lane)
		}
	}
	top := im.y[automaton.Root] + radius
	im.F(`<path class="back" d="M%d %dH%dV%d"/>`, last, im.lane, start, top+8)
	im.F(`<path class="backtip" d="M%d %dl-5 10h10z"/>`, start, top)
	im.F(`<text class="backtext" x="%d" y="%d">%s</text>`, start+12, im.lane+lineHeight, escape(backToStart))
}

// explain writes the legend.
func (im *image) explain() {
	y := im.legend + lineHeight
	if im.lane == 0 {
		im.F(`<path class="back" d="M%d %dH%d"/>`, margin+42, y-4, margin+10)
		im.F(`<path class="backtip" d="M%d %dl10 -5v10z"/>`, margin, y-4)
		im.F(`<text class="backtext" x="%d" y="%d">%s</text>`, margin+52, y, escape(backToStart))
		y += lineHeight
	}
	for _, r := range im.legendLines() {
		im.F(`<text class="soft" x="%d" y="%d">%s</text>`, margin, y, escape(r))
		y += lineHeight
	}
}

// escape makes a string fit for the text of an element.
func escape(s string) string { return svg.Escape(oneLine(s)) }
