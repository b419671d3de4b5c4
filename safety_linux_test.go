package tirl_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestClaimsAreTried: each row of these tables names tests that there are.
func TestClaimsAreTried(t *testing.T) {
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
	for _, tt := range []struct {
		file, header string
		least        int
	}{
		{"docs/safety.md", "| fault |", 10},
		{"docs/audit.md", "| who |", 6},
	} {
		text, err := os.ReadFile(tt.file)
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(text), tt.header)
		rows := 0
		for _, row := range strings.Split(table, "\n")[2:] {
			if !strings.HasPrefix(row, "|") {
				break
			}
			rows++
			names := regexp.MustCompile("`(Test[A-Za-z]+)[/`]").FindAllStringSubmatch(row, -1)
			if len(names) == 0 {
				t.Errorf("%s: no test: %s", tt.file, row)
			}
			for _, n := range names {
				if !strings.Contains(code.String(), "func "+n[1]+"(") {
					t.Errorf("%s: there is no %s: %s", tt.file, n[1], row)
				}
			}
		}
		if rows < tt.least {
			t.Errorf("%s: only %d rows", tt.file, rows)
		}
	}
}
