package explain

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/policy"
	"tirl/internal/sample"
	"tirl/internal/trace"
)

var update = flag.Bool("update", false, "write what the stories are")

// tale reads a policy and a trace and gives their story.
func tale(t *testing.T, file, text, packets string) *Story {
	t.Helper()
	p, found := policy.Parse(file, []byte(text))
	if found.HasErrors() {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	packets, err = sample.Spell(g, packets)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := trace.Parse(file, packets)
	if err != nil {
		t.Fatal(err)
	}
	return Run(g, tr)
}

func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			story := tale(t, file, string(a.Files[0].Data), string(a.Files[1].Data))
			for _, s := range story.Steps {
				told[s.Reason] = true
			}
			if *update {
				a.Files = append(a.Files[:2], txtar.File{Name: "story", Data: []byte(story.String())})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if len(a.Files) != 3 {
				t.Fatal("there is no story (go test -update writes it)")
			}
			if diff := cmp.Diff(string(a.Files[2].Data), story.String()); diff != "" {
				t.Errorf("the story differs (-want +got):\n%s", diff)
			}
		})
	}
	for r, name := range reasons(t) {
		if reasonName(r) == "" {
			t.Errorf("%s has no name", name)
		} else if !told[reasonName(r)] {
			t.Errorf("%s is told in no story", name)
		}
	}
}

// reasons reads the constants of automaton.Reason from its source, so that one
// that is added later is missed here.
func reasons(t *testing.T) map[automaton.Reason]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../automaton/packet.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[automaton.Reason]string)
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		first := g.Specs[0].(*ast.ValueSpec)
		if kind, ok := first.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			continue
		}
		for i, s := range g.Specs {
			all[automaton.Reason(i)] = s.(*ast.ValueSpec).Names[0].Name
		}
	}
	if len(all) < 20 {
		t.Fatalf("found %d reasons", len(all))
	}
	return all
}

// TestEveryReasonHasASentence tells random traces: no packet is left without
// words, or with words that have a hole.
func TestEveryReasonHasASentence(t *testing.T) {
	seen := make(map[string]bool)
	rapid.Check(t, func(t *rapid.T) {
		g := automatontest.Program(t, automatontest.Options{})
		packets := automatontest.Trace(t, g, automatontest.Options{})
		story := Run(g, trace.New(packets))
		if len(story.Steps) != len(packets) {
			t.Fatalf("%d steps of %d packets", len(story.Steps), len(packets))
		}
		for i, s := range story.Steps {
			seen[s.Reason] = true
			if s.Text == "" || strings.Contains(s.Text, "%!") || strings.Contains(s.Text, "  ") || strings.Contains(s.Text, " -") {
				t.Fatalf("packet %d (%s): %q", i, s.Reason, s.Text)
			}
			if (s.Before == nil) != (len(s.Before.doors()) == 0) {
				t.Fatalf("packet %d: a place without doors", i)
			}
		}
	})
	for r, name := range reasons(t) {
		if !seen[reasonName(r)] {
			t.Logf("no random trace had %s: %v", name, slices.Sorted(maps.Keys(seen)))
		}
	}
}

func (p *Place) doors() []string {
	if p == nil {
		return nil
	}
	return p.Doors
}

const shared = `
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/1111", "udp/3333", "udp/2222"]

[door.web]
opens    = ["tcp/8000-8010", "tcp/443"]
knocks   = ["udp/1111", "udp/4444"]
open_for = "2m"
`

func TestJSON(t *testing.T) {
	story := tale(t, "policy.toml", shared, "udp/1111\nudp/4444\nudp/1-99\nudp/1111\nwait 1s\n")
	got, err := json.MarshalIndent(story, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/shared.json"
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

func TestPaint(t *testing.T) {
	mark := func(s string) func(string) string { return func(text string) string { return s + text + s } }
	var b strings.Builder
	story := tale(t, "policy.toml", shared, "tcp/22\nudp/1111\nudp/4444\ntcp/443\n")
	if err := story.Write(&b, Style{Packet: mark("_"), Good: mark("*"), Refused: mark("!")}); err != nil {
		t.Fatal(err)
	}
	const want = `_tcp/22 from 192.0.2.7_: !dropped: door ssh is closed to it; at the start!
_udp/1111 from 192.0.2.7_: knock 1 for doors ssh (of 3) and web (of 2)
_udp/4444 from 192.0.2.7_: *last knock: door web is open for 2m (tcp/443 or tcp/8000-8010)*
_tcp/443 from 192.0.2.7_: *let in: door web is open for another 1m59.9s*

in the end, after 300ms:
  _192.0.2.7_: at the start; door web is open for 1m59.9s more
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestManyDoorsSharePlaces(t *testing.T) {
	var b strings.Builder
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		b.WriteString("[door." + name + "]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1111\", \"udp/3333\", \"udp/900" + string(rune('1'+name[0]-'a')) + "\"]\n")
	}
	story := tale(t, "policy.toml", b.String(), "udp/1111\n")
	if got, want := story.Steps[0].Text, "knock 1 of 3 for doors a, b, c and 3 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
