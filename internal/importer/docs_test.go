package importer

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/knockd"
	"tirl/internal/policy"
)

// What docs/from-knockd.md shows is what comes out, remarks aside.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/from-knockd.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(lang string) string {
		_, rest, ok := strings.Cut(string(text), "\n```"+lang+"\n")
		if !ok {
			t.Fatalf("there is no example in %s", lang)
		}
		inside, _, _ := strings.Cut(rest, "```")
		return inside
	}
	c, found := knockd.Parse("knockd.conf", []byte(block("ini")))
	if c == nil {
		t.Fatal(found)
	}
	r := Knockd("knockd.conf", c, nil)
	if r.Left != 1 {
		t.Errorf("%d left, and it should be logger alone", r.Left)
	}
	var lines []string
	for line := range strings.Lines(string(r.Text)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	plain, _ := policy.Format("policy.toml", []byte(strings.Join(lines, "")))
	if diff := cmp.Diff(block("toml"), string(plain)); diff != "" {
		t.Errorf("the example (-docs +import):\n%s", diff)
	}
}
