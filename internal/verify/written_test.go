package verify_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/port"
	"tirl/internal/verify"
	"tirl/internal/verify/parse"
	"tirl/internal/verify/ruleset"
)

func written(t testing.TB, file string) *ruleset.Ruleset {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rs, _, err := parse.Text(string(text), ruleset.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

const referencePolicy = `
mode   = "firewall"
public = ["tcp/80"]
[firewall]
dhcp = false
[knocking]
step_timeout = "none"
duplicates   = "reset"
[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/12345", "udp/23456", "udp/34567"]
open_for = "once"
`

func scope(t testing.TB, words string) verify.Scope {
	t.Helper()
	s, err := verify.ParseScope(strings.Fields(words))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestReferenceRuleset: the founding ruleset, as both kinds of iptables-save print it and
// as the commands that it was written as, means what its policy says as far as it goes.
func TestReferenceRuleset(t *testing.T) {
	g := automatontest.Compile(t, referencePolicy)
	for _, file := range []string{"xtables/testdata/reference.legacy.save", "xtables/testdata/reference.nft.save", "../demo/reference.sh"} {
		rs := written(t, file)
		r := verify.Verify(g, rs, verify.Options{Scope: scope(t, "ipv4 no-limit no-expiry tracked unicast remote")})
		if !r.Proved {
			t.Errorf("%s: %v %+v", file, r.Unproved, r.Differences)
		}
		if len(r.Assumptions) != 6 {
			t.Errorf("%s: assumes %q", file, r.Assumptions)
		}
		// Without one of the assumptions it does not, and this is the last packet.
		for word, want := range map[string]automaton.Packet{
			"no-limit":  {To: port.Port{Proto: port.TCP, Number: 22}},
			"no-expiry": {To: port.Port{Proto: port.TCP, Number: 22}},
			"tracked":   {To: port.Port{Proto: port.TCP, Number: 22}, Conn: automaton.Related},
		} {
			words := strings.Replace("ipv4 no-limit no-expiry tracked unicast remote", word, "", 1)
			r := verify.Verify(g, rs, verify.Options{Scope: scope(t, words)})
			if r.Proved || !slices.ContainsFunc(r.Differences, func(d verify.Difference) bool {
				last := d.Packets[len(d.Packets)-1]
				return last.To == want.To && last.Conn == want.Conn && d.Got.Verdict == "accept" && d.Want.Verdict == automaton.Dropped
			}) {
				t.Errorf("%s without %s: %v %+v", file, word, r.Proved, r.Differences)
			}
		}
	}
}

// TestReferenceWithAnError finds what was forgotten in a copy of the founding ruleset.
func TestReferenceWithAnError(t *testing.T) {
	text, err := os.ReadFile("../demo/reference.sh")
	if err != nil {
		t.Fatal(err)
	}
	g := automatontest.Compile(t, referencePolicy)
	for forgotten, packets := range map[string]int{
		// The last knock need not be given up: the door stays open for a second connection.
		"iptables -A STATE3 -m recent --name KNOCK3 --remove": 5,
		// 1, 2 and then a wrong packet: 3 opens all the same.
		"iptables -A STATE2 -m recent --name KNOCK2 --remove": 5,
		// The last rule of all: strangers come in.
		"iptables -A INPUT -j STATE0": 1,
	} {
		if !strings.Contains(string(text), forgotten) {
			t.Fatalf("there is no %q", forgotten)
		}
		rs, _, err := parse.Text(strings.Replace(string(text), forgotten+"\n", "", 1), ruleset.IPv4)
		if err != nil {
			t.Fatal(err)
		}
		r := verify.Verify(g, rs, verify.Options{Scope: scope(t, "ipv4 no-limit no-expiry tracked unicast remote")})
		if len(r.Differences) == 0 || len(r.Differences[0].Packets) != packets {
			t.Errorf("without %q: %v %+v, want %d packets", forgotten, r.Unproved, r.Differences, packets)
		}
	}
}

// TestSetsWrittenByHand: a set of the next expected port falls to plain sweeps; sets of
// stages do not, and fall short of the policy elsewhere.
func TestSetsWrittenByHand(t *testing.T) {
	next := automatontest.Compile(t, `
refuse = "reset"
[knocking]
step_timeout = "2s"
[door.ssh]
opens    = ["tcp/22"]
knocks   = ["tcp/999", "tcp/800", "tcp/1234", "tcp/801"]
open_for = "10s"
`)
	text := `table ip knock {
	set clients { type ipv4_addr; flags timeout; }
	set expected { type ipv4_addr . inet_service; flags timeout; }
	chain input {
		type filter hook input priority 0; policy accept;
		tcp dport 22 ct state established accept
		tcp dport 999 add @expected { ip saddr . 800 timeout 2s }
		tcp dport 800 ip saddr . tcp dport @expected add @expected { ip saddr . 1234 timeout 2s }
		tcp dport 1234 ip saddr . tcp dport @expected add @expected { ip saddr . 801 timeout 2s }
		tcp dport 801 ip saddr . tcp dport @expected add @clients { ip saddr timeout 10s }
		tcp dport 22 ip saddr @clients accept
		tcp dport 22 reject with tcp reset
	}
}
`
	rs, kind, err := parse.Text(text, ruleset.IPv4)
	if err != nil || kind != parse.Nftables {
		t.Fatal(kind, err)
	}
	r := verify.Verify(next, rs, verify.Options{Scope: scope(t, "ipv4 no-limit tracked unicast")})
	// A stranger's wrong packet, or one of an open flow, does not put anybody back.
	if !slices.ContainsFunc(r.Differences, func(d verify.Difference) bool {
		return d.Want.Service && d.Want.Verdict == automaton.Rejected && d.Got.Verdict == "accept" && len(d.Packets) == 5
	}) {
		t.Errorf("no way in found: %v %+v", r.Unproved, r.Differences)
	}
	if n, proto, service := verify.Sweeps(next, rs); n != 3 || proto != port.TCP || service.Number != 22 {
		t.Errorf("%d sweeps over %s open %s, want 3 over tcp", n, proto, service)
	}

	stages := automatontest.Compile(t, `
mode   = "firewall"
public = ["tcp/80", "tcp/443"]
[firewall]
dhcp = false
[knocking]
duplicates = "reset"
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/12345", "udp/23456", "udp/34567"]
`)
	rs = written(t, "nft/testdata/stages.nft")
	if n, _, _ := verify.Sweeps(stages, rs); n != 0 {
		t.Errorf("%d sweeps open a ruleset of stages", n)
	}
	r = verify.Verify(stages, rs, verify.Options{Scope: scope(t, "ipv4 no-limit tracked unicast")})
	if len(r.Differences) == 0 {
		t.Fatalf("nothing found: %v %v", r.Proved, r.Unproved)
	}
	// It hears TCP and UDP only: what else comes between two knocks puts nobody back.
	for _, d := range r.Differences {
		if d.Want.Verdict != automaton.Dropped || !d.Want.Service || d.Got.Verdict != "accept" {
			continue
		}
		if !slices.ContainsFunc(d.Packets, func(p automaton.Packet) bool { return p.To.Proto != port.TCP && p.To.Proto != port.UDP }) {
			t.Errorf("it lets somebody in: %+v", d)
		}
	}
}

func TestScope(t *testing.T) {
	for words, wrong := range map[string]string{
		"":          "",
		"ipv4":      "",
		"no-limit":  "",
		"ipv4 ipv6": "leave no packet",
		"sunshine":  "nothing to assume",
	} {
		_, err := verify.ParseScope(strings.Fields(words))
		if (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %q", words, err, wrong)
		}
	}
	if got := scope(t, strings.Join(verify.ScopeWords()[1:], " ")).Assumptions(); len(got) != len(verify.ScopeWords())-1 {
		t.Errorf("assumes only %q", got)
	}
}

// TestNotUnderstood: what is not understood ends the proof, and is named.
func TestNotUnderstood(t *testing.T) {
	g := automatontest.Compile(t, "[door.a]\nopens = [\"tcp/22\"]\nknocks = [\"udp/40213\", \"udp/7719\", \"udp/28816\"]\n")
	for text, want := range map[string]string{
		"table inet t { chain c { type filter hook prerouting priority mangle; limit rate 5/second accept; tcp dport 22 drop; } }":                                             "`limit`",
		"table inet t { chain c { type filter hook prerouting priority mangle; meta priority 0:1 drop; } }":                                                                    "meta priority is read before",
		"table ip t { set s { type ipv4_addr; flags dynamic; }\n chain c { type filter hook prerouting priority mangle; ip daddr @s drop; tcp dport 9 add @s { ip daddr } } }": "ip daddr",
	} {
		rs, _, err := parse.Text(text, ruleset.Both)
		if err == nil {
			r := verify.Verify(g, rs, verify.Options{})
			if r.Proved {
				t.Errorf("%s: proved", text)
			}
			err = r.Err()
			if len(r.Differences) > 0 {
				continue // it differs whatever is understood
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestTTLIsNotAskedFor: a list that compares the TTL is not what a policy without match_ttl
// means: a client whose packets take two ways does not get in.
func TestTTLIsNotAskedFor(t *testing.T) {
	text, err := os.ReadFile("../demo/reference.sh")
	if err != nil {
		t.Fatal(err)
	}
	rs, _, err := parse.Text(strings.ReplaceAll(string(text), "--rcheck", "--rcheck --rttl"), ruleset.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	r := verify.Verify(automatontest.Compile(t, referencePolicy), rs, verify.Options{Scope: scope(t, "ipv4 no-limit no-expiry tracked unicast remote")})
	if r.Proved || !slices.ContainsFunc(r.Differences, func(d verify.Difference) bool {
		return d.Want.Verdict == automaton.Accept && d.Got.Verdict == automaton.Dropped.String()
	}) {
		t.Errorf("proved %v, %v %+v", r.Proved, r.Unproved, r.Differences)
	}
}
