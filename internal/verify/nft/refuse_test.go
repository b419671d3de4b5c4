package nft

import (
	"errors"
	"os"
	"strings"
	"testing"

	"tirl/internal/verify/ruleset"
)

// TestUnknownRules: what a rule does that is not understood is named.
func TestUnknownRules(t *testing.T) {
	for rule, what := range map[string]string{
		"ct mark 5 accept":                         "match `ct mark`",
		"ct mark set 5":                            "statement `ct mark set`",
		"ct state new ct count over 5 drop":        "match `ct count`",
		"meta mark 7 accept":                       "match `meta mark`",
		"meta mark set 7":                          "statement `meta mark set`",
		"mark 7 accept":                            "match `mark`",
		"oifname eth0 accept":                      "match `oifname`",
		"ether saddr 00:01:02:03:04:05 accept":     "match `ether saddr`",
		"ip daddr 224.0.0.251 accept":              "match `ip daddr`",
		"ip daddr @hosts accept":                   "match `ip daddr`",
		"ip ttl 64 accept":                         "match `ip ttl`",
		"ip length 5 accept":                       "match `ip length`",
		"ip6 nexthdr tcp accept":                   "match `ip6 nexthdr`",
		"icmp code 1":                              "match `icmp code`",
		"tcp option maxseg size 5":                 "match `tcp option`",
		"fib saddr type local":                     "match `fib saddr`",
		"fib daddr . iif type local":               "match `fib daddr`",
		"sctp dport 22 accept":                     "match `sctp dport`",
		"socket transparent 1 accept":              "match `socket transparent`",
		"exthdr frag exists drop":                  "match `exthdr frag`",
		"numgen inc mod 2 0 accept":                "match `numgen`",
		"dnat to 10.0.0.1":                         "statement `dnat`",
		"masquerade":                               "statement `masquerade`",
		"redirect to :22":                          "statement `redirect`",
		"notrack":                                  "statement `notrack`",
		"queue num 1":                              "statement `queue`",
		"tproxy to :1":                             "statement `tproxy`",
		"dup to 10.0.0.1":                          "statement `dup`",
		"synproxy mss 1460":                        "statement `synproxy`",
		"quota over 5 mbytes drop":                 "statement `quota`",
		"limit name fast accept":                   "statement `limit name`",
		"limit rate 5 mbytes/second accept":        "limit of `5 mbytes/second`",
		"set foo ip saddr @busy":                   "statement `set foo`",
		"meter m { ip saddr limit rate 5/second }": "statement `meter`",
		`xt match "recent"`:                        "match `recent` of iptables",
		"tcp dport 22 # recent: SET name: a side: source counter packets 0 bytes 0": "`# recent: SET name: a side: source counter packets 0 bytes 0`",
		"counter packets 0 bytes 0 # CHECKSUM fill":                                 "`# CHECKSUM fill`",

		"th dport 22 accept":                                           "match `th dport` of any protocol",
		"meta l4proto { tcp, icmp } th dport 22":                       "match `th dport` of any protocol",
		"meta l4proto != tcp th dport 22":                              "match `th dport` of any protocol",
		"meta l4proto . th dport @odd accept":                          "set odd with a port of a protocol other than TCP and UDP",
		"meta l4proto . th dport != @ports accept":                     "match `th dport !=` of any protocol",
		"@nh,96,32 0x0a000001 accept":                                  "raw payload `@nh,96,32`",
		"@th,16,16 22 accept":                                          "raw payload `@th,16,16`",
		"@nh,64,64 @halves accept":                                     "match `@nh,64,64` of any family",
		"update @halves { @nh,64,64 timeout 1s }":                      "match `@nh,64,64` of any family",
		"ip saddr & 255.0.255.0 @hosts":                                "mask `255.0.255.0`",
		"ip saddr & 255.0.0.0 == 10.0.0.0":                             "match `ip saddr & 255.0.0.0`",
		"add @weird { ether saddr }":                                   "set of type `ether_addr`",
		"add @busy { ether saddr }":                                    "match `ether saddr`",
		"add @busy { ip saddr quota 5 mbytes }":                        "set statement with `quota`",
		"add @busy { ip saddr ct count over 5 }":                       "set statement with `ct`",
		"ct state != established,related":                              "match `ct state` with a list",
		"ct state == established,related":                              "match `ct state` with a list",
		"ct state established | related":                               "match `ct state` with `|`",
		"ct state snat":                                                "conntrack state `snat`",
		"ct state ! new":                                               "match `ct state !`",
		"tcp flags { syn, ack }":                                       "match `tcp flags` with a set",
		"tcp flags syn / ack":                                          "match `tcp flags` with bits outside of its mask",
		"tcp flags foo":                                                "TCP flag `foo`",
		"tcp dport nosuch":                                             "service `nosuch`",
		"meta l4proto nosuch":                                          "protocol `nosuch`",
		"meta nfproto arp":                                             "address family `arp`",
		"meta protocol arp":                                            "protocol `arp`",
		"fib daddr type blackhole drop":                                "address type `blackhole`",
		"icmp type nosuch":                                             "ICMP type `nosuch`",
		"tcp flags & syn|ack == syn":                                   "match `tcp flags` with a mask without parentheses",
		"iifname esp accept":                                           "interface number `esp`",
		"iifname \"\" accept":                                          "interface ``",
		"iif 5 accept":                                                 "interface number `5`",
		`iif "eth*" accept`:                                            "interface `eth*`",
		`iifname "et*0" accept`:                                        "interface `et*0`",
		`iifname "eth\*" accept`:                                       "interface `eth\\*`",
		"meta priority set meta priority":                              "statement `meta priority set meta priority`",
		"tcp dport vmap { 1 : continue }":                              "verdict `continue` in a map",
		"tcp flags vmap { syn : accept }":                              "`tcp flags vmap`",
		"ip daddr vmap { 10.0.0.1 : accept }":                          "match `ip daddr`",
		"meta priority set ip daddr map { 10.0.0.1 : 0:1 }":            "match `ip daddr`",
		"ip daddr . tcp dport { 10.0.0.1 . 22 } accept":                "match `ip daddr`",
		"ip saddr & 0.0.0.0 @hosts":                                    "mask `0.0.0.0`",
		"tcp dport { * }":                                              "element `*`",
		"tcp dport { 22 timeout 1s }":                                  "element with `timeout`",
		"ip saddr @busy ct state vmap { new : accept }":                "`ct state vmap` after more than matches",
		"meta priority 0:1 iifname vmap { lo : accept }":               "`iifname vmap` after more than matches",
		"ip saddr @busy update @busy { ip saddr limit rate 1/second }": "match in set `busy`, whose elements hold a limit",
		"add @hosts { ip saddr } accept":                               "",
		"meta protocol vmap { ip : accept, vlan : drop }":              "protocol `vlan`",
	} {
		_, err := Parse(strings.Replace(about, "RULE", rule, 1))
		if what == "" {
			if err != nil {
				t.Errorf("%s: %v", rule, err)
			}
			continue
		}
		wantUnknown(t, rule, err, 18, what)
	}
}

