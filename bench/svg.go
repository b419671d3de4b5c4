package bench

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Sizes of a plot, in pixels.
const (
	plotWidth, plotHeight = 760, 420
	plotLeft, plotRight   = 70, 210 // the legend is on the right
	plotTop, plotBottom   = 40, 50
	plotInnerWidth        = plotWidth - plotLeft - plotRight
	plotInnerHeight       = plotHeight - plotTop - plotBottom
	plotTicks             = 6
)

// SVG draws the plot.
func (p Plot) SVG() []byte {
	x, y := p.X.scale(p.values(0)), p.Y.scale(p.values(1))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15">%s</text>`+"\n", plotLeft, html.EscapeString(p.Title))
	for _, v := range x.ticks() {
		at := plotLeft + x.at(v)*plotInnerWidth
		fmt.Fprintf(&b, `<path d="M%.1f %d V%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at, plotTop, plotTop+plotInnerHeight, at, plotTop+plotInnerHeight+18, brief(v))
	}
	for _, v := range y.ticks() {
		at := plotTop + (1-y.at(v))*plotInnerHeight
		fmt.Fprintf(&b, `<path d="M%d %.1f H%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", plotLeft, at, plotLeft+plotInnerWidth, plotLeft-6, at+4, brief(v))
	}
	fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", plotLeft, plotTop, plotInnerWidth, plotInnerHeight)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", plotLeft+plotInnerWidth/2, plotHeight-10, html.EscapeString(p.X.Label))
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", plotTop+plotInnerHeight/2, html.EscapeString(p.Y.Label))
	for i, l := range p.Lines {
		p.line(&b, i, l, x, y)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// line draws a line, its points and its entry of the legend.
func (p Plot) line(b *strings.Builder, i int, l Line, x, y scale) {
	// Okabe and Ito's colours, which colour-blind people can tell apart.
	colours := [...]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}
	colour := colours[i%len(colours)]
	dash := ""
	if i >= len(colours) {
		dash = ` stroke-dasharray="6 3"`
	}
	var path, dots strings.Builder
	for n, point := range l.Points {
		px, py := plotLeft+x.at(point[0])*plotInnerWidth, plotTop+(1-y.at(point[1]))*plotInnerHeight
		fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: " L"}[n == 0], px, py)
		fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, px, py, colour)
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"%s/>%s`+"\n", path.String(), colour, dash, dots.String())
	at := plotTop + 10 + 20*i
	fmt.Fprintf(b, `<path d="M%d %d h22" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d">%s</text>`+"\n",
		plotLeft+plotInnerWidth+12, at, colour, dash, plotLeft+plotInnerWidth+40, at+4, html.EscapeString(l.Name))
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

// brief writes a number of a scale.
func brief(v float64) string {
	if math.Abs(v) >= 1 && v == math.Round(v) {
		return number(v, 0)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
