package diagram

import (
	"strings"
	"unicode/utf8"

	"tirl/internal/automaton"
)

// box is one element of the picture of a single door: a place, or the door.
type box struct {
	label  string   // of the arrow that leads here
	lines  []string // inside
	door   bool
	spends bool   // the arrow that leads here is the connection, not a knock
	stands bool   // a source can stand here and go back to the start
	mark   string // who does
	marked bool
	x      int // left edge
}

func (b box) width() int { return widest(b.lines) + 4 }

func (b box) middle() int { return b.x + b.width()/2 }

// turn is the room that a line needs to go on in the next row.
const turn = 4

// chain draws the one door of a program as boxes. It gives up if a box has no
// room.
func (t *text) chain() ([]string, bool) {
	rows, ok := t.rows(t.boxes())
	if !ok {
		return nil, false
	}
	c := &canvas{}
	y := 0
	for i, row := range rows {
		y = t.drawRow(c, row, y, i > 0, i < len(rows)-1)
	}
	if len(rows) == 1 && t.drawReturn(c, rows[0], y) {
		c.put(rows[0][0].middle()+2, y+2, backToStart)
	} else {
		c.put(0, c.height()+1, backToStart)
	}
	return append(c.lines(), ""), true
}

// boxes lists the places and the door.
func (t *text) boxes() []box {
	var list []box
	add := func(s automaton.State, b box) {
		who, ok := t.opt.Mark[s]
		b.mark, b.marked = t.plain(who, maxMark), ok
		list = append(list, b)
	}
	d := t.g.DoorAt(t.places[len(t.places)-1])
	for _, s := range t.places {
		if s == automaton.Root {
			add(s, box{lines: []string{t.name(s)}})
		} else if t.g.Standing(s) {
			add(s, box{label: t.knock(s), lines: []string{t.name(s)}, stands: true})
		}
	}
	from := clip(whom(d), maxServices, t.more)
	if t.class(d).Once {
		lines := nonEmpty(t.doorName(d), "opens once", from)
		return append(list, box{label: t.serviceList(d), lines: lines, door: true, spends: true})
	}
	lines := nonEmpty(t.doorName(d), "opens "+t.serviceList(d), t.howLong(d), from)
	add(d.End, box{label: t.knock(d.End), lines: lines, door: true})
	return list
}

// rows packs the boxes into rows that are not too wide and sets their places.
func (t *text) rows(list []box) ([][]box, bool) {
	var rows [][]box
	var row []box
	x := 0
	for i, b := range list {
		limit := t.opt.Width
		if i < len(list)-1 {
			limit -= turn
		}
		gap := utf8.RuneCountInString(b.label) + 2
		if i == 0 {
			gap = 0
		}
		if len(row) > 0 && x+gap+b.width() > limit {
			rows, row = append(rows, row), nil
			x = turn - 2
		}
		b.x = x + gap
		if x = b.x + b.width(); x > limit {
			return nil, false
		}
		row = append(row, b)
	}
	return append(rows, row), true
}

// drawRow draws one row from line y on and gives the first line below its places.
func (t *text) drawRow(c *canvas, row []box, y int, continued, continues bool) int {
	y = t.drawMarks(c, row, y, continued)
	right := 0
	for i, b := range row {
		t.drawBox(c, b, y)
		if i > 0 || continued {
			t.drawArrow(c, right, b, y)
		}
		right = b.x + b.width()
	}
	if continued {
		c.put(0, y+1, t.sw)
		c.put(0, y, t.bar)
	}
	y += 3
	if continues {
		end := t.opt.Width - 1
		if need := right + turn - 1; need < end {
			end = need
		}
		c.put(right-1, y-2, t.out+strings.Repeat(t.line, end-right)+t.ne)
		c.put(end, y-1, t.bar)
		c.put(0, y, t.nw+strings.Repeat(t.line, end-1)+t.se)
		y++
	}
	return y
}

