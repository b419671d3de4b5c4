package term

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func noenv(string) string { return "" }

// clock is a Progress on a terminal of 60 columns whose time stands still.
func clock(what string, total int) (*Progress, *bytes.Buffer, *time.Time) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := NewProgress(&out, noenv, what, total)
	p.silent, p.width, p.now = false, func() int { return 60 }, func() time.Time { return now }
	p.begun = now
	return p, &out, &now
}

func TestProgress(t *testing.T) {
	p, out, now := clock("soak", 200)
	p.Add(10)
	if out.Len() > 0 {
		t.Errorf("at once: %q", out)
	}
	*now = now.Add(10 * time.Second)
	p.Add(40)
	if want := "\rsoak: [#####...............]  25 %, 50 of 200, about 30s le\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
	out.Reset()
	*now = now.Add(pause / 2)
	p.Add(10)
	if out.Len() > 0 {
		t.Errorf("too soon: %q", out)
	}
	*now = now.Add(pause)
	p.Add(200) // more than was expected
	if want := "\rsoak: [####################] 100 %, 200 of 200\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
	out.Reset()
	p.Clear()
	p.Add(1)
	if want := "\r\x1b[K\rsoak: [####################] 100 %, 200 of 200\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
	out.Reset()
	p.Done()
	p.Done()
	*now = now.Add(time.Second)
	p.Add(1)
	if want := "\r\x1b[K"; out.String() != want {
		t.Errorf("in the end %q, want %q", out, want)
	}
}

func TestProgressWithoutTotal(t *testing.T) {
	p, out, now := clock("import", 0)
	*now = now.Add(1500 * time.Millisecond)
	p.Add(7)
	if want := "\rimport: 7, 1s\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestProgressIsSilent(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := NewProgress(w, noenv, "soak", 10)
	p.begun = p.begun.Add(-time.Hour)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { p.Add(1) })
	}
	all.Wait()
	p.Done()
	w.Close()
	var got bytes.Buffer
	if n, _ := got.ReadFrom(r); n > 0 {
		t.Errorf("a pipe was told %q", &got)
	}
	if n := p.n.Load(); n != 10 {
		t.Errorf("counted %d", n)
	}
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		line    string
		columns int
		want    string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc"},
		{"äöü€", 3, "äöü"},
		{"\x1b[32mabcd\x1b[0mef", 3, "\x1b[32mabc\x1b[0m"},
		{"a\x1b[32mb\x1b[0mcd", 3, "a\x1b[32mb\x1b[0mc"},
		{"abc\x1b[", 9, "abc"},
		{strings.Repeat("x", 10), 0, ""},
	} {
		if got := Clip(c.line, c.columns); got != c.want {
			t.Errorf("%q to %d: %q, want %q", c.line, c.columns, got, c.want)
		}
	}
}

func TestScreenNeedsTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, out := range []any{null, &bytes.Buffer{}, nil} {
		if s, err := OpenScreen(null, out, noenv); err != ErrNoTerminal {
			t.Errorf("%v, %v", s, err)
		}
	}
}
