package policy

import (
	"bytes"
	"sort"
	"unicode/utf8"
)

// MaxSize is the largest policy file that Parse and Format read, in bytes. Ten
// thousand doors take about two million.
const MaxSize = 16 << 20

// sourceText is a policy file's text with an index that turns byte offsets into
// positions in constant time, however long the lines are.
type sourceText struct {
	file  string
	text  []byte
	lines []int // offset of the first byte of each line
	runes []int // runes[i]: characters before offset i*runeStride
}

const runeStride = 256

func newSource(file string, text []byte) *sourceText {
	s := &sourceText{file: file, text: text, lines: []int{0}}
	for i := 0; ; {
		n := bytes.IndexByte(text[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
		s.lines = append(s.lines, i)
	}
	s.runes = make([]int, len(text)/runeStride+1)
	for i := 1; i < len(s.runes); i++ {
		s.runes[i] = s.runes[i-1] + countRunes(text[(i-1)*runeStride:i*runeStride])
	}
	return s
}

// countRunes counts the bytes that begin a character; unlike utf8.RuneCount it
// gives the same sum when a text is cut in the middle of a character.
func countRunes(b []byte) int {
	n := 0
	for _, c := range b {
		if utf8.RuneStart(c) {
			n++
		}
	}
	return n
}

func (s *sourceText) runesBefore(offset int) int {
	block := offset / runeStride
	return s.runes[block] + countRunes(s.text[block*runeStride:offset])
}

// line gives the index, from 0, of the line that holds an offset.
func (s *sourceText) line(offset int) int {
	return sort.SearchInts(s.lines, offset+1) - 1
}

// position turns an offset into a line and a column; one below 0 stands for the
// file as a whole.
func (s *sourceText) position(offset int) Position {
	if offset < 0 {
		return Position{}
	}
	offset = min(offset, len(s.text))
	line := s.line(offset)
	return Position{line + 1, s.runesBefore(offset) - s.runesBefore(s.lines[line]) + 1}
}

// lineText gives a line by its number from 1, without its end.
func (s *sourceText) lineText(number int) []byte {
	if number < 1 || number > len(s.lines) {
		return nil
	}
	end := len(s.text)
	if number < len(s.lines) {
		end = s.lines[number] - 1
	}
	return bytes.TrimSuffix(s.text[s.lines[number-1]:end], []byte("\r"))
}

// The part of a source line that a diagnostic shows, in characters before and
// after the column.
const (
	excerptBefore = 80
	excerptAfter  = 60
	excerptWidth  = excerptBefore + excerptAfter // a shorter line is shown whole
)

// excerpt gives the text of a position's line around its column, and the number
// of characters in it before the column.
func (s *sourceText) excerpt(at Position) (text string, before int) {
	if at.Line < 1 || at.Line > len(s.lines) {
		return "", 0
	}
	line := s.lineText(at.Line)
	start := s.lines[at.Line-1]
	// Each character has at most four bytes, so only a window of the line has
	// to be looked at.
	column := s.offsetInLine(at)
	low, cutLow := column-start, false
	for n := 0; low > 0; n++ {
		if n == excerptBefore {
			cutLow = true
			break
		}
		_, size := utf8.DecodeLastRune(line[:low])
		low -= size
		before++
	}
	high, cutHigh := column-start, false
	for n := 0; high < len(line); n++ {
		if n == max(excerptAfter, excerptWidth-before) {
			cutHigh = true
			break
		}
		_, size := utf8.DecodeRune(line[high:])
		high += size
	}
	text = string(line[low:high])
	if cutLow {
		text = "…" + text
		before++
	}
	if cutHigh {
		text += "…"
	}
	return text, before
}

// offsetInLine is the inverse of position. Columns beyond the line's end give
// its end.
func (s *sourceText) offsetInLine(at Position) int {
	first := s.lines[at.Line-1]
	end := first + len(s.lineText(at.Line))
	want := s.runesBefore(first) + at.Column - 1
	// The last block that begins with no more than the wanted characters.
	block := sort.SearchInts(s.runes, want+1) - 1
	offset, n := min(block*runeStride, end), s.runes[block]
	if offset < first {
		offset, n = first, s.runesBefore(first)
	}
	for offset < end && (n < want || !utf8.RuneStart(s.text[offset])) {
		if utf8.RuneStart(s.text[offset]) {
			n++
		}
		offset++
	}
	for offset < end && !utf8.RuneStart(s.text[offset]) {
		offset++
	}
	return offset
}

// Source is a file of another format than the policy's, for diagnostics that
// look like a policy's.
type Source struct{ text *sourceText }

// NewSource keeps the text.
func NewSource(file string, text []byte) Source { return Source{newSource(file, text)} }

// Position turns a byte offset into a position; one below 0 stands for the file
// as a whole.
func (s Source) Position(offset int) Position { return s.text.position(offset) }

// Diagnose makes a diagnostic at a byte offset.
func (s Source) Diagnose(offset int, severity Severity, text, hint string) Diagnostic {
	return s.text.diagnostic(s.text.position(offset), severity, text, hint)
}
