package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Line is a line on a terminal that is written over again and again, and vanishes
// in the end. On anything but a terminal it shows nothing. It may be used by
// several goroutines.
type Line struct {
	out   io.Writer
	width func() int
	now   func() time.Time

	mu            sync.Mutex
	begun, wrote  time.Time
	shown, silent bool
}

const (
	// Short work needs no line.
	patience = 500 * time.Millisecond
	// More than that nobody reads.
	pause = 100 * time.Millisecond
)

// NewLine begins work that may be long.
func NewLine(out io.Writer, getenv func(string) string) *Line {
	l := &Line{out: out, width: func() int { return Width(out) }, now: time.Now, silent: !IsTerminal(out) || getenv("TERM") == "dumb"}
	l.begun = l.now()
	return l
}

// Show writes a text over the one before. It does so a few times a second at most,
// however often it is called.
func (l *Line) Show(text func() string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.silent || now.Sub(l.begun) < patience || now.Sub(l.wrote) < pause {
		return
	}
	l.wrote, l.shown = now, true
	// A line of the full width would wrap on some terminals.
	fmt.Fprint(l.out, "\r"+Clip(text(), max(1, l.width()-1))+clearLine)
}

// Clear takes the line away, so that something else can be written.
func (l *Line) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown {
		fmt.Fprint(l.out, "\r"+clearLine)
	}
	l.shown, l.wrote = false, time.Time{}
}

// Done takes the line away for good.
func (l *Line) Done() {
	l.Clear()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

// Progress is a Line that tells how far long work has come.
//
//	p := term.NewProgress(a.err, a.getenv, "soak", 1000)
//	defer p.Done()
//	p.Add(1) // as often as a step is done
type Progress struct {
	*Line
	what  string
	total int
	n     atomic.Int64
}

// NewProgress begins to count steps. A total of 0 is one that is not known.
func NewProgress(out io.Writer, getenv func(string) string, what string, total int) *Progress {
	return &Progress{Line: NewLine(out, getenv), what: what, total: total}
}

// Add counts steps.
func (p *Progress) Add(steps int) {
	p.n.Add(int64(steps))
	p.Show(p.text)
}

const barWidth = 20

// text says how far it is, and from how long it took how long it will take.
func (p *Progress) text() string {
	took := p.now().Sub(p.begun)
	n := int(p.n.Load())
	if p.total <= 0 {
		return fmt.Sprintf("%s: %d, %s", p.what, n, took.Truncate(time.Second))
	}
	done := min(n, p.total)
	share := float64(done) / float64(p.total)
	full := int(share * barWidth)
	text := fmt.Sprintf("%s: [%s%s] %3d %%, %d of %d", p.what,
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), int(share*100), done, p.total)
	if done > 0 && done < p.total {
		left := time.Duration(float64(took) / share * (1 - share))
		text += fmt.Sprintf(", about %s left", max(left.Round(time.Second), time.Second))
	}
	return text
}