func wantUnknown(t *testing.T, text string, err error, line int, what string) {
	t.Helper()
	var unknown *ruleset.UnknownError
	if !errors.As(err, &unknown) {
		t.Errorf("%s: error is %v, want line %d: %s", text, err, line, what)
	} else if unknown.Line != line || unknown.What != what {
		t.Errorf("%s: error is %v, want line %d: %s", text, unknown, line, what)
	}
}

// TestUnknownTexts: so is what stands around rules.
func TestUnknownTexts(t *testing.T) {
	for _, c := range []struct {
		text string
		line int
		what string
	}{
		{`include "/etc/nftables.d/*.nft"`, 1, "command `include`"},
		{"table inet t {\ninclude \"x\"\n}", 2, "`include` in a table"},
		{"table inet t { chain c { type filter hook output priority 0\ninclude \"x\"\n} }", 2, "chain with `include`"},
		{"table ip a { chain c {\ntype filter hook input priority 0; accept; } }\ntable ip6 b { chain c { type filter hook input priority 0; accept; } }\n" +
			"table ip d { chain e {\ntype filter hook input priority 0; accept; } }", 5, "chains `c` and `e` of two tables at the same priority"},
		{"table arp t {\n}", 1, "table family `arp`"},
		{"table netdev t { chain c { type filter hook ingress device eth0 priority 0; } }", 1, "table family `netdev`"},
		{"table inet t { chain c { type filter hook ingress device eth0 priority 0; } }", 1, "chain with `device`"},
		{"table inet t { chain c { type filter hook ingress priority 0; accept; } }", 1, "hook `ingress`"},
		{"table inet t {\n\tflags dormant\n}", 2, "`flags` in a table"},
		{"table inet t {\n\tflowtable f { }\n}", 2, "`flowtable` in a table"},
		{"table ip t { ct helper ftp { } }", 1, "`ct` in a table"},
		{"table ip t { set s { type ipv4_addr; flags foo; } }", 1, "set with the flag `foo`"},
		{"table ip t { set s { type ipv4_addr; quota 5 mbytes; } }", 1, "set with `quota`"},
		{"table ip t { set s { type ipv4_addr; limit rate 5/second; } }", 1, "set with `limit`"},
		{"table ip nat {\nchain c {\n type nat hook prerouting priority dstnat\n tcp dport 80 drop\n }\n}", 3, "chain type `nat` at prerouting"},
		{"table ip t { chain c { type filter hook prerouting priority -400; accept; } }", 1, "chain `c` before fragments are put together"},
		{"table ip t {\nchain c {\n type filter hook prerouting priority raw\n goto d\n}\nchain d {\n ct state new drop\n}\n}", 7, "match `ct state` before connections are tracked"},
		{"table ip t { chain c { type filter hook input priority 0; policy queue; } }", 1, "policy `queue`"},
		{"table ip t { chain c { type filter hook input priority 0; accept; } }\ntable inet u { chain d {\n type filter hook input priority filter; drop; } }", 3,
			"chains `c` and `d` of two tables at the same priority"},
		{"table ip t { set s { type ipv4_addr; elements = { 10.0.0.1 10.0.0.2 } } }", 1, "element with `10.0.0.2`"},
		{"list ruleset", 1, "command `list`"},
		{"flush set foo bar\nflush ruleset ip", 2, "command `flush ruleset ip`"},
		{"table ip t { chain c { } }\ndelete rule ip t c handle 5", 2, "command `delete rule`"},
		{"table ip t { set s { type ipv4_addr; } }\ndelete element ip t s { 10.0.0.1 }", 2, "command `delete element`"},
		{"table ip t { chain c { } }\ninsert rule ip t c position 5 accept", 2, "rule at a `position`"},
		{"table ip t { chain c { } }\nadd rule ip t c handle 5 accept", 2, "rule at a `handle`"},
		{"table ip t { chain c { } }\nreplace rule ip t c handle 5 accept", 2, "command `replace`"},
		// What outgoing packets write, incoming ones may read.
		{"table ip t {\n set s { type ipv4_addr; flags dynamic; }\n chain in { type filter hook input priority 0; ip saddr @s accept; }\n" +
			" chain out { type filter hook output priority 0; goto more; }\n chain more {\n  ct mark 5 add @s { ip daddr }\n }\n}", 6,
			"chain `more`, which other packets meet, may change set `s`"},
		// Who is let in for ever is no state of the automaton.
		{"table ip t {\n set s {\n  type ipv4_addr; flags timeout\n  elements = { 10.0.0.1 timeout 5s,\n 10.0.0.2 }\n }\n" +
			" chain in { type filter hook input priority 0; ip saddr @s accept; }\n}", 5, "element of set `s` that does not expire"},
		{"table ip t {\n set s {\n  type ipv4_addr\n  elements = { 10.0.0.1 }\n }\n" +
			" chain in { type filter hook input priority 0; update @s { ip saddr timeout 5s }; }\n}", 2, "element of set `s` that does not expire"},
		{"table ip t {\n set s { type ifname; flags dynamic; }\n chain in { type filter hook input priority 0;\n iifname @s accept; }\n}", 4,
			"match `iifname` in a set that packets change"},
		{"table ip t {\n set s { type inet_proto . inet_service; flags dynamic; }\n chain in { type filter hook input priority 0;\n meta l4proto . th dport @s accept; }\n}", 4,
			"match `th dport` of any protocol in a set that packets change"},
		{"table ip t {\n set s { type inet_proto . inet_service; flags dynamic; }\n chain in { type filter hook input priority 0;\n add @s { meta l4proto . th dport }; }\n}", 4,
			"`th dport` of any protocol in a set that packets change"},
	} {
		_, err := Parse(c.text)
		wantUnknown(t, c.text, err, c.line, c.what)
	}
}

