package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// maxErrors is how many errors are reported at once.
const maxErrors = 10

// Error is one thing that is wrong with a trace.
type Error struct {
	Name   string // of the file; empty: of the command line
	Line   int    // counted from 1; of the command line the argument
	Column int    // in characters, counted from 1
	Text   string
}

// Error gives the form that editors know.
func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("argument %d, column %d: %s", e.Line, e.Column, e.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Text)
}

// Parse reads a trace, one packet a line. The name is that of the file, for
// messages. What is wrong is reported at once, one [Error] a line, joined with
// errors.Join.
func Parse(name, text string) (*Trace, error) { return ParseFrom(name, text, DefaultSource()) }

// ParseFrom is [Parse] with another source of packets before any is named.
func ParseFrom(name, text string, source netip.Addr) (*Trace, error) {
	p := newParser(name, source)
	line := 0
	for content := range strings.Lines(text) {
		line++
		tokens := split(content, line)
		if len(tokens) == 0 {
			continue
		}
		rest, err := p.item(tokens)
		if err == nil && len(rest) > 0 {
			err = rest[0].errorf("expected %s, or the end of the line, not %s", expectedWords, rest[0])
		}
		if p.failed(err) {
			break
		}
	}
	return p.done()
}

// ParseArgs reads a trace from the arguments of a command. Arguments can be
// lines of a trace, or words of one: a packet begins where the one before ends.
func ParseArgs(args []string) (*Trace, error) { return ParseArgsFrom(args, DefaultSource()) }

// ParseArgsFrom is [ParseArgs] with another source of packets before any is named.
func ParseArgsFrom(args []string, source netip.Addr) (*Trace, error) {
	p := newParser("", source)
	var tokens []token
	for i, arg := range args {
		tokens = append(tokens, split(arg, i+1)...)
	}
	for len(tokens) > 0 {
		rest, err := p.item(tokens)
		if err != nil {
			p.failed(err)
			break
		}
		tokens = rest
	}
	return p.done()
}

// token is a word of a trace and where it stands.
type token struct {
	text         string
	line, column int
}

func (t token) errorf(format string, args ...any) *Error {
	return &Error{Line: t.line, Column: t.column, Text: fmt.Sprintf(format, args...)}
}

// String quotes a word for a message.
func (t token) String() string {
	const room = 40
	if r := []rune(t.text); len(r) > room {
		return fmt.Sprintf("%q", string(r[:room])+"…")
	}
	return fmt.Sprintf("%q", t.text)
}

// after is where a word is missing.
func (t token) after() token {
	return token{line: t.line, column: t.column + utf8.RuneCountInString(t.text)}
}

// split cuts a line into words. A comment goes from a word that begins with # to
// the end of the line.
func split(line string, number int) []token {
	var tokens []token
	column := 1
	for len(line) > 0 {
		space := len(line) - len(strings.TrimLeft(line, " \t\r\n"))
		line, column = line[space:], column+space
		end := strings.IndexAny(line, " \t\r\n")
		if end < 0 {
			end = len(line)
		}
		if end == 0 || line[0] == '#' {
			break
		}
		tokens = append(tokens, token{line[:end], number, column})
		column += utf8.RuneCountInString(line[:end])
		line = line[end:]
	}
	return tokens
}

// parser holds what one line of a trace leaves to the next.
type parser struct {
	name    string
	trace   Trace
	clock   time.Duration // of the packet before, or of the end of a wait
	begun   bool          // there was a packet or a wait
	source  netip.Addr
	packets int
	errs    []error
}

func newParser(name string, source netip.Addr) *parser { return &parser{name: name, source: source} }

// failed takes note of an error. It says whether there are enough of them.
func (p *parser) failed(err *Error) bool {
	if err == nil {
		return false
	}
	err.Name = p.name
	p.errs = append(p.errs, err)
	return len(p.errs) >= maxErrors
}

func (p *parser) done() (*Trace, error) {
	if p.errs != nil {
		return nil, errors.Join(p.errs...)
	}
	p.trace.End = p.clock
	return &p.trace, nil
}

// item reads a wait or a packet and gives what follows it.
func (p *parser) item(tokens []token) ([]token, *Error) {
	first := tokens[0]
	if first.text == "wait" {
		if len(tokens) < 2 {
			return nil, first.after().errorf("expected a time after wait, such as 3s")
		}
		d, err := span(tokens[1], tokens[1].text)
		if err == nil {
			err = p.advance(tokens[1], p.clock+d)
		}
		return tokens[2:], err
	}
	at := p.clock
	if p.begun {
		at += Gap
	}
	if first.text[0] == '+' || first.text[0] == '@' {
		d, err := span(first, first.text[1:])
		if err != nil {
			return nil, err
		}
		at = d
		if first.text[0] == '+' {
			at += p.clock
		}
		if at < p.clock {
			return nil, first.errorf("expected a time from %s on, which is that of the packet before, not %s", Span(p.clock), Span(at))
		}
		tokens = tokens[1:]
		if len(tokens) == 0 {
			return nil, first.after().errorf("expected %s after the time", expectedTargets)
		}
	}
	return p.packet(tokens, at)
}

// advance sets the clock.
func (p *parser) advance(where token, to time.Duration) *Error {
	if to > MaxTime {
		return where.errorf("expected a trace of at most %s", Span(MaxTime))
	}
	p.clock, p.begun = to, true
	return nil
}

// span reads a time that does not go back.
func span(where token, text string) (time.Duration, *Error) {
	const longest = 32
	d, err := time.ParseDuration(text)
	if err != nil || len(text) > longest || text[0] == '+' || text[0] == '-' {
		return 0, where.errorf("expected a time such as 1.5s, 100ms or 1m30s, not %q", token{text: text}.clip())
	}
	if d > MaxTime {
		return 0, where.errorf("expected a time of at most %s", Span(MaxTime))
	}
	return d, nil
}

func (t token) clip() string {
	const room = 40
	if r := []rune(t.text); len(r) > room {
		return string(r[:room]) + "…"
	}
	return t.text
}
