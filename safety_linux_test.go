package tirl_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFaultsAreTried: each row of the table of faults names tests that there are.
func TestFaultsAreTried(t *testing.T) {
	text, err := os.ReadFile("docs/safety.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, pattern := range []string{"internal/*/*_test.go", "internal/*/*/*_test.go", "spec/*_test.go", "spec/*/*_test.go"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(source)
		}
	}
	_, table, _ := strings.Cut(string(text), "| fault |")
	rows := 0
	for _, row := range strings.Split(table, "\n")[2:] {
		if !strings.HasPrefix(row, "|") {
			continue
		}
		rows++
		names := regexp.MustCompile("`(Test[A-Za-z]+)[/`]").FindAllStringSubmatch(row, -1)
		if len(names) == 0 {
			t.Errorf("no test: %s", row)
		}
		for _, n := range names {
			if !strings.Contains(code.String(), "func "+n[1]+"(") {
				t.Errorf("there is no %s: %s", n[1], row)
			}
		}
	}
	if rows < 10 {
		t.Errorf("only %d rows", rows)
	}
}
