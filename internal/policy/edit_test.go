package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2/unstable"
	"pgregory.net/rapid"

	"tirl/internal/port"
)

func knocksOf(t testing.TB, words string) []port.Port {
	t.Helper()
	var all []port.Port
	for _, w := range strings.Fields(words) {
		k, err := port.Parse(w)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	return all
}

func TestSetKnocks(t *testing.T) {
	const three = "udp/4001 tcp/5002 udp/6003"
	for _, c := range []struct{ name, text, knocks, want string }{
		{
			"one line",
			"# a\n[door.ssh] # b\nopens  = [\"tcp/22\"]\nknocks = [ 'udp/1', \"udp/2\" ] # c\nopen_for = \"5s\"\n\n[door.b]\nknocks = []\n", three,
			"# a\n[door.ssh] # b\nopens  = [\"tcp/22\"]\nknocks = [\"udp/4001\", \"tcp/5002\", \"udp/6003\"] # c\nopen_for = \"5s\"\n\n[door.b]\nknocks = []\n",
		},
		{
			"several lines, as many knocks",
			"[door.ssh]\nknocks = [ # a\n\t'udp/1' , # b ]\n\t# c\n\t\"udp/2\",   \"\"\"udp/3\"\"\"\n\t] # d\n", three,
			"[door.ssh]\nknocks = [ # a\n\t\"udp/4001\" , # b ]\n\t# c\n\t\"tcp/5002\",   \"udp/6003\"\n\t] # d\n",
		},
		{
			"fewer",
			"[door.ssh]\n  knocks = [ # a\n    \"udp/1\", # b\n    # c\n    \"udp/2\", \"udp/3\", # d\n    \"udp/4\" # e\n    # f\n  ] # g\n", "udp/9 udp/8",
			"[door.ssh]\n  knocks = [ # a\n    \"udp/9\", # b\n    # c\n    \"udp/8\",\n    # d\n    # e\n    # f\n  ] # g\n",
		},
		{
			"more",
			"[door.ssh]\nknocks = [\n  \"udp/1\", # a\n  \"udp/2\" # b\n  # c\n]\n", three,
			"[door.ssh]\nknocks = [\n  \"udp/4001\", # a\n  \"tcp/5002\", # b\n  \"udp/6003\",\n  # c\n]\n",
		},
		{
			"none yet in the array",
			"[door.ssh]\nknocks = [ # soon\n]\n", "udp/9",
			"[door.ssh]\nknocks = [ # soon\n  \"udp/9\",\n]\n",
		},
		{
			"none yet",
			"[door.ssh]\r\n  opens  = [\"tcp/22\", # a\r\n  ] # b\r\n  from = [\"10.0.0.0/8\"]\r\n", "udp/9 udp/8",
			"[door.ssh]\r\n  opens  = [\"tcp/22\", # a\r\n  ] # b\r\n  knocks = [\"udp/9\", \"udp/8\"]\r\n  from = [\"10.0.0.0/8\"]\r\n",
		},
		{"nothing yet", "[door.ssh]", "udp/9", "[door.ssh]\nknocks = [\"udp/9\"]\n"},
		{
			"inline table", "door.ssh = { opens = ['tcp/22'], knocks = ['udp/1'] }\n", "udp/9",
			"door.ssh = { opens = ['tcp/22'], knocks = [\"udp/9\"] }\n",
		},
		{"dotted", "door.ssh.knocks = ['udp/1']", "udp/9", "door.ssh.knocks = [\"udp/9\"]"},
		{
			"too long for a line", "[door.ssh]\n knocks = []\n", "udp/10001 udp/10002 udp/10003 udp/10004 udp/10005 udp/10006 udp/10007 udp/10008",
			"[door.ssh]\n knocks = [\n   \"udp/10001\",\n   \"udp/10002\",\n   \"udp/10003\",\n   \"udp/10004\",\n   \"udp/10005\",\n   \"udp/10006\",\n   \"udp/10007\",\n   \"udp/10008\",\n ]\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ds := SetKnocks("policy.toml", []byte(c.text), "ssh", knocksOf(t, c.knocks))
			if len(ds) > 0 {
				t.Fatal(ds)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSetKnocksRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[door.a]\n[door.b]\n", `policy.toml: error: there is no door "ssh"`},
		{"mode = 'guard'\n", `policy.toml: error: there is no door "ssh"`},
		{"door = 1\n", `policy.toml: error: there is no door "ssh"`},
		{"[door.ssh]\nknocks = 'udp/1'\n", "policy.toml:2:1: error: knocks is not an array of strings"},
		{"[door.ssh]\nknocks = ['udp/1', 2]\n", "policy.toml:2:1: error: knocks is not an array of strings"},
		{"[door.ssh]\nknocks = [['udp/1']]\n", "policy.toml:2:1: error: knocks is not an array of strings"},
		{"[door.ssh.knocks]\n", "policy.toml:1:11: error: knocks is not an array of strings"},
		{"door.ssh = { opens = [] }\n", `policy.toml:1:6: error: door "ssh" has no knocks, and is no table of its own`},
		{"[door.ssh]\nknocks = [\n", "policy.toml:2:11: error: array is incomplete"},
	} {
		got, ds := SetKnocks("policy.toml", []byte(c.text), "ssh", knocksOf(t, "udp/9"))
		if got != nil || len(ds) != 1 || ds[0].String() != c.want {
			t.Errorf("%q: %q, %v, want %s", c.text, got, ds, c.want)
		}
	}
}

// Whatever the text, it has the knocks afterwards, and everything else that it
// had: no comment, key or value is lost or moved.
func TestSetKnocksProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := sloppyText(t)
		if rapid.Bool().Draw(t, "door") {
			text += "\n[door.'c']\nknocks = [ # é\n" + rapid.SampledFrom([]string{"", "'udp/1'", "'udp/1' # [\n, \"udp/2\", # f\n"}).Draw(t, "old") + "]\n"
		}
		var knocks []port.Port
		for _, n := range rapid.SliceOfN(rapid.Uint16Min(1), 1, 16).Draw(t, "knocks") {
			knocks = append(knocks, port.Port{Proto: port.UDP, Number: n})
		}
		before, ds := tokens([]byte(text))
		if ds.HasErrors() {
			return
		}
		for _, door := range []string{"a", "b", "c"} {
			got, ds := SetKnocks("policy.toml", []byte(text), door, knocks)
			if len(ds) > 0 {
				continue
			}
			after, ds := tokens(got)
			if ds.HasErrors() {
				t.Fatalf("%v in\n%s\nmade of\n%s", ds, got, text)
			}
			if diff := cmp.Diff(without(before, door), without(after, door)); diff != "" {
				t.Fatalf("door %s: more than its knocks has changed (-before +after):\n%s\nin\n%s\nmade of\n%s", door, diff, got, text)
			}
			if want := knockText(knocks); after["door."+door+".knocks"] != want {
				t.Fatalf("door %s: knocks %s, want %s in\n%s\nmade of\n%s", door, after["door."+door+".knocks"], want, got, text)
			}
			again, ds := SetKnocks("policy.toml", got, door, knocks)
			if len(ds) > 0 || string(again) != string(got) {
				t.Fatalf("the same knocks again change\n%s\nto\n%s", got, again)
			}
		}
	})
}

