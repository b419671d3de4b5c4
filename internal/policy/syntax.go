package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// expressions hands each top-level expression of a TOML text (a key with its
// value, a table header, and comments if wanted) to each, in the order of the
// text. A node and its data are valid during the call only; the offset is added
// to its ranges.
//
// A syntax error is reported, and reading goes on at the next line that looks
// like the beginning of an expression, so that one run shows all of them. Where
// a table's header cannot be read lost is called.
func expressions(r *reporter, comments bool, each func(p *unstable.Parser, offset int), lost func()) {
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
		failed = beginning(text, failed)
		if bytes.HasPrefix(bytes.TrimLeft(text[failed:], " \t"), []byte("[")) {
			lost()
		}
		reportSyntax(r, failed, at, message)
		offset = resume(text, min(failed, at), at)
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
	if manyLines(text[failed:at]) {
		return len(text)
	}
	// What stands at the beginning of a line below the one where the failed
	// expression began is an expression of its own, below an array without end.
	line := bytes.LastIndexByte(text[:at], '\n') + 1
	if line <= failed {
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

// reportSyntax reports an error that the parser found at an offset in an
// expression that began at another, in plainer words for the commonest slips.
func reportSyntax(r *reporter, failed, at int, message string) {
	text := r.src.text
	line := bytes.LastIndexByte(text[:at], '\n') + 1
	char, _ := utf8.DecodeRune(text[at:])
	if at < len(text) && text[at] >= utf8.RuneSelf && char != utf8.RuneError {
		// The parser names the byte.
		message = strings.Replace(message, fmt.Sprintf("%#U", rune(text[at])), fmt.Sprintf("%#U", char), 1)
	}
	isValue := bytes.IndexByte(text[line:at], '=') >= 0
	isMissing := isValue && at < len(text) && (text[at] == '\n' || text[at] == '\r') && strings.Contains(message, "start of value")
	low, word := bareWord(text, at)
	begins := r.src.position(failed).Line
	switch {
	case at < 3 && bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		r.errorf(at, "save it as UTF-8 without one", "the file begins with a byte order mark")
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		r.errorf(at, "save it as UTF-8, not as UTF-16", "the file is not UTF-8")
	case strings.ContainsRune("“”‘’", char):
		r.errorf(at, `use straight quotes: "`, "%s", message)
	case manyLines(text[min(failed, at):at]):
		r.errorf(at, fmt.Sprintf("see the string that begins on line %d", begins), "%s", message)
	case line > failed && beginsExpression(text[line:]):
		r.errorf(at, fmt.Sprintf("is a ] missing in what begins on line %d?", begins), "%s", message)
	case isValue && word != "":
		r.errorf(low, fmt.Sprintf("write %q", word), "strings must be quoted")
	case isMissing:
		r.errorf(at, "", "expected a value")
	default:
		r.errorf(at, "", "%s", message)
	}
}

// manyLines says whether a string of many lines may begin in a text.
func manyLines(text []byte) bool {
	return bytes.Contains(text, []byte(`"""`)) || bytes.Contains(text, []byte("'''"))
}

// bareWord gives the word around an offset, and where it begins, if it could be
// meant as a string.
func bareWord(text []byte, at int) (int, string) {
	const longest = 64
	isWord := func(c byte) bool { return isBare(c) || c == '.' || c == '/' || c == ':' }
	low, high := at, at
	for low > 0 && isWord(text[low-1]) && at-low < longest {
		low--
	}
	for high < len(text) && isWord(text[high]) && high-at < longest {
		high++
	}
	isLetter := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	if low > 0 && strings.IndexByte("= \t[,\n", text[low-1]) < 0 || !bytes.ContainsFunc(text[low:high], isLetter) {
		return at, ""
	}
	return low, string(text[low:high])
}
