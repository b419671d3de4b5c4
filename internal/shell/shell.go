// Package shell splits a line that a POSIX shell would run into its commands, as
// far as that can be done without running it: words, quotes, lists, pipelines,
// sudo. It is pure.
package shell

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Word is a word of a command, without its quotes.
type Word struct {
	Text string
	At   int  // offset in the line
	Open bool // has an expansion in it, $x or `x`: what it will be is not known

	expansions []expansion
	pattern    bool // has an * or ? that may stand for names of files
	quotes     bool // is there even if it is empty
}

// Command is a simple command.
type Command struct {
	Words []Word // the program and its arguments; never empty
	At    int    // offset in the line
	End   int
	Text  string // as written
	After string // what joins it to the command before: "", ";", "&&", "||", "&" or "|"
	Piped bool   // is part of a pipeline
}

// Name is the program without its directory, "" if it is not known.
func (c Command) Name() string {
	if c.Words[0].Open {
		return ""
	}
	name := c.Words[0].Text
	return name[strings.LastIndexByte(name, '/')+1:]
}

// Args are the words after the program, as text.
func (c Command) Args() []string {
	var all []string
	for _, w := range c.Words[1:] {
		all = append(all, w.Text)
	}
	return all
}

// Open says whether some word is not known.
func (c Command) Open() bool {
	return slices.ContainsFunc(c.Words, func(w Word) bool { return w.Open })
}

// Line is a line in parts.
type Line struct {
	Commands []Command
	Comment  string // behind a #, with it
}

// Error says what cannot be read, and where.
type Error struct {
	At   int
	Text string
}

func (e *Error) Error() string { return e.Text }

// Split reads a line. Redirections are dropped. Words of the shell's grammar (if,
// for, while, {, functions), subshells and here-documents are errors of type
// [*Error].
func Split(line string) (Line, error) {
	s := &splitter{text: line}
	if err := s.run(); err != nil {
		return Line{}, err
	}
	return s.line, nil
}

type splitter struct {
	text  string
	at    int
	line  Line
	words []Word
	begin int    // of the command
	end   int    // of its last word
	after string // what stood before the command

	expansions []expansion // in the word
}

func (s *splitter) run() error {
	for {
		for s.at < len(s.text) && strings.IndexByte(" \t\r", s.text[s.at]) >= 0 {
			s.at++
		}
		if strings.HasPrefix(s.text[s.at:], "\\\n") {
			s.at += 2
			continue
		}
		if s.at == len(s.text) {
			return s.close("")
		}
		switch c := s.text[s.at]; {
		case c == '#':
			s.line.Comment = s.text[s.at:]
			if n := strings.IndexByte(s.line.Comment, '\n'); n >= 0 {
				s.line.Comment = s.line.Comment[:n]
			}
			s.at += len(s.line.Comment)
		case c == '\n':
			if err := s.operator(";", 1); err != nil {
				return err
			}
		case c == '&' && strings.HasPrefix(s.text[s.at:], "&>"):
			s.at++
			if err := s.redirect(); err != nil {
				return err
			}
		case strings.HasPrefix(s.text[s.at:], "&&"), strings.HasPrefix(s.text[s.at:], "||"):
			if err := s.operator(s.text[s.at:s.at+2], 2); err != nil {
				return err
			}
		case c == ';' || c == '&' || c == '|':
			if err := s.operator(string(c), 1); err != nil {
				return err
			}
		case c == '>' || c == '<':
			if err := s.redirect(); err != nil {
				return err
			}
		case c == '(' || c == ')':
			return &Error{s.at, "has a subshell or a function"}
		default:
			if err := s.word(); err != nil {
				return err
			}
		}
	}
}

// operator ends a command.
func (s *splitter) operator(op string, size int) error {
	at := s.at
	s.at += size
	if len(s.words) == 0 {
		if op == ";" && (s.text[at] == '\n' || len(s.line.Commands) == 0) {
			return nil
		}
		return &Error{at, fmt.Sprintf("has nothing in front of %q", op)}
	}
	return s.close(op)
}

func (s *splitter) close(op string) error {
	if len(s.words) == 0 {
		if s.after == "&&" || s.after == "||" || s.after == "|" {
			return &Error{s.at, fmt.Sprintf("has nothing behind %q", s.after)}
		}
		return nil
	}
	if w := s.words[0]; isReserved(w.Text) && s.text[w.At] != '\'' && s.text[w.At] != '"' {
		return &Error{w.At, fmt.Sprintf("uses %q of the shell's language", w.Text)}
	}
	c := Command{Words: s.words, At: s.begin, End: s.end, Text: s.text[s.begin:s.end], After: s.after,
		Piped: s.after == "|" || op == "|"}
	s.line.Commands = append(s.line.Commands, c)
	s.words, s.after = nil, op
	return nil
}

// isReserved knows the words of POSIX.1-2017, XCU 2.4, and those that bash adds.
func isReserved(word string) bool {
	switch word {
	case "!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then", "until", "while",
		"[[", "]]", "function", "select", "time":
		return true
	}
	return false
}

