package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"tirl/internal/svg"
)

// Sizes of a plot, in pixels. The legend is on the right.
const (
	plotWidth, plotHeight = 880, 430
	plotLeft, plotRight   = 74, 290
	plotTop, plotBottom   = 56, 62
	plotInnerWidth        = plotWidth - plotLeft - plotRight
	plotInnerHeight       = plotHeight - plotTop - plotBottom
	plotTicks             = 6
	legendLine            = 20
	// Lines whose values are the same would hide each other.
	besideBy = 2.5
	// Of a line with more points the points are not marked.
	mostMarks = 25
	markSize  = 4
)

// Okabe and Ito's colours, which colour-blind people can tell apart; on dark the darkest
// of them are lighter.
var (
	lightColours = [...]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07c00", "#3a9bd9", "#333333", "#8a8a8a"}
	darkColours  = [...]string{"#4aa8e0", "#f08a48", "#2fc79b", "#e3a3c6", "#e6b422", "#8cccf5", "#e8e8e8", "#a0a0a0"}
	dashes       = [...]string{"", "7 4", "2 4"}
)

func plotStyle() svg.Style {
	s := svg.Style{
		Light: ".grid { stroke: #d9e0e7; stroke-width: 1 }\n.minor { stroke: #eef2f6; stroke-width: 1 }\n.frame { fill: none; stroke: #7b8794 }\n.end { text-anchor: end }\n.line { fill: none; stroke-width: 2 }\n",
		Dark:  ".grid { stroke: #39434d }\n.minor { stroke: #232b33 }\n.frame { stroke: #7b8794 }\n",
	}
	for i := range lightColours {
		s.Light += fmt.Sprintf(".s%d { stroke: %s } .f%[1]d { fill: %s }\n", i, lightColours[i], lightColours[i])
		s.Dark += fmt.Sprintf(".s%d { stroke: %s } .f%[1]d { fill: %s }\n", i, darkColours[i], darkColours[i])
	}
	return s
}

// canvas is a plot that is being drawn.
type canvas struct {
	*svg.Image
	Plot
	x, y scale
}

// SVG draws the plot. The same plot gives the same bytes.
func (p Plot) SVG() []byte {
	height := max(plotHeight, plotTop+legendLine*(len(p.Lines)+1))
	c := canvas{svg.New(plotWidth, height, p.Title, p.description(), plotStyle()), p, p.X.scale(p.values(0)), p.Y.scale(p.values(1))}
	c.F(`<text class="title" x="%d" y="30">%s</text>`, plotLeft, svg.Escape(p.Title))
	c.axes()
	for i, l := range p.Lines {
		c.line(i, l)
		c.legend(i, l)
	}
	return c.End()
}

// description tells those who cannot see the plot what it shows.
func (p Plot) description() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, by %s.", p.Y.Label, p.X.Label)
	for _, l := range p.Lines {
		if n := len(l.Points); n > 0 {
			fmt.Fprintf(&b, " %s: from %s at %s to %s at %s.", l.Name, brief(l.Points[0][1]), brief(l.Points[0][0]), brief(l.Points[n-1][1]), brief(l.Points[n-1][0]))
		}
	}
	return b.String()
}

func (c *canvas) across(v float64) float64 { return plotLeft + c.x.at(v)*plotInnerWidth }

func (c *canvas) down(v float64) float64 { return plotTop + (1-c.y.at(v))*plotInnerHeight }

// axes draws the scales, their numbers and what they are of.
func (c *canvas) axes() {
	for _, v := range c.x.minor() {
		c.F(`<path class="minor" d="M%.1f %dV%d"/>`, c.across(v), plotTop, plotTop+plotInnerHeight)
	}
	for _, v := range c.y.minor() {
		c.F(`<path class="minor" d="M%d %.1fH%d"/>`, plotLeft, c.down(v), plotLeft+plotInnerWidth)
	}
	for _, v := range c.x.ticks() {
		c.F(`<path class="grid" d="M%.1f %dV%d"/>`, c.across(v), plotTop, plotTop+plotInnerHeight)
		c.F(`<text class="soft mid" x="%.1f" y="%d">%s</text>`, c.across(v), plotTop+plotInnerHeight+20, brief(v))
	}
	for _, v := range c.y.ticks() {
		c.F(`<path class="grid" d="M%d %.1fH%d"/>`, plotLeft, c.down(v), plotLeft+plotInnerWidth)
		c.F(`<text class="soft end" x="%d" y="%.1f">%s</text>`, plotLeft-8, c.down(v)+4, brief(v))
	}
	c.F(`<rect class="frame" x="%d" y="%d" width="%d" height="%d"/>`, plotLeft, plotTop, plotInnerWidth, plotInnerHeight)
	c.F(`<text class="mid" x="%d" y="%d">%s</text>`, plotLeft+plotInnerWidth/2, plotTop+plotInnerHeight+44, svg.Escape(c.X.Label))
	c.F(`<text class="mid" transform="translate(18 %d) rotate(-90)">%s</text>`, plotTop+plotInnerHeight/2, svg.Escape(c.Y.Label))
}

