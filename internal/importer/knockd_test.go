package importer

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/knockd"
	"tirl/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// configs hands each testdata/knockd/*.conf to f.
func configs(t testing.TB, f func(base string, text []byte)) {
	t.Helper()
	files, err := filepath.Glob("testdata/knockd/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no configurations: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f(strings.TrimSuffix(file, ".conf"), text)
	}
}

func TestKnockd(t *testing.T) {
	configs(t, func(base string, text []byte) {
		t.Run(filepath.Base(base), func(t *testing.T) {
			name := filepath.Base(base) + ".conf"
			config, found := knockd.Parse(name, text)
			if config == nil {
				t.Fatalf("refused: %v", found)
			}
			r := Knockd(name, config, nil)
			sound(t, r)
			golden(t, base+".toml", r.Text)
			var messages bytes.Buffer
			if err := r.Found.Write(&messages, policy.Style{}); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&messages, "%d left\n", r.Left)
			golden(t, base+".txt", messages.Bytes())
		})
	})
}

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

// sound checks what holds of every result: the text is a policy of the usual
// layout, or has no door, and what is left behind is counted.
func sound(t testing.TB, r *Result) {
	t.Helper()
	p, ds := policy.Parse("policy.toml", r.Text)
	if (p == nil) != (r.Policy == nil) {
		t.Fatalf("a policy: %v, and yet:\n%v\n%s", r.Policy != nil, ds, r.Text)
	}
	if p == nil {
		for _, d := range ds {
			if d.Severity == policy.Error && d.Text != "the policy has no door" {
				t.Fatalf("%v in\n%s", d, r.Text)
			}
		}
	} else if diff := cmp.Diff(p.Hash(), r.Policy.Hash()); diff != "" {
		t.Fatalf("another policy:\n%s", r.Text)
	}
	tidy, ds := policy.Format("policy.toml", r.Text)
	if ds.HasErrors() {
		t.Fatalf("no TOML: %v\n%s", ds, r.Text)
	}
	if diff := cmp.Diff(string(tidy), string(r.Text)); diff != "" {
		t.Fatalf("not the usual layout (-tidy +text):\n%s", diff)
	}
	if bytes.Contains(r.Text, []byte("NOT CARRIED OVER")) && r.Left == 0 {
		t.Fatalf("nothing is left:\n%s", r.Text)
	}
}
