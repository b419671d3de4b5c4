package importer

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/knockd"
	"tirl/internal/policy"
)

// block gives the first example of a language in a document.
func block(t *testing.T, file, lang string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n```"+lang+"\n")
	if !ok {
		t.Fatalf("%s has no example in %s", file, lang)
	}
	inside, _, _ := strings.Cut(rest, "```")
	return inside
}

// plain is a policy without its remarks.
func plain(r *Result) string {
	var lines []string
	for line := range strings.Lines(string(r.Text)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	text, _ := policy.Format("policy.toml", []byte(strings.Join(lines, "")))
	return strings.TrimLeft(string(text), "\n")
}

// What docs/from-iptables.md shows is what comes out, remarks aside.
func TestDocsRules(t *testing.T) {
	const doc = "from-iptables.md"
	r, err := Rules("knock.sh", []byte(block(t, doc, "iptables")), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(block(t, doc, "toml"), plain(r)); diff != "" {
		t.Errorf("the example (-docs +import):\n%s", diff)
	}
	if told := strings.Join(r.Proof.Told[1:], "\n") + "\n"; told != block(t, doc, "text") {
		t.Errorf("import says\n%s", told)
	}
}

// What docs/from-knockd.md shows is what comes out, remarks aside.
func TestDocs(t *testing.T) {
	const doc = "from-knockd.md"
	c, found := knockd.Parse("knockd.conf", []byte(block(t, doc, "ini")))
	if c == nil {
		t.Fatal(found)
	}
	r := Knockd("knockd.conf", c, nil)
	if r.Left != 1 {
		t.Errorf("%d left, and it should be logger alone", r.Left)
	}
	if diff := cmp.Diff(block(t, doc, "toml"), plain(r)); diff != "" {
		t.Errorf("the example (-docs +import):\n%s", diff)
	}
}