// drawMarks writes who stands in this row above it, one line for all if they
// have room side by side, and gives the first line below.
func (t *text) drawMarks(c *canvas, row []box, y int, continued bool) int {
	left := 0
	if continued {
		left = turn - 2
	}
	var ends []int // of each line of marks, the lowest first
	at := make([]int, len(row))
	for i, b := range row {
		if !b.marked {
			continue
		}
		for at[i] < len(ends) && ends[at[i]] >= t.markAt(b, left) {
			at[i]++
		}
		if at[i] == len(ends) {
			ends = append(ends, 0)
		}
		ends[at[i]] = t.markAt(b, left) + utf8.RuneCountInString(b.mark)
	}
	if len(ends) == 0 {
		return y
	}
	below := y + len(ends)
	for i, b := range row {
		if b.marked {
			c.put(t.markAt(b, left), below-1-at[i], b.mark)
			c.put(b.middle(), below, t.here)
		}
	}
	for i, b := range row {
		for up := range at[i] {
			c.putBlank(b.middle(), below-1-up, t.bar)
		}
	}
	for ; continued && y <= below; y++ {
		c.put(0, y, t.bar)
	}
	return below + 1
}

// markAt is where the mark of a box begins.
func (t *text) markAt(b box, left int) int {
	n := utf8.RuneCountInString(b.mark)
	return max(min(b.middle()-n/2, t.opt.Width-n), left)
}

func (t *text) drawBox(c *canvas, b box, y int) {
	line, bar, nw, ne, sw, se := t.line, t.bar, t.nw, t.ne, t.sw, t.se
	if b.door {
		line, bar, nw, ne, sw, se = t.doorLine, t.doorBar, t.dnw, t.dne, t.dsw, t.dse
	}
	inner := b.width() - 2
	rule := strings.Repeat(line, inner)
	c.put(b.x, y, nw+rule+ne)
	for i, l := range b.lines {
		c.put(b.x, y+1+i, bar+" "+l+strings.Repeat(" ", inner-1-utf8.RuneCountInString(l))+bar)
	}
	c.put(b.x, y+1+len(b.lines), sw+rule+se)
}

// drawArrow draws the arrow that leads to a box, with its label above.
func (t *text) drawArrow(c *canvas, from int, b box, y int) {
	line, out := t.line, t.out
	if b.spends {
		line, out = t.doorLine, t.doorOut
	}
	c.put(b.x-1-utf8.RuneCountInString(b.label), y, b.label)
	c.put(from, y+1, strings.Repeat(line, b.x-1-from)+t.right)
	if from > 0 {
		c.put(from-1, y+1, out)
	}
}

// drawReturn draws the way back to the start below the places.
func (t *text) drawReturn(c *canvas, row []box, y int) bool {
	start, last := row[0].middle(), -1
	for _, b := range row {
		if b.stands {
			last = b.middle()
		}
	}
	if last < 0 {
		return false
	}
	c.put(start, y+1, t.sw+strings.Repeat(t.line, last-start-1)+t.se)
	c.put(start, y, t.up)
	for _, b := range row {
		if !b.stands {
			continue
		}
		x := b.middle()
		c.put(x, y-1, t.down)
		c.put(x, y, t.bar)
		if x < last {
			c.put(x, y+1, t.join)
		}
	}
	return true
}

// canvas is text that is written at any line and column.
type canvas struct{ cells [][]rune }

func (c *canvas) put(x, y int, s string) {
	for len(c.cells) <= y {
		c.cells = append(c.cells, nil)
	}
	for _, r := range s {
		for len(c.cells[y]) <= x {
			c.cells[y] = append(c.cells[y], ' ')
		}
		c.cells[y][x] = r
		x++
	}
}

// putBlank writes one character where nothing is written.
func (c *canvas) putBlank(x, y int, s string) {
	if len(c.cells[y]) <= x || c.cells[y][x] == ' ' {
		c.put(x, y, s)
	}
}

func (c *canvas) height() int { return len(c.cells) }

func (c *canvas) lines() []string {
	lines := make([]string, len(c.cells))
	for i, row := range c.cells {
		lines[i] = strings.TrimRight(string(row), " ")
	}
	return lines
}
