package policy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// documented gives the keys that a manual describes, by table.
func documented(t *testing.T, page string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../man/" + page)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`^\.Ss (?:\[(.*)\]|Top level)`)
	key := regexp.MustCompile(`^\.It Ic (\w+) No = `)
	keys, in := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		if m := table.FindStringSubmatch(line); m != nil {
			in = m[1]
		}
		if m := key.FindStringSubmatch(line); m != nil {
			keys[in] = append(keys[in], m[1])
		}
	}
	return keys
}

// known collects the keys of the tables that a text has, by making it a mistake
// in each of them. Tables are no keys.
func known(t *testing.T, parse func(hint func(path, key string, known []string) string), name *regexp.Regexp, tables ...string) map[string][]string {
	t.Helper()
	keys := map[string][]string{}
	parse(func(path, _ string, known []string) string {
		path = name.ReplaceAllString(path, "$1.NAME")
		for _, k := range known {
			if !slices.Contains(tables, k) {
				keys[path] = append(keys[path], k)
			}
		}
		return ""
	})
	return keys
}

// sorted has what is compared in one order.
func sorted(keys map[string][]string) map[string][]string {
	for _, list := range keys {
		slices.Sort(list)
	}
	return keys
}

func TestManualOfPolicy(t *testing.T) {
	tables := []string{"firewall", "knocking", "log", "boot", "door", "users"}
	text := "x_ = 1\n"
	for _, name := range append(slices.Clone(tables[:4]), "door.a", "door.a.users.a") {
		text += "[" + name + "]\nx_ = 1\n"
	}
	want := known(t, func(hint func(path, key string, known []string) string) {
		src := newSource("policy.toml", []byte(text))
		p := defaults(src)
		d := &decoder{reader: reader{newReporter(src), p.places, hint}, policy: p}
		d.decodeRoot(readDocument(d.r))
	}, regexp.MustCompile(`\b(door|users)\.a\b`), tables...)
	if diff := cmp.Diff(sorted(want), sorted(documented(t, "tirl-policy.5"))); diff != "" {
		t.Errorf("keys of a policy, - and of its manual, +:\n%s", diff)
	}
	if len(want) != len(tables)+1 {
		t.Errorf("%d tables: %v", len(want), want)
	}
}

func TestManualOfHosts(t *testing.T) {
	text := "[host.a]\nx_ = 1\n[host.a.door.a]\nx_ = 1\n"
	want := known(t, func(hint func(path, key string, known []string) string) {
		src := newSource("hosts.toml", []byte(text))
		d := &hostsDecoder{reader: reader{newReporter(src), newPlaces(src), hint}, named: map[string]int{}}
		d.fields("", readDocument(d.r), []field{{"host", d.decodeHosts}})
	}, regexp.MustCompile(`\b(host|door)\.a\b`), "door")
	if diff := cmp.Diff(sorted(want), sorted(documented(t, "tirl-knock.1"))); diff != "" {
		t.Errorf("keys of a hosts file, - and of its manual, +:\n%s", diff)
	}
	if len(want) != 2 {
		t.Errorf("%d tables: %v", len(want), want)
	}
}
