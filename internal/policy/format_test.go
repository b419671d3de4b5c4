package policy

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2/unstable"
)

// contents lists what a TOML text says, in its order, without its layout: keys,
// values, tables, and comments.
func contents(t *testing.T, text []byte) []string {
	t.Helper()
	var all []string
	var walk func(n *unstable.Node)
	comments := func(n *unstable.Node) {
		all = append(all, "comment "+strings.TrimRight(string(n.Data), " \t"))
		for it := n.Children(); it.Next(); {
			all = append(all, "comment "+strings.TrimRight(string(it.Node().Data), " \t"))
		}
	}
	walk = func(n *unstable.Node) {
		if n.Kind == unstable.Comment {
			comments(n)
			return
		}
		all = append(all, n.Kind.String()+" "+string(n.Data))
		for it := n.Children(); it.Next(); {
			walk(it.Node())
		}
		all = append(all, "end")
	}
	parser := unstable.Parser{KeepComments: true}
	parser.Reset(text)
	for parser.NextExpression() {
		e := parser.Expression()
		walk(e)
		if behind := e.Next(); behind != nil && e.Kind != unstable.Comment {
			comments(behind)
		}
	}
	if err := parser.Error(); err != nil {
		t.Fatalf("no TOML: %v\n%s", err, text)
	}
	return all
}

// sameText checks what holds for every formatted text: it says the same, and
// formatting it again changes nothing.
func sameText(t *testing.T, before, after []byte) {
	t.Helper()
	if diff := cmp.Diff(sortedComments(contents(t, before)), sortedComments(contents(t, after))); diff != "" {
		t.Errorf("the meaning is changed (-before +after):\n%s\n%s", diff, after)
	}
	again, ds := Format("policy.toml", after)
	if len(ds) > 0 {
		t.Fatalf("what was formatted is refused:\n%s", rendered(t, ds))
	}
	if diff := cmp.Diff(string(after), string(again)); diff != "" {
		t.Errorf("not the same the second time (-first +second):\n%s", diff)
	}
	for i, line := range bytes.Split(after, []byte("\n")) {
		if len(line) > 0 && strings.ContainsRune(" \t\r", rune(line[len(line)-1])) {
			t.Errorf("line %d ends in a blank: %q", i+1, line)
		}
	}
	if len(after) > 0 && (after[len(after)-1] != '\n' || bytes.HasSuffix(after, []byte("\n\n")) || after[0] == '\n') {
		t.Errorf("blank lines at the ends: %q", after)
	}
}

// sortedComments moves comments behind everything else, in their own order: a
// comment before a comma or a bracket may move beyond it.
func sortedComments(all []string) []string {
	var rest, comments []string
	for _, s := range all {
		if strings.HasPrefix(s, "comment ") {
			comments = append(comments, s)
		} else {
			rest = append(rest, s)
		}
	}
	return append(rest, comments...)
}

func TestFormatRefusesSyntaxErrors(t *testing.T) {
	got, ds := Format("policy.toml", []byte("mode = guard\n[door.ssh\n"))
	if got != nil || len(ds) != 2 || !ds.HasErrors() {
		t.Errorf("got %q and %v, want two errors", got, ds)
	}
	if ds[1].Pos != (Position{2, 10}) {
		t.Errorf("the second error is at %v", ds[1].Pos)
	}
}

func TestFormatRefusesDeepNesting(t *testing.T) {
	deep := strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1)
	got, ds := Format("policy.toml", []byte("# c\na = "+deep+"\n"))
	if got != nil || len(ds) != 1 || ds[0].Pos != (Position{2, 1}) {
		t.Errorf("got %q and %v, want one error", got, ds)
	}
	if _, ds := Format("policy.toml", []byte("a = "+deep[1:2*maxNesting+1]+"\n")); len(ds) > 0 {
		t.Errorf("%d deep is refused: %v", maxNesting, ds)
	}
}
