package xtables

import (
	"strings"
	"testing"

	"tirl/internal/verify/ruleset"
)

// The commands of the founding document are what iptables-save prints of them.
func TestReferenceScript(t *testing.T) {
	got, err := ParseScript(read(t, "../../demo/reference.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range saves(t) {
		want, err := Parse(read(t, name), ruleset.Both)
		if err != nil || !ruleset.Equal(got, want) {
			t.Errorf("%s: %v\n%s", name, err, dump(got))
		}
	}
}

const someScript = `#!/bin/sh
set -eu -o pipefail
IPT=/sbin/iptables # comment \
IP6="/sbin/ip6tables"
export LIST=KNOCK PORT=22
UDP="-p udp -m udp"

$IPT -F; $IPT -X && env A=b "${IPT}" -t mangle -F >/dev/null 2>&1 || exit 1
echo "loading $LIST"
${IPT} -P INPUT DROP
"$IPT" --wait 5 -N ${LIST}1
$IPT -A ${LIST}1 $UDP --dport 7 \
	-m comment --comment "a; b && 'c'" \
	-m recent --name "$LIST" --set -j DROP
$IPT -A INPUT -i lo -j ACCEPT
$IPT -I INPUT -j ${LIST}1
$IPT -D INPUT -i lo -j ACCEPT
$IPT -A INPUT -p tcp --dport=$PORT -t filter || true
$IPT -L -n -v >/dev/null
$IP6 -A PREROUTING -t mangle -j DROP
exit 0
false
`

func TestScript(t *testing.T) {
	const want = `hook 2/0 PREROUTING policy accept
hook 1/1 INPUT policy drop
chain PREROUTING
	20: drop
chain INPUT
	16: jump(KNOCK1)
	18: proto{Ranges:[6-6]} dport{Ranges:[22-22]}
chain KNOCK1
	12: proto{Ranges:[17-17]} dport{Ranges:[7-7]} mark(KNOCK){Key:[{Family:1 Bits:32}]} drop
`
	r, err := ParseScript(someScript)
	if err != nil {
		t.Fatal(err)
	}
	if got := dump(r); got != want {
		t.Errorf("got:\n%s", got)
	}
	if got := r.Chains[2].Rules[0].Text; !strings.HasPrefix(got, "$IPT -A ${LIST}1") || !strings.HasSuffix(got, "-j DROP") {
		t.Error(got)
	}
}

// What only runs another command is looked behind.
func TestScriptWrapped(t *testing.T) {
	want, err := ParseScript("iptables -P INPUT DROP")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"sudo iptables -P INPUT DROP",
		"S='sudo -n'; $S /sbin/iptables -P INPUT DROP",
		"S=; $S iptables -P INPUT DROP",
		"sudo sh -c 'set -e; iptables -P INPUT DROP'",
	} {
		if got, err := ParseScript(text); err != nil || !ruleset.Equal(got, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestScriptRefused(t *testing.T) {
	for _, tt := range []struct {
		text string
		line int
		what string
	}{
		{"\nif true; then iptables -F; fi", 2, "script uses \"if\" of the shell's language"},
		{"iptables -F\nfor p in 1 2; do iptables -F; done", 2, "script uses \"for\" of the shell's language"},
		{"while true; do x; done", 1, "script uses \"while\" of the shell's language"},
		{"iptables -F\n\nknock() {\n}", 3, "script has a subshell or a function"},
		{"\n(iptables -F)", 2, "script has a subshell or a function"},
		{"iptables-restore <<E\nE\n", 1, "script has a here-document"},
		{"iptables -A INPUT -m comment --comment 'x", 1, "script has a quote without end"},
		{"iptables-restore < x", 1, "command `iptables-restore`"},
		{"nft flush ruleset", 1, "command `nft`"},
		{". /etc/knock.conf", 1, "command `.`"},
		{"[ -f x ] && iptables -F", 1, "command `[`"},
		{"iptables -F | cat", 1, "a pipe"},
		{"iptables -F & iptables -X", 1, "a command in the background"},
		{"iptables -s $(cat x) -F", 1, "`$(cat x)`"},
		{"iptables -F `x`", 1, "``x``"},
		{"$IPT -F", 1, "`$IPT`"},
		{"A=1\niptables -F $AB", 2, "`$AB`"},
		{"A=`x`", 1, "`A=`x``"},
		{"IFS=,", 1, "`IFS=,`"},
		{"A=1 iptables -F", 1, "a command with `A=1` in front"},
		{"eval iptables -F", 1, "command `eval`"},
		{"exec iptables -F", 1, "command `exec`"},
		{"set -- a b", 1, "command `set --`"},
		{"set -n", 1, "command `set -n`"},
		{"sh -c 'iptables -F $A'", 1, "shell in a shell"},
		{"iptables-nft -F\niptables-legacy -F", 2, "`iptables-legacy` beside `iptables-nft`"},
		{"iptables -t broute -F", 1, "table `broute`"},
		{"iptables -A INPUT -j DROP -t", 1, "option `-t`"},
		{"iptables -A INPUT -m comment --comment -t -j DROP", 1, "`-t` behind `--comment`"},
		{"iptables -A INPUT -j DROP -m string", 1, "match `string`"},
		{"iptables -C INPUT -j DROP", 1, "command `-C`"},
		{"iptables -j DROP -A INPUT", 1, "command `-j`"},
	} {
		_, err := ParseScript(tt.text)
		checkUnknown(t, tt.text, err, tt.line, tt.what)
	}
	for text, want := range map[string]string{
		"iptables -F\niptables":                           "line 2: a command is missing",
		"iptables -t":                                     "line 1: -t lacks its value",
		"iptables -N A\niptables -N A":                    "line 2: chain A is there already",
		"iptables -X A":                                   "line 1: table filter has no chain A",
		"iptables -A INPUT -j A":                          "line 1: table filter has no chain A",
		"iptables -D INPUT -j DROP":                       "line 1: chain INPUT has no rule of these words",
		"iptables -A INPUT -p tcp\\\n --dport 99999 -j A": `line 1: "99999" is no number of a port`,
		"ip6tables -A INPUT -s 192.0.2.1":                 `line 1: "192.0.2.1" is no network of this family`,
	} {
		if _, err := ParseScript(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add(read(f, "../../demo/reference.sh"))
	for _, c := range rules4() {
		f.Add("IPT=iptables\n$IPT -N NEXT; \"$IPT\" -A INPUT " + c.rule + " && true\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseScript(text)
		if err == nil {
			checkSound(t, r, strings.Count(text, "\n")+1)
		}
	})
}
