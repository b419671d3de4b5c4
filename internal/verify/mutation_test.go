package verify_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/verify"
	"tirl/internal/verify/nft"
	"tirl/internal/verify/ruleset"
	"tirl/internal/verify/xtables"
)

type mutant struct {
	name string
	text string
}

var _ = os.Args

// mutants changes one thing of a ruleset's text at a time.
func mutants(text string) []mutant {
	lines := strings.Split(text, "\n")
	isRule := func(l string) bool {
		return strings.Contains(l, ` comment "`) && strings.HasPrefix(l, "\t\t") || strings.HasPrefix(l, "-A ") || strings.HasPrefix(l, "-I ")
	}
	var out []mutant
	add := func(i int, what string, replace ...string) {
		var all []string
		all = append(all, lines[:i]...)
		all = append(all, replace...)
		all = append(all, lines[i+1:]...)
		out = append(out, mutant{fmt.Sprintf("line %d: %s: %s", i+1, what, strings.TrimSpace(lines[i])), strings.Join(all, "\n")})
	}
	type edit struct {
		what string
		re   *regexp.Regexp
		to   string
	}
	edits := []edit{
		{"port", regexp.MustCompile(`\b(port|dport|sport|udp \.|tcp \.) (\d+)`), "${1} 4${2}"},
		{"timeout", regexp.MustCompile(`(timeout|--seconds) (\d+)`), "${1} 4${2}"},
		{"accept->drop", regexp.MustCompile(`\baccept comment`), "drop comment"},
		{"drop->accept", regexp.MustCompile(`\bdrop comment`), "accept comment"},
		{"ACCEPT->DROP", regexp.MustCompile(`-j (ACCEPT|RETURN)`), "-j DROP"},
		{"DROP->ACCEPT", regexp.MustCompile(`-j DROP`), "-j ACCEPT"},
		{"goto->jump", regexp.MustCompile(` goto `), " jump "},
		{"jump->goto", regexp.MustCompile(` jump `), " goto "},
		{"-g->-j", regexp.MustCompile(` -g TIRL`), " -j TIRL"},
		{"-j->-g", regexp.MustCompile(` -j TIRL`), " -g TIRL"},
		{"negate", regexp.MustCompile(` != `), " "},
		{"negate", regexp.MustCompile(` ! `), " "},
		{"invert", regexp.MustCompile(` -m (conntrack|addrtype) --`), " -m ${1} ! --"},
		{"invert", regexp.MustCompile(` @`), " != @"},
		{"update->delete", regexp.MustCompile(`update @(\w+) \{ (.*) timeout \w+`), "delete @${1} { ${2}"},
		{"add->delete", regexp.MustCompile(`add @(\w+) \{ (.*) timeout \w+`), "delete @${1} { ${2}"},
		{"add->update", regexp.MustCompile(`add @`), "update @"},
		{"update->add", regexp.MustCompile(`update @`), "add @"},
		{"set->remove", regexp.MustCompile(` --set `), " --remove "},
		{"remove->set", regexp.MustCompile(` --remove `), " --set "},
		{"rcheck->update", regexp.MustCompile(` --rcheck `), " --update "},
		{"update->rcheck", regexp.MustCompile(` --update `), " --rcheck "},
		{"family", regexp.MustCompile(`nfproto ipv6`), "nfproto ipv4"},
		{"started->advanced", regexp.MustCompile(`@started`), "@advanced"},
		{"advanced->started", regexp.MustCompile(`@advanced`), "@started"},
		{"list", regexp.MustCompile(`_KNOCK(\d)_`), "_KNOCK4${1}_"},
		{"grant list", regexp.MustCompile(`_GRANT_`), "_GIVEN_"},
		{"mask", regexp.MustCompile(`ip saddr timeout`), "ip saddr & 255.255.255.0 timeout"},
		{"mask", regexp.MustCompile(`(--name TIRL4_\w+)`), "${1} --mask 255.255.255.0"},
		{"rdest", regexp.MustCompile(`(--name TIRL4_\w+)`), "${1} --rdest"},
		{"rate", regexp.MustCompile(`(over |above )(\d+)/sec`), "${1}4${2}/sec"},
		{"burst", regexp.MustCompile(`burst (\d+)`), "burst 4${1}"},
		{"state", regexp.MustCompile(`established`), "established,related"},
		{"state", regexp.MustCompile(`ESTABLISHED`), "ESTABLISHED,RELATED"},
		{"state", regexp.MustCompile(`(ctstate|state) (invalid|INVALID)`), "${1} new"},
		{"state", regexp.MustCompile(`,(untracked|UNTRACKED)`), ""},
		{"place", regexp.MustCompile(` : 0:(\d)`), " : 0:4${1}"},
		{"place", regexp.MustCompile(`set none`), "set 0:3"},
		{"type", regexp.MustCompile(`daddr type != local`), "daddr type != { local, broadcast }"},
		{"type", regexp.MustCompile(`--dst-type LOCAL`), "--dst-type BROADCAST"},
		{"flags", regexp.MustCompile(`fin \| syn \| rst \| ack`), "syn | ack"},
		{"flags", regexp.MustCompile(`FIN,SYN,RST,ACK SYN`), "SYN,ACK SYN"},
		{"prefix", regexp.MustCompile(`/(24|32|128)\b`), "/16"},
	}
	for i, l := range lines {
		rule := isRule(l)
		element := strings.HasPrefix(l, "add element")
		if !rule && !element {
			continue
		}
		add(i, "dropped")
		if rule && i+1 < len(lines) && isRule(lines[i+1]) {
			all := append([]string{}, lines...)
			all[i], all[i+1] = all[i+1], all[i]
			out = append(out, mutant{fmt.Sprintf("line %d: swapped with the next: %s", i+1, strings.TrimSpace(l)), strings.Join(all, "\n")})
		}
		body, comment := l, ""
		if at := strings.LastIndex(l, ` comment "`); at >= 0 && strings.HasPrefix(l, "\t") {
			body, comment = l[:at], l[at:]
		}
		for _, e := range edits {
			full := body
			if strings.Contains(e.re.String(), "comment") {
				full = body + comment
			}
			if loc := e.re.FindStringSubmatchIndex(full); loc != nil {
				to := string(e.re.ExpandString(nil, e.to, full, loc))
				changed := full[:loc[0]] + to + full[loc[1]:]
				if full == body {
					changed += comment
				}
				add(i, e.what, changed)
			}
		}
		if element {
			open, shut := strings.Index(l, "{"), strings.LastIndex(l, "}")
			elems := strings.Split(l[open+1:shut], ",")
			for j := range elems {
				if len(elems) > 1 {
					rest := append(append([]string{}, elems[:j]...), elems[j+1:]...)
					add(i, "element dropped "+elems[j], l[:open+1]+strings.Join(rest, ",")+l[shut:])
				}
			}
		}
	}
	return out
}

