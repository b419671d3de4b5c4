package xtables

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"tirl/internal/verify/ruleset"
)

// rendered gives what the backend renders, by the name of its test.
func rendered(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../backend/iptables/testdata/*.txtar")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	all := make(map[string]string)
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, part := range a.Files {
			if strings.HasSuffix(part.Name, "tables") {
				fmt.Fprintf(&b, "# %s, loaded with something\n%s\n", part.Name, part.Data)
			}
		}
		all[filepath.Base(f)] = b.String()
	}
	return all
}

// Whatever the backend renders can be written back as it was, but for what
// changes nothing: each rule is in the right chain, and no word of it is lost.
func TestRendered(t *testing.T) {
	for name, text := range rendered(t) {
		r, err := Parse(text, ruleset.Both)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := make(map[int]string)
		for i, c := range r.Chains {
			for _, rule := range c.Rules {
				got[rule.Line] = c.Name + ": " + strings.Join(write(r, isV6(r, i), rule.Statements), " ")
			}
		}
		want := make(map[int]string)
		line := 0
		for text := range strings.Lines(text) {
			line++
			if words, _ := new(splitter).split(line, strings.TrimSpace(text)); len(words) > 0 && (words[0] == "-A" || words[0] == "-I") {
				want[line] = words[1] + ": " + strings.Join(essence(words[2:]), " ")
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) < 50 {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// isV6 relies on the order of the two hooks.
func isV6(r *ruleset.Ruleset, chain int) bool {
	return len(r.Hooks) > 1 && chain >= r.Hooks[1].Chain
}

// essence gives the words of a rule that mean something, those of the header in
// front.
func essence(words []string) []string {
	var header, rest []string
	not := ""
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "1", w == "--rsource", strings.HasPrefix(w, "--log"):
		case w == "!":
			not = "! "
			continue
		case w == "-m" && (words[i+1] == "recent" || words[i+1] == "limit" || words[i+1] == "hashlimit"):
			rest = append(rest, words[i+1])
			i++
		case w == "-m", w == "--comment", strings.HasPrefix(w, "--hashlimit-htable-") && w != "--hashlimit-htable-expire",
			w == "--hashlimit-mode":
			i++
		case w == "-p":
			n, _ := protoNumber(words[i+1])
			header = append(header, fmt.Sprint(not, "-p ", n))
			i++
		case w == "-i" || w == "-s":
			header = append(header, not+w+" "+words[i+1])
			i++
		case w == "--name" || w == "--hashlimit-name":
			rest = slices.Insert(rest, 1+lastIndex(rest, "recent", "hashlimit"), words[i+1])
			i++
		case w == "--mask" && words[i+1] == "255.255.255.255":
			i++
		case w[0] == '-':
			rest = append(rest, not+w)
		case strings.HasPrefix(w, "icmp-port") || strings.HasPrefix(w, "icmp6-port"):
			rest = append(rest, "port")
		case len(rest) == 0 || i > 0 && strings.HasPrefix(words[i-1], "--log"):
		default:
			rest = append(rest, w)
		}
		not = ""
	}
	slices.Sort(header)
	return append(header, rest...)
}

func lastIndex(all []string, of ...string) int {
	for i := len(all) - 1; i >= 0; i-- {
		if slices.Contains(of, all[i]) {
			return i
		}
	}
	return -1
}

// write is the way back from statements to words.
func write(r *ruleset.Ruleset, v6 bool, statements []ruleset.Statement) []string {
	var header, rest []string
	for _, s := range statements {
		switch s := s.(type) {
		case ruleset.Match:
			if words := writeMatch(s, v6); s.Attr == ruleset.Iface || s.Attr == ruleset.Src || s.Attr == ruleset.Proto {
				header = append(header, strings.Join(words, " "))
			} else {
				rest = append(rest, words...)
			}
		case ruleset.Lookup:
			op := "--rcheck"
			if s.Touch {
				op = "--update"
			}
			rest = append(rest, "recent", r.Sets[s.Set].Name, not(s.Not)+op)
			if s.Within > 0 {
				rest = append(rest, "--seconds", fmt.Sprint(int(s.Within/time.Second)))
			}
			if s.SameTTL {
				rest = append(rest, "--rttl")
			}
			if s.Hits > 0 {
				rest = append(rest, "--hitcount", fmt.Sprint(s.Hits))
			}
			rest = append(rest, writeMask(s.Key)...)
		case ruleset.Write:
			op := map[ruleset.WriteOp]string{ruleset.Mark: "--set", ruleset.Remove: "--remove"}[s.Op]
			rest = append(append(rest, "recent", r.Sets[s.Set].Name, not(s.Not)+op), writeMask(s.Key)...)
		case ruleset.HashLimit:
			rest = append(rest, "hashlimit", s.Name, "--hashlimit-above", fmt.Sprintf("%d/sec", s.Limit.Count),
				"--hashlimit-burst", fmt.Sprint(s.Limit.Burst))
			if s.Key[0].Bits == 64 {
				rest = append(rest, "--hashlimit-srcmask", "64")
			}
			rest = append(rest, "--hashlimit-htable-expire", fmt.Sprint(s.Expire.Milliseconds()))
		case ruleset.GlobalLimit:
			rest = append(rest, "limit", "--limit", fmt.Sprintf("%d/sec", s.Limit.Count), "--limit-burst", fmt.Sprint(s.Limit.Burst))
		case ruleset.Note:
			rest = append(rest, "-j", s.Text)
		case ruleset.Do:
			rest = append(rest, writeVerdict(r, s)...)
		}
	}
	slices.Sort(header)
	return append(header, rest...)
}

func not(yes bool) string {
	if yes {
		return "! "
	}
	return ""
}

func writeMask(key []ruleset.Field) []string {
	if key[0].Bits == 64 {
		return []string{"--mask", "ffff:ffff:ffff:ffff::"}
	}
	return nil
}

func writeVerdict(r *ruleset.Ruleset, s ruleset.Do) []string {
	switch s.Verdict {
	case ruleset.Jump:
		return []string{"-j", r.Chains[s.Chain].Name}
	case ruleset.Goto:
		return []string{"-g", r.Chains[s.Chain].Name}
	case ruleset.RejectReset:
		return []string{"-j", "REJECT", "--reject-with", "tcp-reset"}
	case ruleset.RejectPort:
		return []string{"-j", "REJECT", "--reject-with", "port"}
	}
	return []string{"-j", strings.ToUpper(verdict(s.Verdict))}
}

func writeMatch(m ruleset.Match, v6 bool) []string {
	n := not(m.Not)
	bits := func(set int, names ...string) string {
		var all []string
		for i, name := range names {
			if set>>i&1 == 1 {
				all = append(all, name)
			}
		}
		return strings.Join(all, ",")
	}
	var ranges []string
	for _, r := range m.Ranges {
		if r.First == r.Last {
			ranges = append(ranges, fmt.Sprint(r.First))
		} else {
			ranges = append(ranges, fmt.Sprintf("%d:%d", r.First, r.Last))
		}
	}
	list := strings.Join(ranges, ",")
	many := ""
	if len(ranges) > 1 {
		many = "s"
	}
	switch m.Attr {
	case ruleset.Iface:
		return []string{n + "-i " + m.Names[0]}
	case ruleset.Src:
		return []string{n + "-s " + m.Prefixes[0].String()}
	case ruleset.Proto:
		return []string{n + "-p " + list}
	case ruleset.DPort:
		return []string{n + "--dport" + many, list}
	case ruleset.SPort:
		return []string{n + "--sport" + many, list}
	case ruleset.Conn:
		return []string{n + "--ctstate", bits(int(m.Conns), "NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")}
	case ruleset.Dest:
		return []string{n + "--dst-type", bits(int(m.Dests), "LOCAL", "BROADCAST", "MULTICAST", "ANYCAST", "UNICAST")}
	case ruleset.TCPFlags:
		flags := []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}
		return []string{n + "--tcp-flags", bits(int(m.Mask), flags...), bits(int(m.Value), flags...)}
	case ruleset.ICMPType:
		if v6 {
			return []string{n + "--icmpv6-type", list}
		}
		return []string{n + "--icmp-type", list}
	}
	return []string{"?"}
}

// BenchmarkParse reads what a policy of many doors takes: the guard's text, with
// its rules many times over.
func BenchmarkParse(b *testing.B) {
	text := rendered(b)["guard.txtar"]
	lines := slices.Collect(strings.Lines(text))
	var many strings.Builder
	for _, line := range lines {
		many.WriteString(line)
		if strings.HasPrefix(line, "-A ") {
			for range 20 {
				many.WriteString(line)
			}
		}
	}
	b.SetBytes(int64(many.Len()))
	for b.Loop() {
		if _, err := Parse(many.String(), ruleset.Both); err != nil {
			b.Fatal(err)
		}
	}
}