// redirect drops [n]>file and the like.
func (s *splitter) redirect() error {
	at := s.at
	if n := len(s.words) - 1; n > 0 && s.words[n].At+len(s.words[n].Text) == at {
		if _, err := strconv.Atoi(s.words[n].Text); err == nil {
			s.words = s.words[:n]
		}
	}
	for s.at < len(s.text) && strings.IndexByte("<>&|", s.text[s.at]) >= 0 {
		s.at++
	}
	if strings.HasPrefix(s.text[at:s.at], "<<") {
		return &Error{at, "has a here-document"}
	}
	for s.at < len(s.text) && strings.IndexByte(" \t", s.text[s.at]) >= 0 {
		s.at++
	}
	before, end := len(s.words), s.end
	if err := s.word(); err != nil {
		return err
	}
	if len(s.words) == before {
		return &Error{at, "has a redirection to nowhere"}
	}
	s.words = s.words[:before]
	if before == 0 {
		return &Error{at, "begins with a redirection"}
	}
	s.end = end
	return nil
}

// word reads up to the next blank or operator that is not quoted.
func (s *splitter) word() error {
	var b strings.Builder
	w, any := Word{At: s.at}, false
	s.expansions = nil
	for s.at < len(s.text) {
		c := s.text[s.at]
		if strings.IndexByte(" \t\r\n;&|<>()", c) >= 0 {
			break
		}
		if strings.HasPrefix(s.text[s.at:], "\\\n") {
			s.at += 2
			continue
		}
		any = true
		switch c {
		case '\'':
			n := strings.IndexByte(s.text[s.at+1:], '\'')
			if n < 0 {
				return &Error{s.at, "has a quote without end"}
			}
			w.quotes = true
			b.WriteString(s.text[s.at+1 : s.at+1+n])
			s.at += n + 2
		case '"':
			expands, err := s.double(&b)
			if err != nil {
				return err
			}
			w.Open, w.quotes = w.Open || expands, true
		case '\\':
			if s.at+1 < len(s.text) {
				b.WriteByte(s.text[s.at+1])
			}
			s.at = min(s.at+2, len(s.text))
		case '$', '`':
			w.Open = true
			if err := s.expansion(&b, false); err != nil {
				return err
			}
		case '*', '?':
			w.Open, w.pattern = true, true
			b.WriteByte(c)
			s.at++
		default:
			b.WriteByte(c)
			s.at++
		}
	}
	if !any {
		return nil
	}
	if len(s.words) == 0 {
		s.begin = w.At
	}
	w.Text, w.expansions = b.String(), s.expansions
	s.words = append(s.words, w)
	s.end = s.at
	return nil
}

func (s *splitter) double(b *strings.Builder) (open bool, err error) {
	start := s.at
	for s.at++; s.at < len(s.text); {
		switch c := s.text[s.at]; c {
		case '"':
			s.at++
			return open, nil
		case '\\':
			if strings.HasPrefix(s.text[s.at:], "\\\n") {
				s.at += 2
				continue
			}
			if s.at+1 < len(s.text) && strings.IndexByte("$`\"\\", s.text[s.at+1]) >= 0 {
				s.at++
			}
			if s.at < len(s.text) {
				b.WriteByte(s.text[s.at])
				s.at++
			}
		case '$', '`':
			open = true
			if err := s.expansion(b, true); err != nil {
				return false, err
			}
		default:
			b.WriteByte(c)
			s.at++
		}
	}
	return false, &Error{start, "has a quote without end"}
}

// expansion takes $name, ${...}, $(...) and `...` as they stand.
func (s *splitter) expansion(b *strings.Builder, quoted bool) error {
	start := s.at
	until := func(end string) error {
		n := strings.Index(s.text[s.at:], end)
		if n < 0 {
			return &Error{start, "has an expansion without end"}
		}
		s.at += n + len(end)
		return nil
	}
	s.at++
	var err error
	switch rest := s.text[s.at:]; {
	case s.text[start] == '`':
		err = until("`")
	case strings.HasPrefix(rest, "{"):
		err = until("}")
	case strings.HasPrefix(rest, "("):
		depth := 0
		for {
			if s.at == len(s.text) {
				return &Error{start, "has an expansion without end"}
			}
			if c := s.text[s.at]; c == '(' {
				depth++
			} else if c == ')' {
				depth--
			}
			s.at++
			if depth == 0 {
				break
			}
		}
	default:
		s.at += nameLength(rest)
	}
	if err != nil {
		return err
	}
	text := s.text[start:s.at]
	s.expansions = append(s.expansions, expansion{b.Len(), text, quoted})
	b.WriteString(text)
	return nil
}

// nameLength is how many bytes of what stands behind a $ are the name of a
// variable or parameter.
func nameLength(rest string) int {
	n := 0
	for n < len(rest) && (rest[n] == '_' || isLetter(rest[n]) || n > 0 && isDigit(rest[n])) {
		n++
	}
	if n == 0 && rest != "" && (isDigit(rest[0]) || strings.IndexByte("@#?$!*-", rest[0]) >= 0) {
		n = 1
	}
	return n
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
