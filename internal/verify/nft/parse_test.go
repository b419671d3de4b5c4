package nft

import (
	"path/filepath"
	"testing"
)

// rendered are rulesets that tirl has rendered.
func rendered(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../backend/nftables/testdata/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rulesets: %v", err)
	}
	return files
}
