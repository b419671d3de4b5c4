package nft

import (
	"fmt"
	"slices"

	"tirl/internal/verify/ruleset"
)

// maxExpanded bounds how many tokens definitions may put into a text: those
// made of others double.
const maxExpanded = 1 << 18

// cursor reads tokens one by one, from a text or from a list. The first error
// stays, and from then on it is at its end: whoever reads on finds nothing more.
type cursor struct {
	lex      *lexer // nil: ahead is all
	ahead    []token
	head     int                  // where in ahead the next token is
	scopes   []map[string][]token // definitions, the innermost last
	expanded int                  // tokens that came from definitions
	last     token                // the one that was read last
	failed   *error
}

// over reads a list of tokens, and shares the error of c.
func (c *cursor) over(list []token, last token) *cursor {
	return &cursor{ahead: list, last: last, failed: c.failed}
}

func (c *cursor) err() error { return *c.failed }

// fail notes an error, if it is the first.
func (c *cursor) fail(err error) {
	if *c.failed == nil {
		*c.failed = err
	}
}

// unknown fails with what is not understood at t.
func (c *cursor) unknown(t token, format string, args ...any) {
	c.fail(&ruleset.UnknownError{Line: int(t.line), What: fmt.Sprintf(format, args...)})
}

// atEnd is a token where nothing more can be read.
func (c *cursor) atEnd() token {
	return token{kind: end, from: c.last.to, to: c.last.to, line: c.last.line, col: c.last.col + c.last.to - c.last.from}
}

// peek looks at the token after n others.
func (c *cursor) peek(n int) token {
	for len(c.ahead) <= c.head+n {
		if c.err() != nil || c.lex == nil {
			return c.atEnd()
		}
		t, err := c.lex.next()
		if err != nil {
			c.fail(err)
			return c.atEnd()
		}
		if t.kind == variable {
			c.expand(t)
			continue
		}
		c.ahead = append(c.ahead, t)
		if t.kind == end {
			return t
		}
	}
	if c.err() != nil {
		return c.atEnd()
	}
	return c.ahead[c.head+n]
}

// expand puts the value of a variable in its place.
func (c *cursor) expand(t token) {
	var value []token
	for i := len(c.scopes) - 1; i >= 0 && value == nil; i-- {
		value = c.scopes[i][t.text]
	}
	if value == nil {
		c.fail(t.errorf("$%s is not defined", t.text))
		return
	}
	if c.expanded += len(value); c.expanded > maxExpanded {
		c.fail(t.errorf("too much text comes from definitions"))
		return
	}
	for _, v := range value {
		v.from, v.to, v.line, v.col = t.from, t.to, t.line, t.col
		c.ahead = append(c.ahead, v)
	}
}

func (c *cursor) next() token {
	t := c.peek(0)
	if t.kind == end {
		return t
	}
	c.last = t
	if c.head++; c.head == len(c.ahead) && c.lex != nil {
		c.ahead, c.head = c.ahead[:0], 0
	}
	return t
}

// accept reads the next token if it is the one named.
func (c *cursor) accept(text string) bool {
	if !c.peek(0).is(text) {
		return false
	}
	c.next()
	return true
}

// expect reads the token named, or fails.
func (c *cursor) expect(text string) {
	if t := c.next(); !t.is(text) {
		c.fail(t.errorf("%v where `%s` should be", t, text))
	}
}

// name reads a word or a string. A word of nft's own is no name, so that none of
// them goes by unread.
func (c *cursor) name(what string) string {
	t := c.next()
	if t.kind != word && t.kind != quoted || t.kind == word && reserved(t.text) {
		c.fail(t.errorf("%v where %s should be", t, what))
	}
	return t.text
}

// skipLines passes over ends of lines.
func (c *cursor) skipLines() {
	for c.peek(0).kind == newline {
		c.next()
	}
}

// statement reads up to the end of a line, or to the brace that closes what the
// line stands in, but not these. Line ends between braces do not count. It gives
// the comment that the line ends with.
func (c *cursor) statement() (list []token, comment string) {
	depth := 0
	for {
		t := c.peek(0)
		switch {
		case t.kind == end:
			return list, ""
		case t.kind == newline && depth == 0:
			return list, t.text
		case t.kind == newline:
			c.next()
			continue
		case t.is("{") || t.is("("):
			depth++
		case depth == 0 && t.is("}"):
			return list, ""
		case t.is("}") || t.is(")"):
			depth--
		}
		list = append(list, c.next())
	}
}

// open begins a block with definitions of its own.
func (c *cursor) open() { c.scopes = append(c.scopes, map[string][]token{}) }

func (c *cursor) close() { c.scopes = c.scopes[:len(c.scopes)-1] }

// define reads NAME = VALUE. A definition holds to the end of its block.
func (c *cursor) define() {
	t := c.next()
	if t.kind != word {
		c.fail(t.errorf("%v where the name of a definition should be", t))
		return
	}
	c.expect("=")
	value, _ := c.statement()
	if len(value) == 0 {
		c.fail(t.errorf("%s is defined as nothing", t.text))
	}
	c.scopes[len(c.scopes)-1][t.text] = slices.Clone(value)
}
