package verify_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/verify"
	"tirl/internal/verify/nft"
	"tirl/internal/verify/ruleset"
	"tirl/internal/verify/xtables"
)

var update = flag.Bool("update", false, "write testdata/survivors.txt")

// mutant is a ruleset with one change. The name says what was done to which line.
type mutant struct{ name, text string }

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
		{"type", regexp.MustCompile(`daddr type != local`), "daddr type != { local, multicast }"},
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

const (
	mutantGuard = `
trust  = ["iface:wg0", "198.51.100.7"]
public = ["udp/53"]
[knocking]
per_source = "2/second"
[door.a]
opens  = ["tcp/22"]
knocks = ["udp/1001", "tcp/1020", "udp/1003"]
from   = ["203.0.113.0/24", "2001:db8:1::/48"]
[door.b]
opens    = ["udp/500"]
knocks   = ["udp/1001", "tcp/1020", "udp/1040"]
open_for = "once"
`
	mutantFirewall = `
mode   = "firewall"
refuse = "reset"
public = ["tcp/80", "esp"]
trust  = ["2001:db8:9::9"]
[firewall]
icmp = false
[log]
events = "none"
[knocking]
per_source  = "2/second"
duplicates  = "reset"
ipv6_prefix = 64
[door.a]
opens  = ["tcp/22", "tcp/24"]
knocks = ["udp/1001", "tcp/1020", "udp/1001", "udp/1003"]
`
)

// reasons say why a change of a rule changes nothing that a packet meets.
var reasons = []struct {
	why   string
	takes *regexp.Regexp
}{
	{"it is a comment", regexp.MustCompile(`policy [0-9a-f]{64}`)},
	{"only log lines and counters depend on it", regexp.MustCompile(`@told|@owed|TOLD_|OWED_|counter name|TIRL_(OWED|BEGUN|OPENED|ACCEPTED|LIMITED)\b|jump owing|jump wrong|@?opened_at|how often`)},
	{"no repetition stays beyond the first knock, so either map will do", regexp.MustCompile(`firewall nftables: .*(@stay_advanced|advanced->started: add @advanced)`)},
	{"all services of this policy are of TCP, which is answered before", regexp.MustCompile(`firewall nftables: .*(reject with icmpx type port-unreachable comment "as a closed|drop comment "closed")`)},
	{"it holds what an administrator puts in, and is empty by itself", regexp.MustCompile(`@given|@blocked`)},
	{"it decides only when a set is full, which the attack tests try", regexp.MustCompile(`no room for a bucket`)},
	{"it decides only where two CPUs meet, which the attack tests try", regexp.MustCompile(`: (timeout|burst|update->add|update->delete): update @spent`)},
	{"the two rules take no packet in common, or come to the same in either order", regexp.MustCompile(`swapped with the next`)},
	{"what follows in the calling chain comes to the same", regexp.MustCompile(`: (goto->jump|jump->goto|-g->-j|-j->-g): `)},
	{"nothing reads the register before it is written again, or the packet is dropped", regexp.MustCompile(`meta priority set (none|0:)`)},
	{"a first knock at its place leads to the same place again", regexp.MustCompile(`dropped: .*@stay_started`)},
	{"the first knock of these doors is a repetition wherever a source is", regexp.MustCompile(`guard nftables: .*dropped: meta priority set .* map @first goto start`)},
	{"no door of these policies has a single knock", regexp.MustCompile(`@restricted|vmap @opens|line \d+: (dropped|started->advanced): delete @started`)},
	{"the element is not there when this rule is met", regexp.MustCompile(`: (add->update: add @|update->add: update @bucket)`)},
	{"every way on from here sets the time anew, or takes the source out", regexp.MustCompile(`: rcheck->update: `)},
	{"the end of the chain comes to the same", regexp.MustCompile(`: (dropped|ACCEPT->DROP|DROP->ACCEPT): .*-[jg] (RETURN|ACCEPT|TIRL_END)$`)},
}

func reason(name string) string {
	for _, r := range reasons {
		if r.takes.MatchString(name) {
			return r.why
		}
	}
	return ""
}