// TestMalformed: the rest is an error with its place.
func TestMalformed(t *testing.T) {
	for text, want := range map[string]string{
		"{":                                     "line 1, column 1: `{` where a command should be",
		"table inet t {\n\tchain c {\n":         "line 3, column 1: the end of the text in chain c",
		"table inet t { chain c {\n accept }}}": "line 2, column 11: `}` where a command should be",
		"table ip t { chain c { log prefix \"x\n } }": "line 1, column 35: a string that does not end",
		"table ip t \x00":                                                                      `line 1, column 12: character '\x00'`,
		"table ip t { chain c { policy drop; } }":                                              "line 1, column 31: chain c has a policy and no hook",
		"table ip t { chain c { type filter hook input priority high; } }":                     "line 1, column 56: `high` is no priority",
		"table ip t { set s { flags dynamic; } }":                                              "line 1, column 37: set s has no type",
		"table ip t { set s { type ipv4_addr; elements = { 10.0.0.256 } } }":                   "line 1, column 51: `10.0.0.256` is no IPv4 address or network",
		"table ip t { set s { type ipv4_addr; elements = { ::1 } } }":                          "line 1, column 51: `::1` is no IPv4 address or network",
		"table ip t { set s { type ipv4_addr; elements = { 10.0.0.9-10.0.0.1 } } }":            "line 1, column 51: `10.0.0.9-10.0.0.1` is no range of IPv4 addresses",
		"table ip t { set s { type ipv4_addr; elements = { 10.0.0.1 . 22 } } }":                "line 1, column 60: an element of set s has 1 fields",
		"table ip t { set s { type ipv4_addr . inet_service; elements = { 10.0.0.1 } } }":      "line 1, column 75: `}` where `.` should be",
		"table ip t { map s { type ipv4_addr : verdict; elements = { 10.0.0.1 } } }":           "line 1, column 70: `}` where `:` should be",
		"table ip t { set s { type inet_service; elements = { 5 } }\nset s { type ifname; } }": "line 2, column 9: set s has another type already",
		"table ip t { define x = 1\n chain c { define y = 1\n } chain d { tcp dport $y; } }":   "line 3, column 24: $y is not defined",
		"add element ip t s { 1 }":                                                             "line 1, column 18: set s does not exist",
		"add rule ip t c accept":                                                               "line 1, column 15: chain c does not exist",
		"flush ruleset\nflush chain ip t c d":                                                  "line 2, column 20: `d` after a command",
		"define x = $y":                                                                        "line 1, column 12: $y is not defined",
		"define x =\n":                                                                         "line 1, column 8: x is defined as nothing",
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: error is %v, want %s", text, err, want)
		}
	}
	for rule, want := range map[string]string{
		"jump nowhere":                            "line 18, column 3: chain nowhere does not exist",
		"jump input":                              "line 18, column 3: chain input is a base chain, nothing can go there",
		"ip saddr @nowhere":                       "line 18, column 13: set nowhere does not exist",
		"ip saddr @ports":                         "line 18, column 3: `ip saddr` is not what set ports holds",
		"ip saddr . ip6 saddr @ports":             "line 18, column 3: `ip saddr . ip6 saddr` is not what set ports holds",
		"ip saddr . ip6 saddr { 10.0.0.1 . ::1 }": "line 18, column 14: `ip6 saddr` of a packet that is not of its family",
		"accept drop":                             "line 18, column 10: `drop` after a verdict",
		"iifname accept":                          "line 18, column 11: `accept` where the name of an interface should be",
		"drop comment \"x\" accept":               "line 18, column 20: `accept` after a comment",
		"tcp dport 70000":                         "line 18, column 13: `70000` is no service",
		"tcp dport 022":                           "line 18, column 13: `022` is no service",
		"tcp dport 30-20":                         "line 18, column 13: the range `30-20` ends before it begins",
		"tcp dport > 65535":                       "line 18, column 15: nothing is > 65535",
		"tcp dport { }":                           "line 18, column 13: a set without elements",
		"counter name nowhere":                    "line 18, column 16: counter nowhere does not exist",
		"limit rate 5/fortnight":                  "line 18, column 14: `5/fortnight` is no rate",
		"add @busy { ip saddr timeout soon }":     "line 18, column 32: `soon` where a time such as 1m30s should be",
		"add @busy { ip saddr : 0:1 }":            "line 18, column 26: a value of set busy",
		"add @place { ip saddr }":                 "line 18, column 3: a value goes with a map, and none with a set",
		"meta priority set ip saddr map @hosts":   "line 18, column 21: set hosts does not hold what is wanted of it",
		"meta priority set 10000:1":               "line 18, column 21: `10000:1` is no class handle",
		"meta priority vmap @step":                "line 18, column 3: `meta priority` is not what set step holds",
	} {
		if _, err := Parse(strings.Replace(about, "RULE", rule, 1)); err == nil || err.Error() != want {
			t.Errorf("%s: error is %v, want %s", rule, err, want)
		}
	}
	loop := "table ip t { chain in { type filter hook input priority 0; jump a; }\nchain a { jump b; }\nchain b { goto a; } }"
	if _, err := Parse(loop); err == nil || err.Error() != "line 2, column 1: chain a leads back to itself" {
		t.Errorf("a loop: error is %v", err)
	}
}

