package policy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// inputs hands each policy of a directory to f.
func inputs(t *testing.T, dir string, f func(t *testing.T, base string, text []byte)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies in testdata/%s: %v", dir, err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(file, ".toml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f(t, base, text)
		})
	}
}

func rendered(t *testing.T, ds Diagnostics) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := ds.Write(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBadPolicies(t *testing.T) {
	inputs(t, "bad", func(t *testing.T, base string, text []byte) {
		p, ds := Parse("policy.toml", text)
		if p != nil || !ds.HasErrors() {
			t.Fatalf("accepted: %v", ds)
		}
		golden(t, base+".txt", rendered(t, ds))
	})
}

func TestGoodPolicies(t *testing.T) {
	inputs(t, "good", func(t *testing.T, base string, text []byte) {
		p, ds := Parse("policy.toml", text)
		if p == nil || ds.HasErrors() {
			t.Fatalf("refused:\n%s", rendered(t, ds))
		}
		var meaning bytes.Buffer
		p.writeMeaning(&meaning)
		golden(t, base+".txt", append(rendered(t, ds), meaning.Bytes()...))
	})
}

func TestFormatGolden(t *testing.T) {
	inputs(t, "fmt", func(t *testing.T, base string, text []byte) {
		got, ds := Format("policy.toml", text)
		if len(ds) > 0 {
			t.Fatalf("refused:\n%s", rendered(t, ds))
		}
		golden(t, base+".want", got)
		sameText(t, text, got)
	})
}

// Every policy of the test data keeps its meaning and its comments.
func TestFormatTestdata(t *testing.T) {
	for _, dir := range []string{"bad", "good"} {
		inputs(t, dir, func(t *testing.T, base string, text []byte) {
			got, ds := Format("policy.toml", text)
			if ds.HasErrors() {
				if _, own := Parse("policy.toml", text); !own.HasErrors() {
					t.Errorf("refused, but it is a policy:\n%s", rendered(t, ds))
				}
				return
			}
			sameText(t, text, got)
		})
	}
}