// TestMutants changes rendered rulesets in one place at a time. A change that is still
// proved must have a reason, which testdata/survivors.txt lists.
func TestMutants(t *testing.T) {
	var kept []string
	for _, source := range []string{mutantGuard, mutantFirewall} {
		g := automatontest.Compile(t, source)
		mode := policy.Guard
		if g.Firewall {
			mode = policy.Firewall
		}
		for kind, text := range texts(t, g) {
			refuted, unproved, refused := 0, 0, 0
			for _, m := range mutants(text) {
				rs, err := parsed(kind, m.text)
				if err != nil {
					refused++ // not a ruleset, or one that is not understood
					continue
				}
				r := verify.Verify(g, rs, verify.Options{MaxStates: 5000, One: true})
				switch {
				case r.Proved:
					if d := played(g, rs); d != "" {
						t.Errorf("%s %s, %s: proved, but %s", mode, kind, m.name, d)
					}
					kept = append(kept, fmt.Sprintf("%s %s: %s", mode, kind, m.name))
				case len(r.Differences) > 0:
					refuted++
				default:
					unproved++
				}
			}
			t.Logf("%s %s: %d refuted with packets, %d not proved, %d refused by the parser", mode, kind, refuted, unproved, refused)
			if refuted < 3*unproved || refuted < 100 {
				t.Errorf("%s %s: too few changes were refuted: %d, and %d not proved", mode, kind, refuted, unproved)
			}
		}
	}
	survivors(t, kept)
}

// survivors holds what was proved against the list of what may be.
func survivors(t *testing.T, kept []string) {
	t.Helper()
	byReason := make(map[string][]string)
	for _, name := range kept {
		why := reason(name)
		if why == "" {
			t.Errorf("still proved, for no known reason: %s", name)
			continue
		}
		name = regexp.MustCompile(`line \d+: |_[0-9a-f]{8}\b| comment ".*"$| -m comment --comment ("[^"]*"|\S+)`).ReplaceAllString(name, "")
		name = regexp.MustCompile(`\b[0-9a-f]{64}\b`).ReplaceAllString(name, "...")
		byReason[why] = append(byReason[why], name)
	}
	var b strings.Builder
	for _, r := range reasons {
		names := byReason[r.why]
		slices.Sort(names)
		fmt.Fprintf(&b, "%s:\n", r.why)
		for _, name := range slices.Compact(names) {
			fmt.Fprintf(&b, "\t%s\n", name)
		}
	}
	const file = "testdata/survivors.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("the changes that are still proved are not those of %s; if each is right: go test ./internal/verify -run TestMutants -update", file)
	}
}

func texts(t *testing.T, g *automaton.Program) map[string]string {
	t.Helper()
	n, err := nftables.New(nil).Render(g)
	if err != nil {
		t.Fatal(err)
	}
	i, err := iptables.New(nil).Render(g)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"nftables": n[0].Text, "iptables": xtables.Join(i[0].Text, i[1].Text)}
}

func parsed(kind, text string) (*ruleset.Ruleset, error) {
	if kind == "nftables" {
		return nft.Parse(text)
	}
	return xtables.Parse(text, ruleset.Both)
}

// played tries a ruleset on packets around the doors, and says where it differs.
func played(g *automaton.Program, rs *ruleset.Ruleset) string {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 4 {
		in, sim := automaton.NewInterpreter(g), verify.NewSimulator(rs)
		at := time.Duration(0)
		for range 30 {
			for _, p := range someKnocks(g, rng) {
				p.Time = at
				want := in.Packet(p)
				got, err := sim.Packet(p)
				if err != nil {
					return "" // it has a key that packets here have no field for
				}
				if got.Verdict != want.Verdict.String() {
					return fmt.Sprintf("%s from %s gets %s, not %s", p.To, p.Src, got.Verdict, want.Verdict)
				}
				at += []time.Duration{time.Millisecond, 200 * time.Millisecond, time.Second, 11 * time.Second}[rng.IntN(4)]
			}
		}
	}
	return ""
}

// someKnocks are a door's knocks and its service, with now and then another packet.
func someKnocks(g *automaton.Program, rng *rand.Rand) []automaton.Packet {
	sources := []string{"203.0.113.5", "192.0.2.7", "198.51.100.7", "2001:db8:1::1", "2001:db8:2::1"}
	d := g.Doors[rng.IntN(len(g.Doors))]
	r := g.Classes[d.Class].Services[0]
	p := automaton.Packet{Src: netip.MustParseAddr(sources[rng.IntN(len(sources))]), TTL: 64}
	var out []automaton.Packet
	for _, to := range append(slices.Clone(d.Knocks), port.Port{Proto: r.Proto, Number: r.First}) {
		for _, k := range []port.Port{{Proto: port.UDP, Number: 9}, {Proto: port.UDP, Number: 53}, to, to} {
			if k != to && rng.IntN(8) > 0 {
				continue
			}
			p.To, p.Flags, p.Conn = k, 0, automaton.New
			if k.Proto == port.TCP {
				p.Flags = automaton.SYN
			}
			if rng.IntN(12) == 0 {
				p.Conn = []automaton.Conn{automaton.Established, automaton.Related, automaton.Invalid, automaton.Untracked}[rng.IntN(4)]
			}
			out = append(out, p)
			if k == to && rng.IntN(8) > 0 {
				break
			}
		}
	}
	return out
}
