package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// expressions hands each top-level expression of a TOML text (a key with its
// value, a table header, and comments if wanted) to each, in the order of the
// text. A node and its data are valid during the call only; the offset is added
// to its ranges.
//
// A syntax error is reported, and reading goes on at the next line that looks
// like the beginning of an expression, so that one run shows all of them.
func expressions(r *reporter, comments bool, each func(p *unstable.Parser, offset int)) {
	text := r.src.text
	text = text[:len(text):len(text)] // the parser finds offsets by capacity
	parser := unstable.Parser{KeepComments: comments}
	for offset := 0; offset < len(text) && r.dropped[Error] == 0; {
		failed := offset // where the expression that fails begins, at the earliest
		parser.Reset(text[offset:])
		for parser.NextExpression() {
			each(&parser, offset)
			failed = nextLine(text, offset+lastByte(parser.Expression()))
		}
		err := parser.Error()
		if err == nil {
			return
		}
		at, message := len(text), err.Error()
		var perr *unstable.ParserError
		if errors.As(err, &perr) {
			at, message = len(text)-cap(perr.Highlight), perr.Message
		}
		r.add(at, Error, message, syntaxHint(text, failed, at))
		offset = resume(text, failed, at)
	}
}

// lastByte gives an offset on the last line of an expression.
func lastByte(e *unstable.Node) int {
	last := e.Raw
	if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
		for it := e.Key(); it.Next(); {
			last = it.Node().Raw
		}
	}
	return int(last.Offset + last.Length)
}

// resume finds where to go on after an error at an offset in an expression that
// began at another: the next line that begins an expression, or the text's end.
func resume(text []byte, failed, at int) int {
	// In a string of many lines each of them may look like an expression.
	if bytes.Contains(text[failed:at], []byte(`"""`)) || bytes.Contains(text[failed:at], []byte("'''")) {
		return len(text)
	}
	// What stands at the beginning of a line below the one where the failed
	// expression began is an expression of its own, below an array without end.
	first := beginning(text, failed)
	line := bytes.LastIndexByte(text[:at], '\n') + 1
	if line <= first {
		line = nextLine(text, at)
	}
	for line < len(text) && !beginsExpression(text[line:]) {
		line = nextLine(text, line)
	}
	return line
}

// beginning skips empty lines and comments.
func beginning(text []byte, at int) int {
	for at < len(text) {
		end := nextLine(text, at)
		line := bytes.TrimSpace(text[at:end])
		if len(line) > 0 && line[0] != '#' {
			break
		}
		at = end
	}
	return at
}

func nextLine(text []byte, at int) int {
	n := bytes.IndexByte(text[at:], '\n')
	if n < 0 {
		return len(text)
	}
	return at + n + 1
}

// beginsExpression says whether a line looks like key = value or [table].
func beginsExpression(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	if len(line) == 0 {
		return false
	}
	if line[0] == '[' {
		line = bytes.TrimLeft(line[1:], "[ \t")
		return len(line) > 0 && isBare(line[0])
	}
	i := 0
	for i < len(line) && (isBare(line[i]) || line[i] == '.') {
		i++
	}
	rest := bytes.TrimLeft(line[i:], " \t")
	return i > 0 && len(rest) > 0 && rest[0] == '='
}

func isBare(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// syntaxHint tells of the commonest slips: a string without quotes, a curly
// quote, a byte order mark, an array or string without end.
func syntaxHint(text []byte, failed, at int) string {
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) && at < 3 {
		return "save the file as UTF-8 without a byte order mark"
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return "save the file as UTF-8, not as UTF-16"
	}
	rest := text[at:]
	if bytes.HasPrefix(rest, []byte("“")) || bytes.HasPrefix(rest, []byte("”")) {
		return `use straight quotes: "`
	}
	first := beginning(text, failed)
	if bytes.LastIndexByte(text[:at], '\n')+1 > first && beginsExpression(text[bytes.LastIndexByte(text[:at], '\n')+1:]) {
		return fmt.Sprintf("is a ] missing in what begins on line %d?", bytes.Count(text[:first], []byte("\n"))+1)
	}
	line := text[bytes.LastIndexByte(text[:at], '\n')+1 : at]
	if bytes.IndexByte(line, '=') < 0 {
		return ""
	}
	if word := bareWord(text, at); word != "" {
		return "put it in quotes: \"" + word + "\""
	}
	return ""
}

// bareWord gives the word around an offset if it could be meant as a string.
func bareWord(text []byte, at int) string {
	isWord := func(c byte) bool { return isBare(c) || strings.IndexByte("./:", c) >= 0 }
	low, high := at, at
	for low > 0 && isWord(text[low-1]) && at-low < 64 {
		low--
	}
	for high < len(text) && isWord(text[high]) && high-at < 64 {
		high++
	}
	if low > 0 && strings.IndexByte("= \t[,\n", text[low-1]) < 0 {
		return ""
	}
	return string(text[low:high])
}
