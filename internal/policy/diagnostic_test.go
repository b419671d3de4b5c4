package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestDiagnosticJSON(t *testing.T) {
	_, ds := Parse("a \"b\".toml", []byte("\nmode = \"gaurd\"\n"))
	got, err := json.Marshal(ds)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"a \"b\".toml","line":2,"column":8,"severity":"error","text":"mode cannot be \"gaurd\"",` +
		`"hint":"did you mean \"guard\"? It can be \"guard\" or \"firewall\""}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDiagnosticStyle(t *testing.T) {
	mark := func(name string) func(string) string {
		return func(s string) string { return "<" + name + " " + s + ">" }
	}
	style := Style{Location: mark("at"), Error: mark("error"), Warning: mark("warning"), Text: mark("text"), Caret: mark("caret"), Hint: mark("hint")}
	_, ds := Parse("p", []byte("mode = \"guard\"\nversion = 2\n"))
	var b strings.Builder
	if err := ds.Write(&b, style); err != nil {
		t.Fatal(err)
	}
	want := `<at p:2:11:> <error error:> <text policies of version 2 are unknown>
    version = 2
              <caret ^>
<hint hint:> write version = 1, or install a tirl that reads this version
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
	b.Reset()
	warning := Diagnostic{File: "p", Severity: Warning, Text: "w"}
	if err := warning.Write(&b, style); err != nil || b.String() != "<at p:> <warning warning:> <text w>\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestDiagnosticsWriteError(t *testing.T) {
	ds := Diagnostics{{File: "p", Severity: Error, Text: "x"}}
	if err := ds.Write(failingWriter{iotest.ErrTimeout}, Style{}); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestDiagnosticsSort(t *testing.T) {
	ds := Diagnostics{{Pos: Position{3, 1}, Text: "d"}, {Pos: Position{2, 9}, Text: "c"}, {Pos: Position{2, 1}, Text: "a"}, {Pos: Position{2, 1}, Text: "b"}, {Text: "file"}}
	ds.Sort()
	var got string
	for _, d := range ds {
		got += d.Text + " "
	}
	if got != "file a b c d " {
		t.Errorf("got %s", got)
	}
}

// A file of nothing but mistakes gives a bounded answer, and says so.
func TestDiagnosticsBound(t *testing.T) {
	for name, line := range map[string]string{"semantic": "key%d = 1\n", "syntax": "key%d = guard\n", "duplicate": "version = 1\n"} {
		text := strings.Repeat(strings.ReplaceAll(line, "%d", "X"), 5000)
		_, ds := Parse("p", []byte(text))
		if len(ds) < maxDiagnostics || len(ds) > maxDiagnostics+1 {
			t.Errorf("%s: %d diagnostics", name, len(ds))
		}
		if last := ds[len(ds)-1]; !strings.Contains(last.Text, "more") {
			t.Errorf("%s: the last is %s", name, last)
		}
	}
}

func TestPosition(t *testing.T) {
	p := mustParse(t, `trust = ["10.0.0.0/8",
         "iface:wg0"]
knocking = { sources = 5 }
log.events = "none"

[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/40213", "udp/7719",
  "udp/28816"]
`)
	tests := []struct {
		path string
		want Position
	}{
		{"trust", Position{1, 9}},
		{"trust[1]", Position{2, 10}},
		{"trust[2]", Position{1, 9}},
		{"trust[-1]", Position{1, 9}},
		{"trust[x]", Position{}},
		{"knocking", Position{3, 1}},
		{"knocking.sources", Position{3, 24}},
		{"knocking.step_timeout", Position{3, 1}},
		{"log", Position{4, 1}},
		{"log.events", Position{4, 14}},
		{"door", Position{6, 2}},
		{"door.ssh", Position{6, 7}},
		{"door.ssh.knocks", Position{8, 10}},
		{"door.ssh.knocks[0]", Position{8, 11}},
		{"door.ssh.knocks[2]", Position{9, 3}},
		{"door.ssh.open_for", Position{6, 7}},
		{"door.web.opens", Position{6, 2}},
		{"mode", Position{}},
		{"", Position{}},
		{"]", Position{}},
	}
	for _, tt := range tests {
		if got := p.Position(tt.path); got != tt.want {
			t.Errorf("Position(%q) is %v, want %v", tt.path, got, tt.want)
		}
	}
	if got := (&Policy{}).Position("mode"); !got.IsZero() {
		t.Errorf("of no file: %v", got)
	}
}

func TestHas(t *testing.T) {
	p := mustParse(t, testdata(t, "good/everything.toml"))
	for path, want := range map[string]bool{"boot.on_failure": true, "boot": true, "mode": true, "on_failure": false, "": false} {
		if got := p.Has(path); got != want {
			t.Errorf("Has(%q) is %v", path, got)
		}
	}
	if mustParse(t, testdata(t, "good/shortest.toml")).Has("boot.on_failure") || (&Policy{}).Has("mode") {
		t.Error("a default is not given by the file")
	}
}

func TestDiagnose(t *testing.T) {
	p := mustParse(t, testdata(t, "good/reference.toml"))
	d := p.Diagnose("door.ssh.knocks[1]", Warning, "too loud", "knock softly")
	var b strings.Builder
	if err := d.Write(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	want := `policy.toml:11:26: warning: too loud
    knocks   = ["udp/12345", "udp/23456", "udp/34567"]
                             ^
hint: knock softly
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
	if d := (&Policy{}).Diagnose("mode", Error, "x", ""); d.String() != ": error: x" {
		t.Errorf("of no file: %q", d)
	}
}

// The index gives the same positions as counting does.
func TestSourcePositions(t *testing.T) {
	text := strings.Repeat("é€😀a\tb", 100) + "\r\n\n" + strings.Repeat("x", 1000) + "\n" + strings.Repeat("ü", 300) + "\xff\x80\x80" + strings.Repeat("\x80", 600) + "y\nend"
	s := newSource("p", []byte(text))
	line, column := 1, 1
	for i, r := range []byte(text) {
		if r&0xc0 == 0x80 {
			continue // in the middle of a character, or no character at all
		}
		at := s.position(i)
		if at != (Position{line, column}) {
			t.Fatalf("offset %d is at %v, want %d:%d", i, at, line, column)
		}
		if r != '\n' && r != '\r' {
			if back := s.offsetInLine(at); back != i {
				t.Fatalf("%v is at offset %d, want %d", at, back, i)
			}
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	if at := s.position(len(text) + 5); at.Line != 5 || at.Column != 4 {
		t.Errorf("beyond the end: %v", at)
	}
	for _, at := range []Position{{-1, 1}, {6, 1}, {5, 1000}, {1, 100000}} {
		s.excerpt(at)
	}
}
