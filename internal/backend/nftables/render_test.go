package nftables

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
	"tirl/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files")

// compile reads a policy of testdata.
func compile(t testing.TB, file string) *automaton.Program {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return compileText(t, file, string(src))
}

func compileText(t testing.TB, name, src string) *automaton.Program {
	t.Helper()
	p, ds := policy.Parse(name, []byte(src))
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func policies(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies in testdata: %v", err)
	}
	users, err := filepath.Glob("testdata/one-time/*.toml")
	if err != nil || len(users) == 0 {
		t.Fatalf("no policies with users in testdata: %v", err)
	}
	return append(files, users...)
}

func TestRenderGolden(t *testing.T) {
	for _, file := range policies(t) {
		golden := strings.TrimSuffix(file, ".toml") + ".nft"
		got := render(compile(t, file))
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", golden, diff)
		}
	}
}

func TestRenderIsDeterministic(t *testing.T) {
	for _, file := range policies(t) {
		first := render(compile(t, file))
		for range 5 {
			if render(compile(t, file)) != first {
				t.Fatalf("%s gives different bytes", file)
			}
		}
	}
}

func TestEveryRuleHasAComment(t *testing.T) {
	for _, file := range policies(t) {
		rules := 0
		for _, line := range strings.Split(render(compile(t, file)), "\n") {
			if !strings.HasPrefix(line, "\t\t") || strings.HasPrefix(line, "\t\ttype") || !strings.Contains(line, " ") {
				continue
			}
			if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "size ") || strings.HasPrefix(trimmed, "flags ") || strings.HasPrefix(trimmed, "gc-interval ") {
				continue
			}
			rules++
			if !strings.Contains(line, ` comment "`) {
				t.Errorf("%s: no comment: %s", file, line)
			}
		}
		if rules < 40 {
			t.Errorf("%s: only %d rules were looked at", file, rules)
		}
	}
}

// doors writes a policy of n doors to one service.
func doors(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[door.d%d]\nopens = [\"tcp/22\"]\nknocks = [\"udp/%d\", \"udp/%d\", \"udp/%d\", \"udp/%d\"]\n",
			i, 2000+i%251, 20000+i*7%9973, 40000+i/97, 1000+i%977)
	}
	return b.String()
}

func TestRulesDoNotGrowWithDoors(t *testing.T) {
	count := func(n int) int {
		return strings.Count(render(compileText(t, "doors", doors(n))), " comment \"")
	}
	if one, many := count(1), count(3000); one != many {
		t.Errorf("%d rules for one door, %d for 3000", one, many)
	}
}

// Ports stand in sets one by one as long as they are few, public and hidden ones
// together.
func TestRangesOnlyIfWide(t *testing.T) {
	for _, test := range []struct {
		ports string
		want  []string // lines
		n     int      // hidden, one by one
	}{
		{"tcp/8000-9022", []string{"\tmap known {", "\tmap grant_class1 {"}, 1023},
		{"tcp/8000-9023", []string{"\tmap known_ranges {", "\tmap grant_class1 {"}, 0},
		{"tcp/8000-9024", []string{"\tmap known_ranges {", "\tmap grant_class1_ranges {"}, 0},
	} {
		text := render(compileText(t, test.ports, "public = [\"tcp/443\"]\n[door.a]\nopens = [\""+test.ports+
			"\"]\nknocks = [\"udp/1\", \"udp/50\", \"udp/2\"]\n"))
		for _, line := range test.want {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%s: no line %q", test.ports, line)
			}
		}
		want := max(test.n, 1)
		if n := strings.Count(text, " : goto door"); n != want {
			t.Errorf("%s: %d elements lead to the door, want %d", test.ports, n, want)
		}
		if last := "tcp . " + test.ports[len("tcp/8000-"):] + " : goto door"; (test.n > 0) != strings.Contains(text, last) {
			t.Errorf("%s: %q stands there: %v", test.ports, last, test.n == 0)
		}
	}
}

func TestTenThousandDoorsRenderSoon(t *testing.T) {
	g := compileText(t, "doors", doors(10000))
	start := time.Now()
	text := render(g)
	if took := time.Since(start); took > time.Second {
		t.Errorf("rendering took %v", took)
	}
	if len(text) < 10000 {
		t.Errorf("only %d bytes", len(text))
	}
}

// A host that is closed still gets its address.
func TestClosedTakesLeases(t *testing.T) {
	const door = "[door.a]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1\", \"udp/50\", \"udp/2\"]\n"
	for text, want := range map[string]int{
		"mode = \"firewall\"\n" + door:                           1,
		"mode = \"firewall\"\n[firewall]\ndhcp = false\n" + door: 0,
		door: 0,
	} {
		closed := Closed(compileText(t, "closed", text), false)[0].Text
		for _, rule := range []string{"udp sport 67 udp dport 68 accept", "ip6 saddr fe80::/10 udp dport 546 accept"} {
			if n := strings.Count(closed, rule); n != want {
				t.Errorf("%q stands there %d times, want %d:\n%s", rule, n, want, closed)
			}
		}
	}
}
