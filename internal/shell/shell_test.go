package shell

import (
	"fmt"
	"strings"
	"testing"
)

// brief writes a line as its parts: words in brackets, an open one with a ~.
func brief(l Line) string {
	var b strings.Builder
	for _, c := range l.Commands {
		b.WriteString(c.After)
		for _, w := range c.Words {
			mark := ""
			if w.Open {
				mark = "~"
			}
			fmt.Fprintf(&b, "[%s%s]", mark, w.Text)
		}
	}
	return b.String() + l.Comment
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"", ""},
		{"  ", ""},
		{"iptables -I INPUT", "[iptables][-I][INPUT]"},
		{"a;b ; c&&d||e|f&g", "[a];[b];[c]&&[d]||[e]|[f]&[g]"},
		{"a &", "[a]"},
		{"a;", "[a]"},
		{"a\nb\n\nc", "[a];[b];[c]"},
		{`a 'b c' "d e" f\ g`, "[a][b c][d e][f g]"},
		{`a "b\"c\\d\e" 'f"g'`, `[a][b"c\d\e][f"g]`},
		{`a""b ''`, "[ab][]"},
		{"a # b; c", "[a]# b; c"},
		{"a#b", "[a#b]"},
		{"a $b ${c d} $(e (f) g) `h i` \"$j\" '$k'", "[a][~$b][~${c d}][~$(e (f) g)][~`h i`][~$j][$k]"},
		{"a * b?", "[a][~*][~b?]"},
		{"a >/dev/null 2>&1 b", "[a][b]"},
		{"a 12 >x", "[a][12]"},
		{"a &>x; b", "[a];[b]"},
		{"a < x", "[a]"},
		{`a \`, "[a][]"},
		{"a { b }", "[a][{][b][}]"},
	} {
		got, err := Split(c.line)
		if err != nil || brief(got) != c.want {
			t.Errorf("%q: %s, %v, want %s", c.line, brief(got), err, c.want)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"if a; then b; fi": `0 uses "if" of the shell's language`,
		"a; while b; do c": `3 uses "while" of the shell's language`,
		"! a":              `0 uses "!" of the shell's language`,
		"{ a; }":           `0 uses "{" of the shell's language`,
		"(a)":              "0 has a subshell or a function",
		"f() a":            "1 has a subshell or a function",
		"a 'b":             "2 has a quote without end",
		`a "b`:             "2 has a quote without end",
		"a $(b":            "2 has an expansion without end",
		"a `b":             "2 has an expansion without end",
		"a ${b":            "2 has an expansion without end",
		"a <<x":            "2 has a here-document",
		"a >":              "2 has a redirection to nowhere",
		">a b":             "0 begins with a redirection",
		"a && ":            `5 has nothing behind "&&"`,
		"a && ; b":         `5 has nothing in front of ";"`,
		"| a":              `0 has nothing in front of "|"`,
		"a;; b":            `2 has nothing in front of ";"`,
	} {
		_, err := Split(line)
		e, ok := err.(*Error)
		if !ok || fmt.Sprintf("%d %s", e.At, e.Text) != want {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

func TestUnwrap(t *testing.T) {
	for line, want := range map[string]string{
		"/sbin/iptables -L":                    "[/sbin/iptables][-L]",
		"sudo iptables -L":                     "[iptables][-L]",
		"sudo -n -u root -- /sbin/iptables -L": "[/sbin/iptables][-L]",
		"LC_ALL=C A= nice -n 5 iptables -L":    "[iptables][-L]",
		"env -i PATH=/sbin iptables":           "[iptables]",
		"sh -c 'a; sudo b \"c d\"'":            "[a];[b][c d]",
		"/bin/bash -ec 'sh -c \"a b\"'":        "[a][b]",
		"sh script":                            "[sh][script]",
		"sh -c $x":                             "[sh][-c][~$x]",
		"sudo":                                 "[sudo]",
		"=x a":                                 "[=x][a]",
		"1x=y a":                               "[1x=y][a]",
		"A=1":                                  "[A=1]",
	} {
		l, err := Split(line)
		if err != nil {
			t.Fatal(err)
		}
		commands, err := Unwrap(l.Commands[0])
		if got := brief(Line{Commands: commands}); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", line, got, err, want)
		}
	}
	l, _ := Split("sh -c 'if a'")
	if _, err := Unwrap(l.Commands[0]); err == nil {
		t.Error("the language inside is not refused")
	}
}

func TestName(t *testing.T) {
	l, err := Split("/usr/sbin/ufw allow; $UFW allow")
	if err != nil || l.Commands[0].Name() != "ufw" || l.Commands[1].Name() != "" || l.Commands[0].Open() || !l.Commands[1].Open() {
		t.Errorf("%+v %v", l, err)
	}
}

// FuzzSplit: what is split stands in the line, in order, and never more than once.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a 'b c' && d | e >f 2>&1; g # h", "sh -c \"a $(b)\"", "a & b || c\\ d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		l, err := Split(line)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.At < 0 || e.At > len(line) {
				t.Fatalf("%#v", err)
			}
			return
		}
		end := 0
		for _, c := range l.Commands {
			if c.At < end || c.End > len(line) || line[c.At:c.End] != c.Text || len(c.Words) == 0 || c.Words[0].At != c.At {
				t.Fatalf("%+v in %q", c, line)
			}
			end = c.End
			if _, err := Unwrap(c); err != nil {
				if _, ok := err.(*Error); !ok {
					t.Fatal(err)
				}
			}
		}
	})
}
