package tirl_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFaultsAreTried: each row of the table of faults names tests that there are.
func TestFaultsAreTried(t *testing.T) {
	tests := testsIn(t, "internal/*/*_test.go", "internal/*/*/*_test.go", "spec/*_test.go", "spec/*/*_test.go", "dist/*_test.go")
	namedTests(t, "docs/safety.md", "| fault |", tests)
}

// TestAttacksAreTold: each row of the table of attacks names tests that there
// are, and each attack is in a row.
func TestAttacksAreTold(t *testing.T) {
	tests := testsIn(t, "attack/*_test.go")
	named := namedTests(t, "docs/security.md", "| attack |", tests)
	for _, name := range tests {
		if name != "TestMain" && !slices.Contains(named, name) {
			t.Errorf("docs/security.md does not tell what came of %s", name)
		}
	}
}

// testsIn lists the tests in some files.
func testsIn(t *testing.T, patterns ...string) []string {
	t.Helper()
	var tests []string
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(source, -1) {
				tests = append(tests, string(m[1]))
			}
		}
	}
	return tests
}

// namedTests gives the tests that a table names. Each row has to name some, and
// only such as there are.
func namedTests(t *testing.T, file, header string, tests []string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), header)
	var named []string
	rows := 0
	for _, row := range strings.Split(table, "\n")[2:] {
		if !strings.HasPrefix(row, "|") {
			break
		}
		rows++
		names := regexp.MustCompile("`(Test\\w+)[/`]").FindAllStringSubmatch(row, -1)
		if len(names) == 0 {
			t.Errorf("no test: %s", row)
		}
		for _, n := range names {
			named = append(named, n[1])
			if !slices.Contains(tests, n[1]) {
				t.Errorf("there is no %s: %s", n[1], row)
			}
		}
	}
	if rows < 10 {
		t.Errorf("%s has only %d rows", file, rows)
	}
	return named
}
