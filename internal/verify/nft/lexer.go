package nft

import (
	"fmt"
	"strings"
)

type tokenKind uint8

const (
	end tokenKind = iota // of the text
	newline
	word
	quoted
	punct
	variable
)

// token is one word of the text. The line break after a comment carries the
// comment.
type token struct {
	kind      tokenKind
	text      string // without quotes, of a variable without $
	from, to  int32  // offsets in the text
	line, col int32
}

func (t token) is(text string) bool { return t.text == text && (t.kind == word || t.kind == punct) }

func (t token) endsStatement() bool { return t.kind == end || t.kind == newline }

// errorf is an error in the text at t.
func (t token) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d, column %d: %s", t.line, t.col, fmt.Sprintf(format, args...))
}

func (t token) String() string {
	switch t.kind {
	case end:
		return "the end of the text"
	case newline:
		return "the end of the line"
	case quoted:
		return `"` + t.text + `"`
	case variable:
		return "$" + t.text
	}
	return "`" + t.text + "`"
}

// lexer cuts a ruleset into tokens. Numbers, addresses, ranges, times and class
// handles are words; what they mean depends on where they stand.
type lexer struct {
	text      string
	at        int
	line      int32
	lineStart int
}

func newLexer(text string) *lexer { return &lexer{text: text, line: 1} }

// next cuts the next token off. The last one is end, again and again.
func (x *lexer) next() (token, error) {
	for x.at < len(x.text) {
		switch c := x.text[x.at]; {
		case c == ' ' || c == '\t' || c == '\r':
			x.at++
		case c == '\\' && strings.HasPrefix(x.text[x.at+1:], "\n"):
			x.at += 2
			x.newLine()
		case c == '#':
			n := strings.IndexByte(x.text[x.at:], '\n')
			if n < 0 {
				n = len(x.text) - x.at
			}
			t := x.token(newline, n)
			if x.at < len(x.text) {
				x.at++
				x.newLine()
			}
			return t, nil
		case c == '\n':
			t := x.token(newline, 1)
			t.text = ""
			x.newLine()
			return t, nil
		case c == ';':
			t := x.token(newline, 1)
			t.text = ""
			return t, nil
		case c == '"':
			n := strings.IndexAny(x.text[x.at+1:], "\"\n")
			if n < 0 || x.text[x.at+1+n] == '\n' {
				return token{}, x.token(punct, 1).errorf("a string that does not end")
			}
			t := x.token(quoted, n+2)
			t.text = t.text[1 : n+1]
			return t, nil
		case c == '$':
			n := 1
			for x.at+n < len(x.text) && inName(x.text[x.at+n]) {
				n++
			}
			t := x.token(variable, n)
			t.text = t.text[1:]
			return t, nil
		case startsWord(c) || strings.HasPrefix(x.text[x.at:], "::"):
			return x.word(), nil
		default:
			return x.operator()
		}
	}
	return x.token(end, 0), nil
}

// token cuts n bytes off.
func (x *lexer) token(kind tokenKind, n int) token {
	t := token{kind: kind, text: x.text[x.at : x.at+n], from: int32(x.at), to: int32(x.at + n), line: x.line, col: int32(x.at - x.lineStart + 1)}
	x.at += n
	return t
}

func (x *lexer) newLine() {
	x.line++
	x.lineStart = x.at
}

// word reads up to the next character that cannot be part of one. A colon or
// another mark at its end stands for itself, unless an IPv6 address ends so.
func (x *lexer) word() token {
	n := 1
	for x.at+n < len(x.text) && inWord(x.text[x.at+n]) {
		n++
	}
	for n > 1 && strings.IndexByte(".:/-", x.text[x.at+n-1]) >= 0 && !strings.HasSuffix(x.text[x.at:x.at+n], "::") {
		n--
	}
	return x.token(word, n)
}

// operator reads one character, or an operator of two.
func (x *lexer) operator() (token, error) {
	if c := x.text[x.at]; c == '.' || c == ',' || c == ':' {
		return x.token(punct, 1), nil
	}
	switch x.text[x.at:min(x.at+2, len(x.text))] {
	case "==", "!=", "<=", ">=", "<<", ">>":
		return x.token(punct, 2), nil
	}
	if strings.IndexByte("{}()[],=<>!&|^@+-.:/*~", x.text[x.at]) < 0 {
		return token{}, x.token(punct, 1).errorf("character %q", x.text[x.at-1])
	}
	return x.token(punct, 1), nil
}

func startsWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

func inName(c byte) bool { return startsWord(c) || c == '-' || c == '.' }

func inWord(c byte) bool { return startsWord(c) || strings.IndexByte(".:/-*", c) >= 0 }
