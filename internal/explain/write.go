package explain

import (
	"fmt"
	"io"
	"strings"

	"tirl/internal/trace"
)

// Style paints parts of the text. A nil function leaves them as they are.
type Style struct {
	Packet  func(string) string // what the packet was
	Good    func(string) string // something opened, or let the source in
	Refused func(string) string
}

// Write tells the story, a line for each step, and then a line for each source.
func (s *Story) Write(w io.Writer, style Style) error {
	var b strings.Builder
	for _, step := range s.Steps {
		line := step.Packet
		if step.gap > trace.Gap {
			line = "+" + span(step.gap) + " " + line
		}
		text := step.Text
		text += step.run()
		fmt.Fprintf(&b, "%s: %s\n", paint(style.Packet, line), paint(style.of(step), text))
	}
	fmt.Fprintf(&b, "\nin the end, after %s:\n", span(s.end))
	for _, source := range s.Sources {
		name := source.Source
		if source.TTL > 0 {
			name += fmt.Sprintf(" ttl %d", source.TTL)
		}
		fmt.Fprintf(&b, "  %s: %s\n", paint(style.Packet, name), source.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// run says how many packets a step is.
func (s Step) run() string {
	switch {
	case s.Count == 1:
		return ""
	case s.Limited == 0 || s.Limited == s.Count:
		return fmt.Sprintf(" (%d packets)", s.Count)
	}
	return fmt.Sprintf(" (%d packets, %d of them too many a second and not heard)", s.Count, s.Limited)
}

// String is the story without paint.
func (s *Story) String() string {
	var b strings.Builder
	_ = s.Write(&b, Style{}) // a Builder never fails
	return b.String()
}

func (style Style) of(s Step) func(string) string {
	switch {
	case s.Reason == "opened" || s.Reason == "redeemed" || s.Reason == "granted" || s.Reason == "let-in":
		return style.Good
	case s.Verdict != "accept" && (s.Reason == "lost" || s.Reason == "nothing" || s.Reason == "limited"):
		return style.Refused
	}
	return nil
}

func paint(f func(string) string, text string) string {
	if f == nil {
		return text
	}
	return f(text)
}
