package iptables

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"tirl/internal/automaton"
	"tirl/internal/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// program compiles a policy.
func program(t testing.TB, toml string) *automaton.Program {
	t.Helper()
	p, diags := policy.Parse("policy.toml", []byte(toml))
	if p == nil {
		t.Fatalf("%+v", diags)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// examples gives the policies of the golden files, by name.
func examples(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	all := make(map[string]*txtar.Archive)
	for _, f := range files {
		if all[f], err = txtar.ParseFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func part(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// The kernel's opinion of the golden files is in TestGoldenLoads.
func TestGolden(t *testing.T) {
	for name, a := range examples(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			rs, err := New(nil).Render(program(t, part(a, "policy.toml")))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				a.Files = []txtar.File{{Name: "policy.toml", Data: []byte(part(a, "policy.toml"))}}
				for _, f := range rs {
					a.Files = append(a.Files, txtar.File{Name: f.Name, Data: []byte(f.Text)})
				}
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range rs {
				if diff := cmp.Diff(part(a, f.Name), f.Text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
		})
	}
}

// Each knock's port stands once in the text of a family, as in the recipe.
func TestReferenceNamesEachPortOnce(t *testing.T) {
	a := examples(t)["testdata/reference.txtar"]
	rs, err := New(nil).Render(program(t, part(a, "policy.toml")))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rs {
		for _, port := range []string{"12345", "23456", "34567"} {
			if n := strings.Count(f.Text, "--dport "+port+" "); n != 1 {
				t.Errorf("%s names port %s %d times", f.Name, port, n)
			}
		}
	}
}
