package term

import (
	"bytes"
	"os"
	"testing"
)

func TestStyleOf(t *testing.T) {
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	for _, c := range []struct {
		when           When
		noColor, force string
		want           bool
	}{
		{Auto, "", "", false},
		{Auto, "", "1", true},
		{Auto, "1", "1", false},
		{Auto, "1", "", false},
		{Always, "", "", true},
		{Always, "1", "", true},
		{Never, "", "1", false},
	} {
		getenv := func(name string) string {
			return map[string]string{"NO_COLOR": c.noColor, "FORCE_COLOR": c.force}[name]
		}
		if got := StyleOf(w, c.when, getenv).On(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		if got := StyleOf(&bytes.Buffer{}, c.when, getenv).On(); got != c.want {
			t.Errorf("%+v of a buffer: %v", c, got)
		}
	}
}

func TestStyle(t *testing.T) {
	if got := (Style{}).Red("x"); got != "x" {
		t.Errorf("without colour: %q", got)
	}
	if got := (Style{true}).Red("x"); got != "\x1b[1;31mx\x1b[0m" {
		t.Errorf("with colour: %q", got)
	}
	if got := (Style{true}).Bold(""); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestWhenSet(t *testing.T) {
	var w When
	for s, ok := range map[string]bool{"auto": true, "always": true, "never": true, "": false, "yes": false} {
		if err := w.Set(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestNoTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if IsTerminal(null) || IsTerminal(&bytes.Buffer{}) || IsTerminal(nil) {
		t.Error("a terminal")
	}
	if got := Width(null); got != DefaultWidth {
		t.Errorf("width %d", got)
	}
}