func knockText(knocks []port.Port) string {
	words := make([]string, len(knocks))
	for i, k := range knocks {
		words[i] = k.String()
	}
	return strings.Join(words, " ")
}

// tokens reads a text as keys with what they hold, and its comments in their order.
func tokens(text []byte) (map[string]string, Diagnostics) {
	all := map[string]string{}
	r := newReporter(newSource("policy.toml", text))
	var walk func(path string, t *table)
	walk = func(path string, t *table) {
		for _, e := range t.entries {
			full := join(path, e.name)
			words := []string{e.value.text}
			for _, v := range e.value.elems {
				words = append(words, v.text)
			}
			all[full] = strings.TrimSpace(strings.Join(words, " "))
			if e.table != nil {
				walk(full, e.table)
			}
		}
	}
	walk("", readDocument(r))
	if r.hasErrors() {
		return nil, r.done()
	}
	var comments []string
	var look func(n *unstable.Node)
	look = func(n *unstable.Node) {
		if n.Kind == unstable.Comment {
			comments = append(comments, trimComment(n.Data))
		}
		for it := n.Children(); it.Next(); {
			look(it.Node())
		}
	}
	expressions(r, true, func(p *unstable.Parser, _ int) {
		look(p.Expression())
		if behind := commentBehind(p.Expression()); behind != "" {
			comments = append(comments, behind)
		}
	}, func() {})
	all["#"] = strings.Join(comments, "\n")
	return all, nil
}

// without leaves the knocks of a door out.
func without(all map[string]string, door string) map[string]string {
	rest := map[string]string{}
	for k, v := range all {
		if k != "door."+door+".knocks" {
			rest[k] = v
		}
	}
	return rest
}
