package diagram

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
)

func TestDOTIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := compile(t, randomPolicy(t))
		got := DOT(g)
		for _, d := range g.Doors {
			if !strings.Contains(got, `label="`+dotEscape(d.Name)) {
				t.Fatalf("no door %q in\n%s", d.Name, got)
			}
		}
		for _, e := range g.Edges() {
			to := fmt.Sprintf("s%d", e.To)
			if !g.Standing(e.To) {
				to = fmt.Sprintf("d%d", e.To)
			}
			if !strings.Contains(got, fmt.Sprintf(`s%d -> %s [label="%s"]`, e.From, to, e.On)) {
				t.Fatalf("no edge %v in\n%s", e, got)
			}
		}
		if !balanced(got) {
			t.Fatalf("a string does not end in\n%s", got)
		}
	})
}

// balanced says whether every line ends outside of quotes, read as Graphviz does.
func balanced(dot string) bool {
	for _, l := range strings.Split(dot, "\n") {
		quoted := false
		for i := 0; i < len(l); i++ {
			switch {
			case l[i] == '\\' && quoted:
				i++
			case l[i] == '"':
				quoted = !quoted
			}
		}
		if quoted {
			return false
		}
	}
	return true
}

func TestMermaidIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := compile(t, randomPolicy(t))
		got := Mermaid(g)
		for _, d := range g.Doors {
			if !strings.Contains(got, `state "`+mermaidEscape(d.Name)) && d.Name != "" {
				t.Fatalf("no door %q in\n%s", d.Name, got)
			}
		}
		for _, e := range g.Edges() {
			if !strings.Contains(got, fmt.Sprintf("%d : %s\n", e.To, e.On)) {
				t.Fatalf("no edge %v in\n%s", e, got)
			}
		}
	})
}

func TestEscapes(t *testing.T) {
	const odd = "a\"b\\l<i>&amp;\n#35; %%\u202e\xff"
	if got, want := dotEscape(odd), `a\"b\\l<i>&amp;amp;`+"\ufffd#35; %%\ufffd\ufffd"; got != want {
		t.Errorf("dot: %q, want %q", got, want)
	}
	if got, want := mermaidEscape(odd), "a#34;b#92;l#60;i#62;#38;amp#59;\ufffd#35;35#59; #37;#37;\ufffd\ufffd"; got != want {
		t.Errorf("mermaid: %q, want %q", got, want)
	}
	if got, want := escape(odd), "a&#34;b\\l&lt;i&gt;&amp;amp;\ufffd#35; %%\ufffd\ufffd"; got != want {
		t.Errorf("svg: %q, want %q", got, want)
	}
}

// area is what a shape covers.
type area struct{ left, top, right, bottom int }

func (a area) overlaps(b area) bool {
	return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

// shapes reads an image strictly and gives its size, its places and doors, and
// its text.
func shapes(svg []byte) (size area, all []area, text string, err error) {
	dec := xml.NewDecoder(bytes.NewReader(svg))
	var b strings.Builder
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return size, all, b.String(), nil
		} else if err != nil {
			return size, nil, "", err
		}
		switch tok := tok.(type) {
		case xml.CharData:
			b.Write(tok)
		case xml.StartElement:
			at := make(map[string]int)
			class := ""
			for _, a := range tok.Attr {
				at[a.Name.Local], _ = strconv.Atoi(a.Value)
				if a.Name.Local == "class" {
					class = a.Value
				}
			}
			switch {
			case tok.Name.Local == "svg":
				size = area{0, 0, at["width"], at["height"]}
			case tok.Name.Local == "rect" && class != "bg":
				all = append(all, area{at["x"], at["y"], at["x"] + at["width"], at["y"] + at["height"]})
			case tok.Name.Local == "circle":
				r := at["r"]
				all = append(all, area{at["cx"] - r, at["cy"] - r, at["cx"] + r, at["cy"] + r})
			}
		}
	}
}

func TestSVGIsCompleteAndNothingOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := compile(t, randomPolicy(t))
		size, all, text, err := shapes(SVG(g))
		if err != nil {
			t.Fatal(err)
		}
		want := 1 + len(g.Doors) // the start and the doors
		for s := range g.Places {
			if g.Standing(automaton.State(s)) {
				want++
			}
		}
		if len(all) != want {
			t.Fatalf("%d places and doors, want %d", len(all), want)
		}
		for i, a := range all {
			if a.left < 0 || a.top < 0 || a.right > size.right || a.bottom > size.bottom {
				t.Fatalf("%v is outside of %v", a, size)
			}
			for _, b := range all[:i] {
				if a.overlaps(b) {
					t.Fatalf("%v overlaps %v", a, b)
				}
			}
		}
		for _, d := range g.Doors {
			if !strings.Contains(text, oneLine(d.Name)+" opens ") {
				t.Fatalf("door %q is not described in\n%s", d.Name, text)
			}
		}
		for _, e := range g.Edges() {
			if !strings.Contains(text, e.On.String()) {
				t.Fatalf("no knock %s", e.On)
			}
		}
	})
}

// A browser must have nothing to run and nothing to load.
func TestSVGIsSelfContained(t *testing.T) {
	evil := guard(timed(`<script>alert(1)</script>" onload="x`, tcp(22), time.Minute, 7, 8))
	all := policies()
	all["evil"] = evil
	for name, p := range all {
		svg := string(SVG(compile(t, p)))
		for _, bad := range []string{"<script", "href", "url(", "@import", "@font-face", "<image", "<foreignObject", ` onload="`} {
			if strings.Contains(svg, bad) {
				t.Errorf("%s: %q in the image", name, bad)
			}
		}
		if !strings.Contains(svg, "prefers-color-scheme: dark") {
			t.Errorf("%s: no dark style", name)
		}
	}
}

func TestDescriptionIsBounded(t *testing.T) {
	_, _, text, err := shapes(SVG(compile(t, many())))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "And 20 doors more. Anything else: back to start.") {
		t.Errorf("the description does not say what it leaves out:\n%s", text)
	}
}

func TestNoDoor(t *testing.T) {
	g := compile(t, guard())
	if _, all, _, err := shapes(SVG(g)); err != nil || len(all) != 1 {
		t.Errorf("%d shapes, %v; want the start alone", len(all), err)
	}
	for _, picture := range []string{DOT(g), Mermaid(g)} {
		if !strings.Contains(picture, "start") || strings.Contains(picture, "s1") {
			t.Errorf("want the start alone:\n%s", picture)
		}
	}
}

// Every picture of a large policy takes time in proportion to it.
func TestTenThousandDoors(t *testing.T) {
	p := guard()
	for i := range uint16(10000) {
		d := timed(fmt.Sprint("door", i), tcp(22), 30*time.Second, 10000+i%100, 20000+i%1000, 30000+i)
		p.Doors = append(p.Doors, d)
	}
	g := compile(t, p)
	start := time.Now()
	if n := strings.Count(Text(g, TextOptions{}), "\n"); n > 30 {
		t.Errorf("%d lines of text", n)
	}
	for _, picture := range []string{DOT(g), Mermaid(g), string(SVG(g))} {
		if !strings.Contains(picture, "door9999") {
			t.Error("the last door is missing")
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestSameBytes(t *testing.T) {
	for name := range policies() {
		a, b := compile(t, policies()[name]), compile(t, policies()[name])
		if DOT(a) != DOT(b) || Mermaid(a) != Mermaid(b) || !bytes.Equal(SVG(a), SVG(b)) || Text(a, TextOptions{}) != Text(b, TextOptions{}) {
			t.Errorf("%s: two runs differ", name)
		}
	}
}
