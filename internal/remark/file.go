// Package remark writes a policy file with remarks in it: for those who make a
// policy out of something else and have to say at each door what became of what.
// It is pure.
package remark

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// File is a policy file that is being made.
type File struct {
	Head   []Paragraph // above everything
	Tables []*Table    // in the order of the file; the top level is a table without a name
}

// Table is a table of the policy, such as door.ssh.
type Table struct {
	Name    string // empty: the top level
	Remarks []Paragraph
	Keys    []*Key
	Off     bool        // only a comment: no part of the policy
	Tail    []Paragraph // below it
}

// Key is a key of a table.
type Key struct {
	Name    string
	Value   string // in TOML; see String and Strings
	Remarks []Paragraph
}

// Paragraph is one of a comment.
type Paragraph struct {
	Text string
	Raw  bool // as it is, a little to the right: a command, a line of another file
}

// Say makes a remark of words, Show one that is kept as it is.
func Say(text string) Paragraph  { return Paragraph{Text: text} }
func Show(text string) Paragraph { return Paragraph{Text: text, Raw: true} }

// String is a TOML string. It is for the words of a policy: escapes of Go that
// TOML does not have are for characters that no policy has.
func String(s string) string { return strconv.Quote(s) }

// Strings is a TOML array of strings.
func Strings(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = String(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// Table adds a table.
func (f *File) Table(name string) *Table {
	t := &Table{Name: name}
	f.Tables = append(f.Tables, t)
	return t
}

// Set adds a key.
func (t *Table) Set(name, value string) *Key {
	k := &Key{Name: name, Value: value}
	t.Keys = append(t.Keys, k)
	return k
}

// Remark adds a remark above a table, or above a key.
func (t *Table) Remark(r ...Paragraph) { t.Remarks = append(t.Remarks, r...) }
func (k *Key) Remark(r ...Paragraph)   { k.Remarks = append(k.Remarks, r...) }

// Key finds a key.
func (t *Table) Key(name string) *Key {
	for _, k := range t.Keys {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// width is that of comments.
const width = 100

// writer remembers what stands on which line.
type writer struct {
	out   bytes.Buffer
	lines map[int]spot // from 1
	line  int
	bare  bool // without remarks
}

type spot struct {
	table *Table
	key   *Key
}

// Text gives the file.
func (f *File) Text() []byte {
	w := f.write(false)
	return w.out.Bytes()
}

func (f *File) write(bare bool) *writer {
	w := &writer{lines: map[int]spot{}, bare: bare}
	w.remarks(f.Head)
	for _, t := range f.Tables {
		w.table(t)
	}
	return w
}

func (w *writer) put(text string) {
	w.line++
	w.out.WriteString(strings.TrimRight(text, " ") + "\n")
}

func (w *writer) table(t *Table) {
	if len(t.Keys)+len(t.Remarks)+len(t.Tail) == 0 {
		return
	}
	if w.line > 0 {
		w.put("")
	}
	w.remarks(t.Remarks)
	off := ""
	if t.Off {
		off = "# "
	}
	if t.Name != "" {
		w.lines[w.line+1] = spot{t, nil}
		w.put(off + "[" + t.Name + "]")
	}
	for i, k := range t.Keys {
		w.remarks(k.Remarks)
		w.lines[w.line+1] = spot{t, k}
		w.put(fmt.Sprintf("%s%-*s = %s", off, aligned(t.Keys, i), k.Name, k.Value))
	}
	w.remarks(t.Tail)
}

// aligned is how wide policy.Format makes the name of a key: as the longest of
// those on consecutive lines.
func aligned(keys []*Key, i int) int {
	first, end := i, i+1
	for first > 0 && len(keys[first].Remarks) == 0 {
		first--
	}
	for end < len(keys) && len(keys[end].Remarks) == 0 {
		end++
	}
	width := 0
	for _, k := range keys[first:end] {
		width = max(width, len(k.Name))
	}
	return width
}

func (w *writer) remarks(list []Paragraph) {
	if w.bare {
		return
	}
	for _, r := range list {
		text := printable(r.Text)
		switch {
		case text == "":
			w.put("#")
		case r.Raw:
			w.put("#     " + text)
		default:
			w.paragraph(text)
		}
	}
}

// paragraph breaks a text into lines. What begins with "- " is set off.
func (w *writer) paragraph(text string) {
	margin := "# "
	line, n := margin, 0
	for word := range strings.FieldsSeq(text) {
		if n > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			w.put(line)
			line, n = margin, 0
		}
		if n > 0 {
			line += " "
		}
		line += word
		if n++; word == "-" && line == "# -" {
			margin = "#   "
		}
	}
	w.put(line)
}

// printable leaves out what a comment in TOML may not have, and what would talk to
// a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
