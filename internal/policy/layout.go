package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// piece is a value to be laid out: flat on one line, or, if it is too long or
// has comments in it, one element a line.
type piece struct {
	flat     string // "" if comments forbid it
	width    int    // of flat
	open     string // of an array or inline table: its brackets
	close    string
	isTable  bool
	above    string // a comment behind the opening bracket
	elements []element
}

// element is an element of an array, an inline table's key and value, or a
// comment on a line of its own.
type element struct {
	key     string // with its =
	value   piece
	comment string // behind it; or alone
	alone   bool
}

// piece converts a value.
func (f *formatter) piece(n *unstable.Node, offset, depth int) piece {
	switch n.Kind {
	case unstable.Array:
		return f.container(n, offset, depth, piece{open: "[", close: "]"})
	case unstable.InlineTable:
		return f.container(n, offset, depth, piece{open: "{", close: "}", isTable: true})
	case unstable.String:
		return flatPiece(quoteTOML(string(n.Data)))
	}
	return flatPiece(string(n.Data))
}

func flatPiece(s string) piece {
	return piece{flat: s, width: utf8.RuneCountInString(s)}
}

func (f *formatter) container(n *unstable.Node, offset, depth int, p piece) piece {
	if depth == maxNesting {
		f.r.errorf(f.at, "", "arrays are nested more than %d deep", maxNesting)
		return p
	}
	hasComments := false
	var flat []string
	add := func(c *unstable.Node) {
		hasComments = true
		text := trimComment(c.Data)
		last := len(p.elements) - 1
		switch {
		case f.isAlone(offset + int(c.Raw.Offset)):
		case last < 0 && p.above == "":
			p.above = text
			return
		case last >= 0 && p.elements[last].comment == "":
			p.elements[last].comment = text
			return
		}
		p.elements = append(p.elements, element{comment: text, alone: true})
	}
	for it := n.Children(); it.Next(); {
		child := it.Node()
		if child.Kind == unstable.Comment {
			add(child)
			for more := child.Children(); more.Next(); {
				add(more.Node())
			}
			continue
		}
		e := element{}
		if child.Kind == unstable.KeyValue {
			e.key = keyText(child.Key()) + " = "
			child = child.Value()
		}
		e.value = f.piece(child, offset, depth+1)
		hasComments = hasComments || e.value.flat == ""
		p.elements = append(p.elements, e)
		flat = append(flat, e.key+e.value.flat)
	}
	if !hasComments {
		p.flat = p.open + strings.Join(flat, ", ") + p.close
		if p.isTable && len(flat) > 0 {
			p.flat = "{ " + strings.Join(flat, ", ") + " }"
		}
		p.width = utf8.RuneCountInString(p.flat)
	}
	return p
}

// isAlone says whether nothing but blanks stands before an offset on its line.
func (f *formatter) isAlone(offset int) bool {
	src := f.r.src
	return strings.TrimLeft(string(src.text[src.lines[src.line(offset)]:offset]), " \t") == ""
}

// place adds the lines of a value that stands behind a key and before a comma.
// An inline table without comments is never broken: a newline in it needs TOML
// 1.1.
func (f *formatter) place(before, after string, p piece, indent int) {
	width := indent + utf8.RuneCountInString(before) + p.width + len(after)
	if p.flat != "" && (width <= lineWidth || p.isTable || len(p.elements) == 0) {
		f.lines = append(f.lines, line{indent: indent, text: before + p.flat + after})
		return
	}
	f.lines = append(f.lines, line{indent: indent, text: before + p.open, comment: p.above})
	for _, e := range p.elements {
		inner := indent + indentWidth
		if e.alone {
			f.lines = append(f.lines, line{indent: inner, comment: e.comment})
			continue
		}
		f.place(e.key, ",", e.value, inner)
		f.lines[len(f.lines)-1].comment = e.comment
	}
	f.lines = append(f.lines, line{indent: indent, text: p.close + after})
}

// keyText writes a key, which may be dotted, with as few quotes as it can have.
func keyText(it unstable.Iterator) string {
	var parts []string
	for it.Next() {
		parts = append(parts, bareKey(string(it.Node().Data)))
	}
	return strings.Join(parts, ".")
}

// bareKey writes one step of a key, in quotes where it needs them.
func bareKey(name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf || !isBare(byte(r)) }) {
		return quoteTOML(name)
	}
	return name
}

// quoteTOML writes a basic string (TOML 1.0, "String").
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
