package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress tells on a terminal how far long work has come, on a line that is
// written over and vanishes in the end. On anything but a terminal it says nothing.
// It may be used by several goroutines.
//
//	p := term.NewProgress(a.err, a.getenv, "soak", 1000)
//	defer p.Done()
//	p.Add(1) // as often as a step is done
type Progress struct {
	out   io.Writer
	width func() int
	now   func() time.Time
	what  string
	total int

	mu            sync.Mutex
	n             int
	begun, wrote  time.Time
	shown, silent bool
}

const (
	// Short work needs no line.
	patience = 500 * time.Millisecond
	// More than that nobody reads.
	pause = 100 * time.Millisecond
)

// NewProgress begins to count steps. A total of 0 is one that is not known.
func NewProgress(out io.Writer, getenv func(string) string, what string, total int) *Progress {
	p := &Progress{
		out: out, width: func() int { return Width(out) }, now: time.Now,
		what: what, total: total, silent: !IsTerminal(out) || getenv("TERM") == "dumb",
	}
	p.begun = p.now()
	return p
}

// Add counts steps.
func (p *Progress) Add(steps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += steps
	now := p.now()
	if p.silent || now.Sub(p.begun) < patience || now.Sub(p.wrote) < pause {
		return
	}
	p.wrote, p.shown = now, true
	// A line of the full width would wrap on some terminals.
	fmt.Fprint(p.out, "\r"+Clip(p.text(now), max(1, p.width()-1))+clearLine)
}

// Done takes the line away. Steps that are counted afterwards are not shown.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.out, "\r"+clearLine)
	}
	p.silent, p.shown = true, false
}

const barWidth = 20

// text says how far it is, and from how long it took how long it will take.
func (p *Progress) text(now time.Time) string {
	took := now.Sub(p.begun)
	if p.total <= 0 {
		return fmt.Sprintf("%s: %d, %s", p.what, p.n, took.Truncate(time.Second))
	}
	done := min(p.n, p.total)
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
