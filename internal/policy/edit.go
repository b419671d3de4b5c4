package policy

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

	"tirl/internal/port"
)

// SetKnocks gives the text of a policy file with other knocks of one door. All
// else stays as it is: comments, those in the array of knocks too, layout and
// order. A door that has no knocks is given some, below what it opens.
//
// Only the syntax of the text must be sound; what the result means is for Parse
// to judge. The text is nil if there are diagnostics.
func SetKnocks(file string, text []byte, door string, knocks []port.Port) ([]byte, Diagnostics) {
	return edit(file, text, func(e *editor, root *table) []byte {
		e.knocks = knocks
		return e.door(root, door)
	})
}

type editor struct {
	r       *reporter
	text    []byte
	knocks  []port.Port
	newline string
}

// door looks for the knocks of a door, and changes or adds them.
func (e *editor) door(root *table, name string) []byte {
	d := e.find(root, name)
	if d == nil {
		return nil
	}
	if k := d.table.find("knocks"); k != nil {
		return e.replace(k)
	}
	return e.insert(d)
}

// find gives a door, or reports that there is none.
func (e *editor) find(root *table, name string) *entry {
	var names []string
	if doors := root.find("door"); doors != nil && doors.table != nil {
		for _, d := range doors.table.entries {
			names = append(names, d.name)
		}
		if d := doors.table.find(name); d != nil && d.table != nil {
			return d
		}
	}
	hint := "write [door." + name + "], and below it opens"
	if len(names) > 0 && len(names) <= 10 {
		hint = "one of " + strings.Join(names, ", ")
	}
	e.r.errorf(-1, hint, "there is no door %s", quote(name))
	return nil
}

// replace changes the elements of an array.
func (e *editor) replace(k *entry) []byte {
	plain := !slices.ContainsFunc(k.value.elems, func(v value) bool { return v.kind != unstable.String || v.at < 0 })
	if k.table != nil || k.value.kind != unstable.Array || !plain {
		e.r.errorf(k.key, `write knocks = []`, "knocks is not an array of strings")
		return nil
	}
	first := k.value.at
	last := closing(e.text, first)
	array := ""
	switch {
	case bytes.IndexByte(e.text[first:last], '\n') < 0:
		before := e.text[bytes.LastIndexByte(e.text[:first], '\n')+1 : first]
		array = e.arrayBehind(string(before), e.indent(first))
	case len(k.value.elems) == len(e.knocks):
		return e.inPlace(k.value.elems)
	default:
		array = e.rebuilt(k.value, last)
	}
	return slices.Concat(e.text[:first], []byte(array), e.text[last+1:])
}

// inPlace puts one string in the place of another, as often as there are some.
func (e *editor) inPlace(elems []value) []byte {
	var out []byte
	done := 0
	for i, v := range elems {
		out = append(out, e.text[done:v.at]...)
		out = append(out, quoteTOML(e.knocks[i].String())...)
		done = stringEnd(e.text, v.at)
	}
	return append(out, e.text[done:]...)
}

// arrayBehind writes the knocks behind what stands on their line, or if that
// would be too long one a line.
func (e *editor) arrayBehind(before, indent string) string {
	words := make([]string, len(e.knocks))
	for i, k := range e.knocks {
		words[i] = quoteTOML(k.String())
	}
	flat := "[" + strings.Join(words, ", ") + "]"
	if utf8.RuneCountInString(before)+len(flat) <= lineWidth {
		return flat
	}
	indent = e.newline + indent
	inner := indent + strings.Repeat(" ", indentWidth)
	return "[" + inner + strings.Join(words, ","+inner) + "," + indent + "]"
}

// rebuilt writes an array of several lines that is to have more elements, or
// fewer: one a line, with the comments where they were. A comment behind an
// element that goes stays on a line of its own.
func (e *editor) rebuilt(v value, last int) string {
	lines := []string{"["}
	written, below := 0, 1 // knocks, and the line below the last of them
	next, gone := 0, false
	for at := v.at + 1; at < last; {
		switch {
		case next < len(v.elems) && at == v.elems[next].at:
			next++
			at = stringEnd(e.text, at)
			if gone = written == len(e.knocks); !gone {
				lines = append(lines, quoteTOML(e.knocks[written].String())+",")
				written++
				below = len(lines)
			}
		case e.text[at] == '#':
			end := nextLine(e.text, at)
			comment := string(bytes.TrimRight(e.text[at:end], " \t\r\n"))
			if alone := e.lead(at) == ""; alone || gone {
				lines = append(lines, comment)
			} else {
				lines[len(lines)-1] += " " + comment
			}
			at = end
		default:
			at++
		}
	}
	for ; written < len(e.knocks); below++ {
		lines = slices.Insert(lines, below, quoteTOML(e.knocks[written].String())+",")
		written++
	}
	indent := e.newline + e.indent(v.at)
	return strings.Join(lines, indent+strings.Repeat(" ", indentWidth)) + indent + "]"
}

// insert adds knocks to a door that has none, below what it opens or else below
// its name.
func (e *editor) insert(d *entry) []byte {
	if d.table.origin != header {
		e.r.errorf(d.key, "write knocks = [] into it", "door %s has no knocks, and is no table of its own", quote(d.name))
		return nil
	}
	at, indent := d.key, e.indent(d.key)
	if o := d.table.find("opens"); o != nil && o.value.kind == unstable.Array {
		at, indent = closing(e.text, o.value.at), e.indent(o.key)
	}
	at = nextLine(e.text, at)
	before := e.text[:at:at]
	if at > 0 && e.text[at-1] != '\n' {
		before = append(before, e.newline...)
	}
	head := indent + "knocks = "
	line := head + e.arrayBehind(head, indent) + e.newline
	return slices.Concat(before, []byte(line), e.text[at:])
}

// lead gives what stands before an offset on its line, without blanks at its
// end: nothing if the offset is where the line begins.
func (e *editor) lead(at int) string {
	return strings.TrimRight(string(e.text[bytes.LastIndexByte(e.text[:at], '\n')+1:at]), " \t")
}

// indent gives the blanks at the beginning of the line of an offset.
func (e *editor) indent(at int) string {
	line := e.text[bytes.LastIndexByte(e.text[:at], '\n')+1:]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// closing gives the offset of the bracket that closes the array at an offset, in
// a text whose syntax is sound.
func closing(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"', '\'':
			at = stringEnd(text, at)
			continue
		case '#':
			at = nextLine(text, at)
			continue
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return at
			}
		}
		at++
	}
	return len(text) - 1
}

// stringEnd gives the offset behind the string at an offset.
func stringEnd(text []byte, at int) int {
	mark := text[at : at+1]
	if triple := bytes.Repeat(mark, 3); bytes.HasPrefix(text[at:], triple) {
		mark = triple
	}
	end := at + len(mark)
	for end < len(text) && !bytes.HasPrefix(text[end:], mark) {
		if text[end] == '\\' && mark[0] == '"' {
			end++
		}
		end++
	}
	end = min(len(text), end+len(mark))
	// Up to two quotes may stand before those that end a string of many lines.
	for len(mark) == 3 && end < len(text) && text[end] == mark[0] {
		end++
	}
	return end
}