// TestDefinitionsDoNotExplode: definitions that double each other are stopped.
func TestDefinitionsDoNotExplode(t *testing.T) {
	text := "define a0 = x\n"
	for i := range 40 {
		text += "define a" + string(rune('A'+i%26)) + string(rune('a'+i/26)) + " = $a0 $a0\nredefine a0 = $a" + string(rune('A'+i%26)) + string(rune('a'+i/26)) + "\n"
	}
	if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "too much text comes from definitions") {
		t.Errorf("error is %v", err)
	}
	deep := "table ip t { set s { type ipv4_addr; elements = " + strings.Repeat("{", 100000)
	if _, err := Parse(deep); err == nil || !strings.Contains(err.Error(), "too many braces") {
		t.Errorf("error is %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range append(rendered(f), written(f)...) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, c := range statementCases() {
		f.Add(strings.Replace(about, "RULE", c.rule, 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if (r == nil) == (err == nil) {
			t.Fatalf("a ruleset %v and error %v", r != nil, err)
		}
		if r == nil {
			return
		}
		for _, s := range r.Sets {
			for _, e := range s.Elements {
				if e.Chain < 0 || e.Chain > len(r.Chains) || s.Dynamic {
					t.Fatalf("set %s has the element %v", s.Name, e)
				}
			}
		}
		r.Canonical()
	})
}
