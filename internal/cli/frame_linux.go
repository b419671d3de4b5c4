package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tirl/internal/term"
)

// frame is what a watch shows at one moment.
type frame struct {
	style         term.Style
	utf8          bool
	width, height int
	last          sample
	old           []sample // with counters of the policy that is loaded, the oldest first
}

// window is the time that rates are of.
const window = 10 * time.Second

// add takes a new look at the kernel.
func (f *frame) add(s sample) {
	f.last = s
	if s.view == nil || s.counters == nil {
		f.old = nil
		return
	}
	if n := len(f.old); n > 0 {
		before := f.old[n-1]
		// Another policy, or the same loaded anew, counts from the start.
		if before.view.Loaded.PolicyHash != s.view.Loaded.PolicyHash || total(before) > total(s) {
			f.old = nil
		}
	}
	f.old = append(f.old, s)
	for len(f.old) > 2 && s.at.Sub(f.old[1].at) >= window {
		f.old = f.old[1:]
	}
}

func total(s sample) uint64 {
	return s.counters.Opened + s.counters.Accepted + s.counters.Wrong + s.counters.Limited
}

// lines are what is shown, from the top.
func (f *frame) lines(now time.Time) []string {
	v := f.last.view
	var lines []string
	if f.last.err != nil {
		lines = append(lines, f.style.Red("error:")+" "+strings.ReplaceAll(f.last.err.Error(), "\n", " "))
	}
	switch {
	case v == nil && f.last.err == nil:
		return []string{"looking ..."}
	case v == nil:
	case !v.Active():
		lines = append(lines, f.style.Bold("not active"), "")
		lines = append(lines, v.waiting()...)
	default:
		lines = append(lines, f.head()...)
		gap := f.gap()
		lines = append(append(append(lines, gap...), f.rates()), gap...)
		lines = append(lines, f.lists(now.Sub(f.last.at), f.height-len(lines)-2*len(gap))...)
	}
	if gap := f.gap(); len(gap) > 0 {
		lines = append(append(lines, gap...), f.style.Faint("q ends"))
	}
	return lines
}

// low is the height of a terminal that has no room for what does not change.
const low = 16

// gap is a blank line where there is room.
func (f *frame) gap() []string {
	if f.height < low {
		return nil
	}
	return []string{""}
}

// head says what is loaded, and what is wrong with it.
func (f *frame) head() []string {
	v := f.last.view
	lines := v.head()
	lines[0] = f.style.Bold(lines[0])
	if f.height < low {
		lines = lines[:1]
		if v.Loaded.Blocked {
			lines = append(lines, f.style.Yellow("blocked"))
		}
	}
	lines = append(lines, v.waiting()...)
	if v.Drifted {
		lines = append(lines, f.style.Red("somebody has changed the rules since they were loaded: sudo tirl apply --dry-run"))
	}
	return lines
}

// rates says how often things happen.
func (f *frame) rates() string {
	if len(f.old) == 0 {
		return "events are not counted"
	}
	first, last := f.old[0], f.old[len(f.old)-1]
	passed := last.at.Sub(first.at)
	if passed <= 0 {
		return "a second: ..."
	}
	a, b := first.counters, last.counters
	var parts []string
	for _, c := range []struct {
		name     string
		from, to uint64
	}{
		{"opened", a.Opened, b.Opened}, {"let in", a.Accepted, b.Accepted}, {"wrong", a.Wrong, b.Wrong}, {"limited", a.Limited, b.Limited},
	} {
		parts = append(parts, fmt.Sprintf("%s %s", c.name, rate(float64(c.to-c.from)/passed.Seconds())))
	}
	return "a second: " + strings.Join(parts, "   ")
}

func rate(r float64) string {
	if r > 0 && r < 9.95 {
		return fmt.Sprintf("%.1f", r)
	}
	return fmt.Sprintf("%.0f", r)
}

// row is a line of a list.
type row struct {
	name, bar, text string
	left            time.Duration // below 0: unknown
}

// lists shows who knocks and who is let in, in so many lines.
func (f *frame) lists(passed time.Duration, room int) []string {
	v := f.last.view
	var knocking, letIn []row
	// Under a flood the few that get far are of interest.
	list := slices.Clone(v.sources)
	slices.SortStableFunc(list, func(a, b source) int { return cmp.Compare(b.done, a.done) })
	for _, s := range list {
		if left, on := remaining(s.left, passed); on {
			knocking = append(knocking, row{s.name(), f.steps(s), s.progress(v.program), left})
		}
	}
	for _, g := range v.grants {
		if left, on := remaining(g.left, passed); on {
			letIn = append(letIn, row{g.addr.String(), f.time(g, left), g.name(), left})
		}
	}
	gap := f.gap()
	room = max(0, room-2-len(gap))
	below := min(len(letIn), max(room/2, room-len(knocking)))
	above := min(len(knocking), room-below)
	lines := append(f.list("knocking", knocking, above), gap...)
	return append(lines, f.list("let in", letIn, below)...)
}

// remaining is what is left of a time; false if it has ended.
func remaining(left, passed time.Duration) (time.Duration, bool) {
	if left < 0 {
		return left, true
	}
	return left - passed, left > passed
}

func (f *frame) list(title string, rows []row, room int) []string {
	lines := []string{f.style.Bold(fmt.Sprintf("%s: %d", title, len(rows)))}
	shown := rows
	if len(rows) > room {
		shown = rows[:max(0, room-1)]
	}
	var name, bar, text int
	for _, r := range shown {
		name = max(name, utf8.RuneCountInString(r.name))
		bar = max(bar, utf8.RuneCountInString(r.bar))
		text = max(text, utf8.RuneCountInString(r.text))
	}
	for _, r := range shown {
		line := "  " + pad(r.name, name) + "  " + f.style.Green(pad(r.bar, bar)) + "  " + pad(r.text, text) + "  " + left(r.left)
		lines = append(lines, strings.TrimRight(line, " "))
	}
	if more := len(rows) - len(shown); more > 0 && room > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	return lines
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// steps has a cell for each knock of the longest way that a source may be on.
func (f *frame) steps(s source) string {
	longest := 0
	for _, d := range s.doors {
		longest = max(longest, len(d.Knocks))
	}
	return f.cells(min(s.done, longest), longest)
}

// timeCells is how long the bar of a grant is.
const timeCells = 10

// time shows how much is left of what a knock gives.
func (f *frame) time(g grant, left time.Duration) string {
	if g.class == nil || g.class.Once || left < 0 {
		return ""
	}
	full := int((left*timeCells + g.class.OpenFor - 1) / g.class.OpenFor)
	return f.cells(min(full, timeCells), timeCells)
}

func (f *frame) cells(full, all int) string {
	on, off := "#", "."
	if f.utf8 {
		on, off = "█", "░"
	}
	return strings.Repeat(on, full) + strings.Repeat(off, all-full)
}