// line draws a line and its points.
func (c *canvas) line(i int, l Line) {
	var path strings.Builder
	beside := 0.0
	if c.Beside {
		beside = (float64(i) - float64(len(c.Lines)-1)/2) * besideBy
	}
	for n, point := range l.Points {
		step := "L"
		if n == 0 {
			step = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", step, c.across(point[0]), c.down(point[1])+beside)
	}
	if path.Len() == 0 {
		return
	}
	c.F(`<path class="line s%d"%s d="%s"/>`, i%len(lightColours), dash(i), path.String())
	if len(l.Points) <= mostMarks {
		for _, point := range l.Points {
			c.mark(i, c.across(point[0]), c.down(point[1])+beside)
		}
	}
}

// mark draws a point. Lines have marks of their own, for who does not see colours.
func (c *canvas) mark(i int, x, y float64) {
	const s = markSize
	class := fmt.Sprintf("f%d", i%len(lightColours))
	switch i % 4 {
	case 0:
		c.F(`<circle class="%s" cx="%.1f" cy="%.1f" r="%d"/>`, class, x, y, s)
	case 1:
		c.F(`<rect class="%s" x="%.1f" y="%.1f" width="%d" height="%d"/>`, class, x-s, y-s, 2*s, 2*s)
	case 2:
		c.F(`<path class="%s" d="M%.1f %.1fl%d %dh-%dz"/>`, class, x, y-s-1, s+1, 2*s+1, 2*s+2)
	case 3:
		c.F(`<path class="%s" d="M%.1f %.1fl%d %dl-%d %dl-%d -%dz"/>`, class, x, y-s-1, s+1, s+1, s+1, s+1, s+1, s+1)
	}
}

// legend names a line.
func (c *canvas) legend(i int, l Line) {
	x, y := plotLeft+plotInnerWidth+16, plotTop+8+legendLine*i
	c.F(`<path class="line s%d"%s d="M%d %dh26"/>`, i%len(lightColours), dash(i), x, y)
	c.mark(i, float64(x+13), float64(y))
	c.F(`<text x="%d" y="%d">%s</text>`, x+34, y+4, svg.Escape(l.Name))
}

func dash(i int) string {
	if d := dashes[i/len(lightColours)%len(dashes)]; d != "" {
		return fmt.Sprintf(` stroke-dasharray="%s"`, d)
	}
	return ""
}

func (p Plot) values(coordinate int) []float64 {
	var v []float64
	for _, l := range p.Lines {
		for _, point := range l.Points {
			v = append(v, point[coordinate])
		}
	}
	return v
}

// scale maps what is measured to 0 to 1.
type scale struct {
	log      bool
	min, max float64
}

// scale is what an axis needs for values. Without a logarithm it begins at 0.
func (a Axis) scale(values []float64) scale {
	s := scale{log: a.Log, min: a.Min, max: a.Max}
	if a.Min != 0 || a.Max != 0 {
		return s
	}
	if !a.Log {
		for _, v := range values {
			s.min, s.max = min(s.min, v), max(s.max, v)
		}
		if s.min == s.max {
			s.max = s.min + 1
		}
		step := s.step()
		s.max = math.Ceil(s.max/step) * step
		return s
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v > 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	if low > high {
		low, high = 1, 10
	}
	s.min = math.Pow(10, math.Floor(math.Log10(low)))
	s.max = math.Pow(10, math.Ceil(math.Log10(high)))
	if s.min == s.max {
		s.max *= 10
	}
	return s
}

func (s scale) at(v float64) float64 {
	if s.log {
		return max(0, math.Log10(max(v, s.min)/s.min)/math.Log10(s.max/s.min))
	}
	return (v - s.min) / (s.max - s.min)
}

// step is a round distance between ticks.
func (s scale) step() float64 {
	width := s.max - s.min
	if width <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(width/plotTicks)))
	for _, n := range []float64{1, 2, 5} {
		if width/(n*unit) <= plotTicks {
			return n * unit
		}
	}
	return 10 * unit
}

func (s scale) ticks() []float64 {
	var ticks []float64
	if s.log {
		for v := s.min; v <= s.max*1.001; v *= 10 {
			ticks = append(ticks, v)
		}
		return ticks
	}
	step := s.step()
	for i := math.Ceil(s.min / step); i*step <= s.max*1.0001; i++ {
		ticks = append(ticks, i*step)
	}
	return ticks
}

// minor gives the lines between the ticks of a logarithm.
func (s scale) minor() []float64 {
	if !s.log {
		return nil
	}
	var lines []float64
	for _, v := range s.ticks() {
		for n := 2.0; n < 10 && v*n < s.max; n++ {
			lines = append(lines, v*n)
		}
	}
	return lines
}

// brief writes a number of a scale.
func brief(v float64) string {
	if math.Abs(v) >= 1 && v == math.Round(v) {
		return number(v, 0)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
