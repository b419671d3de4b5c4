package diagram

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
)

var update = flag.Bool("update", false, "write the golden pictures")

func TestGolden(t *testing.T) {
	mark := map[automaton.State]string{automaton.Root: "192.0.2.7", 1: "198.51.100.23", 2: "2001:db8::1"}
	for name, g := range programs(t) {
		pictures := map[string]string{
			".txt":        Text(g, TextOptions{}),
			".ascii.txt":  Text(g, TextOptions{ASCII: true}),
			".narrow.txt": Text(g, TextOptions{Width: 45}),
			".marked.txt": Text(g, TextOptions{Mark: mark}),
			".dot":        DOT(g),
			".mmd":        Mermaid(g),
			".svg":        string(SVG(g)),
		}
		for kind, got := range pictures {
			t.Run(name+kind, func(t *testing.T) { compare(t, filepath.Join("testdata", name+kind), got) })
		}
	}
}

func compare(t *testing.T, file, got string) {
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}
