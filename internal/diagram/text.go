package diagram

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tirl/internal/automaton"
)

// TextOptions say what a terminal can show.
type TextOptions struct {
	Width     int                        // columns; 0: 80
	ASCII     bool                       // the terminal has no UTF-8
	MaxPlaces int                        // of more doors than fill this many places, some are left out; 0: 20
	Mark      map[automaton.State]string // who stands where, such as a source address
}

const (
	defaultWidth     = 80
	defaultMaxPlaces = 20

	maxName     = 24
	maxServices = 32
	maxMark     = 39 // an IPv6 address in full
)

// glyphs are the characters that lines are made of.
type glyphs struct {
	line, bar           string // thin, for places and knocks
	nw, ne, sw, se      string // corners
	out, fork, tee      string // a line leaves a box; one branches down; one branches right
	down, join          string // a line leaves a box downwards; lines meet from above
	doorLine, doorBar   string // double, for doors
	dnw, dne, dsw, dse  string
	doorOut             string
	right, up, here, at string
	more                string
}

var (
	unicodeGlyphs = glyphs{
		line: "─", bar: "│", nw: "╭", ne: "╮", sw: "╰", se: "╯", out: "├", fork: "┬", tee: "├", down: "┬", join: "┴",
		doorLine: "═", doorBar: "║", dnw: "╔", dne: "╗", dsw: "╚", dse: "╝", doorOut: "╞",
		right: "▶", up: "▲", here: "▼", at: "●", more: "…",
	}
	asciiGlyphs = glyphs{
		line: "-", bar: "|", nw: "+", ne: "+", sw: "+", se: "+", out: "|", fork: "+", tee: "+", down: "-", join: "+",
		doorLine: "=", doorBar: "#", dnw: "#", dne: "#", dsw: "#", dse: "#", doorOut: "|",
		right: ">", up: "^", here: "v", at: "*", more: "..",
	}
)

// text draws one picture.
type text struct {
	*tree
	glyphs
	opt  TextOptions
	rest int // doors left out
}

// Text draws the automaton for a terminal. No line is wider than the terminal,
// and every line ends with a newline.
func Text(g *automaton.Program, opt TextOptions) string {
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	if opt.MaxPlaces <= 0 {
		opt.MaxPlaces = defaultMaxPlaces
	}
	t := &text{opt: opt, glyphs: unicodeGlyphs}
	if opt.ASCII {
		t.glyphs = asciiGlyphs
	}
	doors := choose(g, opt)
	t.tree, t.rest = newTree(g, doors), len(g.Doors)-len(doors)

	var b strings.Builder
	for _, l := range append(t.picture(), t.legend()...) {
		b.WriteString(strings.TrimRight(clip(l, opt.Width, t.more), " ") + "\n")
	}
	return b.String()
}

// picture draws one door with boxes if that has room, and several as a trie.
func (t *text) picture() []string {
	switch len(t.g.Doors) {
	case 0:
		return []string{t.node(automaton.Root)}
	case 1:
		if lines, ok := t.chain(); ok {
			return lines
		}
	}
	return t.end(t.trie())
}

// end adds what the trie leaves out and the rule that it does not draw.
func (t *text) end(lines []string) []string {
	if t.rest > 0 {
		noun := "doors"
		if t.rest == 1 {
			noun = "door"
		}
		more := fmt.Sprintf("... and %d %s more; all of them: tirl render --format svg > doors.svg", t.rest, noun)
		lines = append(lines, fill(more, t.opt.Width)...)
	}
	return append(lines, "", backToStart, "")
}

// legend says what the picture does not show.
func (t *text) legend() []string {
	if len(t.g.Doors) == 0 {
		return []string{"There is no door."}
	}
	return fill(strings.Join(rules(t.g), " "), t.opt.Width)
}

// fill breaks a text into lines between words.
func fill(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	return append(lines, line)
}

// choose picks the doors to draw: those on whose way somebody is marked, then
// the first ones, as long as there is room, but always one.
func choose(g *automaton.Program, opt TextOptions) []int {
	drawn := make(map[automaton.State]bool)
	var doors []int
	add := func(d int) {
		way := missing(g, drawn, g.Doors[d].End)
		if len(doors) > 0 && len(drawn)+len(way) > opt.MaxPlaces {
			return
		}
		for _, s := range way {
			drawn[s] = true
		}
		doors = append(doors, d)
	}
	for d := range g.Doors {
		if marked(g, opt.Mark, g.Doors[d].End) {
			add(d)
		}
	}
	for d := range g.Doors {
		if len(drawn) >= opt.MaxPlaces {
			break
		}
		if !slices.Contains(doors, d) {
			add(d)
		}
	}
	slices.Sort(doors)
	return doors
}

// missing lists the places on the way to s that are not drawn yet.
func missing(g *automaton.Program, drawn map[automaton.State]bool, s automaton.State) []automaton.State {
	var way []automaton.State
	for ; s != automaton.Root && !drawn[s]; s = g.Places[s].Parent {
		way = append(way, s)
	}
	return way
}

func marked(g *automaton.Program, mark map[automaton.State]string, s automaton.State) bool {
	for ; s != automaton.Root; s = g.Places[s].Parent {
		if _, ok := mark[s]; ok {
			return true
		}
	}
	return false
}

// plain makes a string from a policy fit for a terminal: every character takes
// one column and none is a command.
func (t *text) plain(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < utf8.RuneSelf && unicode.IsPrint(r):
			return r
		case t.opt.ASCII || r == utf8.RuneError:
			return '?'
		case unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic) && unicode.IsLetter(r) && r < 0x2000:
			return r
		}
		return '?'
	}, s)
	return clip(s, n, t.more)
}

func (t *text) doorName(d *automaton.Door) string { return t.plain(d.Name, maxName) }

func (t *text) serviceList(d *automaton.Door) string {
	return clip(t.services(d), maxServices, t.more)
}

func widest(lines []string) int {
	w := 0
	for _, l := range lines {
		w = max(w, utf8.RuneCountInString(l))
	}
	return w
}
