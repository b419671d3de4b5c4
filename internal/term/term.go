// Package term decides whether an output is a terminal that takes colour, and
// writes the few styles that messages and tables use.
package term

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// When says whether to use colour.
type When string

const (
	// Auto is colour on a terminal, unless NO_COLOR or FORCE_COLOR says otherwise.
	Auto   When = "auto"
	Always When = "always"
	Never  When = "never"
)

// DefaultWidth is the width of an output that has none.
const DefaultWidth = 80

// Set implements pflag.Value.
func (w *When) Set(s string) error {
	switch When(s) {
	case Auto, Always, Never:
		*w = When(s)
		return nil
	}
	return fmt.Errorf("%q is not auto, always or never", s)
}

func (w *When) String() string { return string(*w) }

// Type implements pflag.Value.
func (*When) Type() string { return "when" }

// Style writes text in colour, or as it is: the zero value does not colour.
type Style struct{ on bool }

// StyleOf chooses the style of an output. An explicit choice counts most, then
// the variables NO_COLOR (https://no-color.org) and FORCE_COLOR
// (https://force-color.org), each if it is not empty, then what the output is.
func StyleOf(out io.Writer, when When, getenv func(string) string) Style {
	switch {
	case when != Auto:
		return Style{when == Always}
	case getenv("NO_COLOR") != "":
		return Style{}
	case getenv("FORCE_COLOR") != "":
		return Style{true}
	}
	return Style{IsTerminal(out) && getenv("TERM") != "dumb" && takesColour(out)}
}

// On says whether the style colours.
func (s Style) On() bool { return s.on }

func (s Style) Bold(text string) string   { return s.sgr("1", text) }
func (s Style) Faint(text string) string  { return s.sgr("2", text) }
func (s Style) Red(text string) string    { return s.sgr("1;31", text) }
func (s Style) Green(text string) string  { return s.sgr("32", text) }
func (s Style) Yellow(text string) string { return s.sgr("1;33", text) }
func (s Style) Cyan(text string) string   { return s.sgr("36", text) }

// sgr is Select Graphic Rendition of ECMA-48, section 8.3.117.
func (s Style) sgr(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// IsTerminal says whether out, or what is read from, is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width gives the columns of a terminal.
func Width(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return DefaultWidth
}