func TestMutantsTry(t *testing.T) {
	for _, file := range strings.Split(os.Getenv("F"), ",") {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Skip()
		}
		p, found := policy.Parse("p", source)
		if found.HasErrors() {
			t.Fatal(found)
		}
		g, err := automaton.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"nftables", "iptables"} {
			var text string
			parse := nft.Parse
			if kind == "nftables" {
				fs, _ := nftables.New(nil).Render(g)
				text = fs[0].Text
			} else {
				fs, err := iptables.New(nil).Render(g)
				if err != nil {
					continue
				}
				text = xtables.Join(fs[0].Text, fs[1].Text)
				parse = func(s string) (*ruleset.Ruleset, error) { return xtables.Parse(s, ruleset.Both) }
			}
			var refuted, invalid, unproved, survived int
			for _, m := range mutants(text) {
				rs, err := parse(m.text)
				if err != nil {
					invalid++
					fmt.Println("INVALID", kind, m.name, err)
					continue
				}
				r := verify.Verify(g, rs, verify.Options{MaxStates: 20000})
				switch {
				case r.Proved:
					survived++
					fmt.Println("SURVIVED", kind, m.name)
				case len(r.Differences) > 0:
					refuted++
				default:
					unproved++
					fmt.Println("UNPROVED", kind, m.name, r.Unproved)
				}
			}
			fmt.Println(file, kind, "refuted", refuted, "invalid", invalid, "unproved", unproved, "survived", survived)
		}
	}
}
