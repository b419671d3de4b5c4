package policy

import (
	"bufio"
	"io"
	"strings"
	"unicode"
)

// Style colours the parts of a rendered diagnostic. A nil function leaves its
// part as it is, so the zero Style is plain text.
type Style struct {
	Location func(string) string // file:line:column
	Error    func(string) string // the word error
	Warning  func(string) string // the word warning
	Text     func(string) string // what is wrong
	Caret    func(string) string // the mark under the column
	Hint     func(string) string // the word hint
}

func paint(f func(string) string, s string) string {
	if f == nil {
		return s
	}
	return f(s)
}

// excerptIndent sets the source line off from the messages.
const excerptIndent = "    "

// Write renders a diagnostic:
//
//	policy.toml:3:9: error: ...
//	    knocks = ["udp/7"]
//	              ^
//	hint: ...
//
// The source line, the caret and the hint are left out where there is none.
// Control characters are shown as U+FFFD: a policy file must not talk to the
// terminal.
func (d Diagnostic) Write(w io.Writer, style Style) error {
	severity := style.Error
	if d.Severity == Warning {
		severity = style.Warning
	}
	var b strings.Builder
	b.WriteString(paint(style.Location, printable(d.location())+":") + " " +
		paint(severity, string(d.Severity)+":") + " " + paint(style.Text, printable(d.Text)) + "\n")
	if strings.TrimSpace(d.excerpt) != "" {
		b.WriteString(excerptIndent + printable(d.excerpt) + "\n")
		b.WriteString(excerptIndent + margin(d.excerpt, d.before) + paint(style.Caret, "^") + "\n")
	}
	if d.Hint != "" {
		b.WriteString(paint(style.Hint, "hint:") + " " + printable(d.Hint) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Write renders all diagnostics, one after another.
func (ds Diagnostics) Write(w io.Writer, style Style) error {
	buffered := bufio.NewWriter(w)
	for _, d := range ds {
		if err := d.Write(buffered, style); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// margin is as wide as the first n characters of s: tabs stay tabs.
func margin(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if n == 0 {
			break
		}
		n--
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	b.WriteString(strings.Repeat(" ", n))
	return b.String()
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
