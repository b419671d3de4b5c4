package xtables

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/verify/ruleset"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// What a text says is what iptables-save says of a kernel that it was loaded
// into.
func TestSaved(t *testing.T) {
	texts := rendered(t)
	texts["every rule"] = Join(every(rules4()), every(rules6()))
	for _, variant := range []string{"legacy", "nft"} {
		for name, text := range texts {
			t.Run(variant+"/"+name, func(t *testing.T) {
				t.Parallel()
				written, err := Parse(text, ruleset.Both)
				if err != nil {
					t.Fatal(err)
				}
				k := newKernel(t, variant)
				at := strings.Index(text, header6)
				saved := k.load("iptables", text[:at]) + k.load("ip6tables", text[at:])
				kept, err := Parse(saved, ruleset.Both)
				if err != nil {
					t.Fatal(err)
				}
				if !ruleset.Equal(written, kept) {
					t.Error(cmp.Diff(dump(written.Canonical()), dump(kept.Canonical())))
				}
			})
		}
	}
}

// A shell that runs a script makes of it what is read.
func TestScriptRun(t *testing.T) {
	for _, variant := range []string{"legacy", "nft"} {
		for name, text := range map[string]string{"reference": read(t, "../../demo/reference.sh"), "script": someScript} {
			t.Run(variant+"/"+name, func(t *testing.T) {
				t.Parallel()
				text := regexp.MustCompile(`(?m)\b(ip6?tables)(\s|")`).ReplaceAllString(text, "$1-"+variant+"$2")
				read, err := ParseScript(text)
				if err != nil {
					t.Fatal(err)
				}
				k := newKernel(t, variant)
				k.run("", "bash", "-c", text)
				kept, err := Parse(k.run("", "iptables-"+variant+"-save")+k.run("", "ip6tables-"+variant+"-save"), ruleset.Both)
				if err != nil {
					t.Fatal(err)
				}
				if !ruleset.Equal(read, kept) {
					t.Error(cmp.Diff(dump(read.Canonical()), dump(kept.Canonical())))
				}
			})
		}
	}
}

// every makes one text of all rules. Some cannot be in a base chain.
func every(all []ruleCase) string {
	var b strings.Builder
	b.WriteString("*filter\n:ALL - [0:0]\n:NEXT - [0:0]\n-A INPUT -j ALL\n")
	for _, c := range all {
		// iptables-nft takes this for every port (v1.8.9 to save, and to load).
		if !strings.Contains(c.rule, "! --dport 0:65535") {
			b.WriteString("-A ALL " + c.rule + "\n")
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// kernel is a namespace with one variant of the tools.
type kernel struct {
	*testing.T
	space   *lab.Namespace
	variant string
}

func newKernel(t *testing.T, variant string) *kernel {
	t.Helper()
	labtest.Require(t)
	if _, err := exec.LookPath("iptables-" + variant); err != nil {
		if os.Getenv(labtest.RequireEnv) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return &kernel{t, n, variant}
}

// load puts a text into the kernel and gives what it then has.
func (k *kernel) load(tool, text string) string {
	k.Helper()
	k.run(text, tool+"-"+k.variant+"-restore")
	return k.run("", tool+"-"+k.variant+"-save", "-c")
}

func (k *kernel) run(stdin, name string, args ...string) string {
	k.Helper()
	out, err := k.space.Run(k.Context(), stdin, name, args...)
	if err != nil {
		k.Fatal(err)
	}
	return out
}
