package policy

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Format gives a policy file its usual layout. What it says, its comments and
// its order stay as they are:
//
//   - one space on either side of =, but the = of keys on consecutive lines are
//     aligned, and so are the comments behind consecutive lines;
//   - one blank line at most, always one above a table, none below its name;
//   - arrays on one line of up to 100 columns, else one element a line;
//   - double quotes, no quotes around keys that need none;
//   - lines end with a newline, and never with a blank.
//
// Formatting twice gives the same as once. A file with a syntax error is refused
// with the diagnostics of all of them, one with other mistakes is not. The time
// is linear in the size of the text.
func Format(file string, text []byte) ([]byte, Diagnostics) {
	if len(text) > MaxSize {
		return nil, tooLarge(file, len(text))
	}
	f := &formatter{r: newReporter(newSource(file, slices.Clone(text)))}
	expressions(f.r, true, f.read, func() {})
	if f.r.hasErrors() {
		return nil, f.r.done()
	}
	f.flushKeys()
	return f.render(), nil
}

const (
	lineWidth    = 100
	indentWidth  = 2
	maxNesting   = 32 // of arrays; a policy needs one
	maxAlignKey  = 40 // longer keys are not aligned with
	maxAlignLine = 80 // comments behind longer lines are not aligned
)

// line is one line of the output.
type line struct {
	indent  int
	text    string
	comment string // behind the text; or all there is
	block   block
}

type block int

const (
	plain       block = iota
	tableHeader       // wants a blank line above
	blank
)

// formatter reads expressions and collects lines.
type formatter struct {
	r     *reporter
	lines []line
	keys  []pendingKey // consecutive keys, until their width is known
	last  int          // number of the last line, from 0, of what has been read
	any   bool         // whether something has been read
	at    int          // offset of the expression that is being read
}

type pendingKey struct {
	key     string
	value   piece
	comment string
}

// read takes one top-level expression, or a comment that stands alone.
func (f *formatter) read(p *unstable.Parser, offset int) {
	e := p.Expression()
	first, last := f.span(e, offset)
	src := f.r.src
	if f.any && src.line(first) > f.last+1 {
		f.flushKeys()
		f.lines = append(f.lines, line{block: blank})
	}
	f.any, f.last, f.at = true, src.line(last), first
	switch e.Kind {
	case unstable.Comment:
		f.flushKeys()
		f.lines = append(f.lines, line{comment: trimComment(e.Data)})
	case unstable.Table, unstable.ArrayTable:
		f.flushKeys()
		text := "[" + keyText(e.Key()) + "]"
		if e.Kind == unstable.ArrayTable {
			text = "[" + text + "]"
		}
		f.lines = append(f.lines, line{text: text, comment: commentBehind(e), block: tableHeader})
	case unstable.KeyValue:
		f.keys = append(f.keys, pendingKey{keyText(e.Key()), f.piece(e.Value(), offset, 0), commentBehind(e)})
	}
}

// span gives the offsets of the first and a last byte of an expression.
func (f *formatter) span(e *unstable.Node, offset int) (first, last int) {
	switch e.Kind {
	case unstable.Table, unstable.ArrayTable:
		first = offset + int(e.Child().Raw.Offset)
	default:
		first = offset + int(e.Raw.Offset)
	}
	last = offset + lastByte(e)
	return first, max(first, last-1)
}

func commentBehind(e *unstable.Node) string {
	if c := e.Next(); c != nil && c.Kind == unstable.Comment {
		return trimComment(c.Data)
	}
	return ""
}

func trimComment(c []byte) string { return string(bytes.TrimRight(c, " \t")) }

// flushKeys turns the keys that stand on consecutive lines into lines.
func (f *formatter) flushKeys() {
	width := 0
	for _, k := range f.keys {
		if n := utf8.RuneCountInString(k.key); n <= maxAlignKey {
			width = max(width, n)
		}
	}
	for _, k := range f.keys {
		padding := max(0, width-utf8.RuneCountInString(k.key))
		f.place(k.key+strings.Repeat(" ", padding)+" = ", "", k.value, 0)
		if k.comment != "" {
			f.lines[len(f.lines)-1].comment = k.comment
		}
	}
	f.keys = f.keys[:0]
}

// render joins the lines, with the blank lines where they belong and the
// comments behind lines aligned.
func (f *formatter) render() []byte {
	lines := f.spaced()
	var out bytes.Buffer
	for i := 0; i < len(lines); {
		end := i + 1
		if lines[i].isAligned() {
			for end < len(lines) && lines[end].isAligned() {
				end++
			}
		}
		column := 0
		for _, l := range lines[i:end] {
			column = max(column, l.width())
		}
		for _, l := range lines[i:end] {
			l.write(&out, column)
		}
		i = end
	}
	return out.Bytes()
}

// isAligned says whether the line has a comment that is aligned with those of
// the lines around it.
func (l line) isAligned() bool {
	return l.text != "" && l.comment != "" && l.width() <= maxAlignLine
}

func (l line) width() int { return l.indent + utf8.RuneCountInString(l.text) }

func (l line) write(out *bytes.Buffer, column int) {
	if l.block != blank {
		out.WriteString(strings.Repeat(" ", l.indent))
	}
	out.WriteString(l.text)
	if l.comment != "" {
		if l.text != "" {
			out.WriteString(strings.Repeat(" ", max(0, column-l.width())+1))
		}
		out.WriteString(l.comment)
	}
	out.WriteByte('\n')
}

// spaced gives the lines with one blank line above each table and its comments,
// and none below the table's name, or in a row, or at either end.
func (f *formatter) spaced() []line {
	var out []line
	for i, l := range f.lines {
		isBlank := func(k int) bool { return k < 0 || out[k].block == blank }
		switch {
		case l.block == blank:
			if len(out) == 0 || isBlank(len(out)-1) || out[len(out)-1].block == tableHeader && !f.headerFollows(i) {
				continue
			}
		case l.block == tableHeader:
			at := len(out)
			for at > 0 && out[at-1].indent == 0 && out[at-1].text == "" && out[at-1].block != blank {
				at--
			}
			if at > 0 && !isBlank(at-1) {
				out = slices.Insert(out, at, line{block: blank})
			}
		}
		out = append(out, l)
	}
	for len(out) > 0 && out[len(out)-1].block == blank {
		out = out[:len(out)-1]
	}
	return out
}

// headerFollows says whether what comes after a blank line leads to a table, so
// that the blank line belongs to it and not to the table above.
func (f *formatter) headerFollows(i int) bool {
	for _, l := range f.lines[i+1:] {
		if l.block == tableHeader {
			return true
		}
		if l.text != "" {
			return false
		}
	}
	return false
}
