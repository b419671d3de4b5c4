package shell

import (
	"fmt"
	"testing"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"IPT": "/sbin/iptables", "two": "a b", "none": "", "star": "*", "tail": "x "}
	for _, tt := range []struct{ line, want string }{
		{"c plain", `["plain"]`},
		{"c ''", `[""]`},
		{"c $IPT", `["/sbin/iptables"]`},
		{`c "$IPT"`, `["/sbin/iptables"]`},
		{`c "${IPT}6"x`, `["/sbin/iptables6x"]`},
		{"c $IPT.$IPT", `["/sbin/iptables./sbin/iptables"]`},
		{"c $two", `["a" "b"]`},
		{`c "$two"`, `["a b"]`},
		{"c 1${two}2", `["1a" "b2"]`},
		{"c $tail$two", `["x" "a" "b"]`},
		{"c $none", `[]`},
		{`c "$none"`, `[""]`},
		{"c x$none", `["x"]`},
		{`c "$star"`, `["*"]`},
		{"c '$IPT'$IPT", `["$IPT/sbin/iptables"]`},
		{"c \\$IPT", `["$IPT"]`},
		{"c $star", "no"},
		{"c ''$two", "no"},
		{"c *", "no"},
		{"c $unset", "no"},
		{"c $IPTx", "no"},
		{"c $1", "no"},
		{"c $", "no"},
		{"c ${IPT:-x}", "no"},
		{"c $(a)", "no"},
		{"c `a`", "no"},
	} {
		line, err := Split(tt.line)
		if err != nil {
			t.Fatalf("%s: %v", tt.line, err)
		}
		words, ok := line.Commands[0].Words[1].Expand(func(name string) (string, bool) {
			v, ok := values[name]
			return v, ok
		})
		got := fmt.Sprintf("%q", words)
		if !ok {
			got = "no"
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.line, got, tt.want)
		}
	}
}

func TestAssigns(t *testing.T) {
	for text, want := range map[string]string{"A=": "A", "_a1=x=y": "_a1", "A": "", "=x": "", "1a=x": "", "a-b=x": "", "--a=x": ""} {
		name, ok := (Word{Text: text}).Assigns()
		if !ok {
			name = ""
		}
		if name != want {
			t.Errorf("%s: %q", text, name)
		}
	}
}

// A backslash at the end of a line joins it to the next.
func TestContinuation(t *testing.T) {
	for line, want := range map[string]string{
		"a \\\n  b\\\nc d":    "[a][bc][d]",
		"a \"b\\\nc\" '\\\n'": "[a][bc][\\\n]",
		"a # b \\\nc":         "[a];[c]# b \\",
	} {
		got, err := Split(line)
		if err != nil || brief(got) != want {
			t.Errorf("%q: %s, %v, want %s", line, brief(got), err, want)
		}
	}
}
