package nft

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"tirl/internal/verify/ruleset"
)

// rendered are rulesets that tirl has rendered.
func rendered(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../backend/nftables/testdata/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rulesets: %v", err)
	}
	return files
}

// written are rulesets as people write them.
func written(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rulesets: %v", err)
	}
	return files
}

// hooks writes the hooks of a ruleset with the names of their chains.
func hooks(r *ruleset.Ruleset) (list []string) {
	for _, h := range r.Hooks {
		list = append(list, fmt.Sprintf("%s families %d stage %d policy %d", r.Chains[h.Chain].Name, h.Families, h.Stage, h.Policy))
	}
	return list
}

func chainNames(r *ruleset.Ruleset) (list []string) {
	for _, c := range r.Chains {
		list = append(list, c.Name)
	}
	return list
}

func TestHooks(t *testing.T) {
	r := mustParse(t, `
table ip six { }
table inet a {
	chain later { type filter hook input priority filter + 5; policy drop; }
	chain first { type filter hook input priority -1; accept; }
	chain early { type filter hook prerouting priority mangle - 5; policy drop; jump shared; }
	chain late { type filter hook prerouting priority dstnat + 1; accept; }
	chain idle { type filter hook input priority 0; policy accept; }
	chain nothing { type nat hook prerouting priority dstnat; policy accept; }
	chain out { type route hook output priority mangle; ct mark set 5 jump outer; }
	chain through { type filter hook forward priority 0; policy drop; goto shared; }
	chain behind { type nat hook postrouting priority srcnat; masquerade; }
	chain outer { whatever it says; }
	chain unused { dnat to 10.0.0.1; }
	chain shared { drop; }
	chain twin1 { type filter hook input priority 50; drop; }
	chain twin2 { type filter hook input priority security; drop; }
}
table ip a {
	chain four { type filter hook input priority 7; drop; }
}
`)
	want := []string{
		"inet a early families 3 stage 0 policy 1", "inet a late families 3 stage 0 policy 0",
		"inet a first families 3 stage 1 policy 0", "inet a later families 3 stage 1 policy 1", "ip a four families 1 stage 1 policy 0",
		// The kernel puts a chain before those of its priority.
		"inet a twin2 families 3 stage 1 policy 0", "inet a twin1 families 3 stage 1 policy 0",
	}
	if diff := gocmp.Diff(want, hooks(r)); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	for _, name := range chainNames(r) {
		if strings.Contains(name, "out") || strings.Contains(name, "unused") || strings.Contains(name, "idle") {
			t.Errorf("chain %s is met by no packet on its way in", name)
		}
	}
}

// TestCommands: a text means what the kernel holds in the end.
func TestCommands(t *testing.T) {
	want := mustParse(t, `table inet t {
	set s { type inet_service; elements = { 1, 2 } }
	chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; tcp dport @s accept; }
}`)
	for what, text := range map[string]string{
		"flushed": `table inet t {
	set s { type inet_service; elements = { 3 } }
	chain c { type filter hook input priority 0; policy drop; ct mark 5; }
}
flush table inet t
flush set inet t s
table inet t { chain c { tcp dport 22 accept; tcp dport @s accept; }; }
add element inet t s { 1, 2 }`,
		"flushed chain": `table inet t { set s { type inet_service; elements = { 1, 2 } }
	chain c { type filter hook input priority 0; policy drop; ct mark 5; }
}
flush chain inet t c
table inet t { chain c { tcp dport 22 accept; tcp dport @s accept; }; }`,
		"deleted": `table inet t { chain d { type filter hook input priority 0; ct mark 5; }; }
delete table inet t
table inet t {
	set s { type inet_service; elements = { 2, 1 } }
	chain c { type filter hook input priority filter; policy drop; tcp dport ssh accept; tcp dport @s accept; }
}`,
		"flush ruleset": `table inet t { chain d { type filter hook input priority 0; ct mark 5; }; }; flush ruleset
table inet t { set s { type inet_service; elements = { 2, 1, }; }; chain c { type filter hook input priority 0;
	policy drop; tcp dport 22 accept; tcp dport @s accept; }; }`,
		"commands": `create table inet t
add set inet t s { type inet_service; }
add element inet t s { 1 } # one
element inet t s { 2 }
chain inet t c { type filter hook input priority 0; policy drop; }
add rule inet t c tcp dport @s accept
insert rule inet t c tcp dport 22 accept comment "first"`,
		"definitions": `define a = 7
redefine a = 2
define list = { 1, $a }
define door = ssh
define what = drop
table inet t {
	set s { type inet_service; elements = { $list } }
	define what = accept
	chain c {
		type filter hook input priority 0; policy $what
		tcp dport $door $what; tcp dport @s $what
	}
}
table inet t { chain c { policy $what; }; }`,
	} {
		r, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		same(t, what, want, r)
	}
}

// TestLinesAndTexts: rules keep where they stand and how they are written.
func TestLinesAndTexts(t *testing.T) {
	r := mustParse(t, "table ip t {\n chain c {\n  type filter hook input priority 0; accept;  drop comment \"x\" # y\n\n  tcp dport {\n   22,\n 23 }  \\\n reject\n }\n}")
	var got []string
	for _, rule := range r.Chains[0].Rules {
		got = append(got, fmt.Sprintf("%d %s", rule.Line, rule.Text))
	}
	want := []string{"3 accept", `3 drop comment "x"`, "5 tcp dport {\n   22,\n 23 }  \\\n reject"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestVerdictsByState: a map whose keys no set of the ruleset can hold is a rule
// for each verdict.
func TestVerdictsByState(t *testing.T) {
	for _, text := range []string{
		"table inet t { chain c { type filter hook input priority 0; iif lo ct state vmap { new : jump d, established : accept }; }; chain d { drop; }; }",
		"table inet t { map m { type ct_state : verdict; elements = { established : accept, new : jump d }; }; chain d { drop; }; chain c { type filter hook input priority 0; iif lo ct state vmap @m; }; }",
	} {
		r := mustParse(t, text)
		lo := match{Attr: ruleset.Iface, Names: []string{"lo"}}
		want := [][]ruleset.Statement{
			{lo, match{Attr: ruleset.Conn, Conns: ruleset.New}, ruleset.Do{Verdict: ruleset.Jump, Chain: 1}},
			{lo, match{Attr: ruleset.Conn, Conns: ruleset.Established}, accept},
		}
		var got [][]ruleset.Statement
		for _, rule := range r.Chains[0].Rules {
			got = append(got, rule.Statements)
		}
		if diff := gocmp.Diff(want, got, samePrefix); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestElements: keys, values and verdicts of sets.
func TestElements(t *testing.T) {
	r := mustParse(t, `table inet t {
	map places { typeof meta priority . meta l4proto . th dport : meta priority
		flags interval
		elements = { 0:1 . udp . 5-7 counter packets 1 bytes 2 : 0:2,
			     none . 6 . 22 comment "x" : ffff:a }
	}
	map ends { type classid : verdict; elements = { 0:2 : goto d, 0:3 : accept }; }
	set near { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1-10.0.0.2 . 22, 10.1.0.0/16 . 1-2 }; }
	set seen { type ipv4_addr; flags dynamic,timeout; timeout 1m
		elements = { 10.9.0.2 limit rate over 20/second burst 40 packets expires 1s500ms, 10.9.0.3 timeout 2s expires 1ms } }
	chain d { ip saddr != @seen drop; }
	chain c {
		type filter hook input priority 0
		meta priority set meta priority . meta l4proto . th dport map @places meta priority vmap @ends
		ip saddr . udp dport @near drop
	}
}`)
	want := []ruleset.Set{
		{Name: "places", Line: 2, Elements: []ruleset.Element{
			{Key: []ruleset.Range{{First: 1, Last: 1}, {First: 17, Last: 17}, {First: 5, Last: 7}}, Value: 2},
			{Key: []ruleset.Range{{First: 0, Last: 0}, {First: 6, Last: 6}, {First: 22, Last: 22}}, Value: 0xffff000a},
		}},
		{Name: "ends", Line: 7, Elements: []ruleset.Element{
			{Key: nums(2), Then: ruleset.Goto, Chain: 1}, {Key: nums(3), Then: ruleset.Accept},
		}},
		{Name: "near", Line: 8, Elements: []ruleset.Element{
			{Key: []ruleset.Range{{Prefix: nets("10.0.0.1/32")[0]}, {First: 22, Last: 22}}},
			{Key: []ruleset.Range{{Prefix: nets("10.0.0.2/32")[0]}, {First: 22, Last: 22}}},
			{Key: []ruleset.Range{{Prefix: nets("10.1.0.0/16")[0]}, {First: 1, Last: 2}}},
		}},
		{Name: "seen", Line: 9, Dynamic: true},
	}
	if diff := gocmp.Diff(want, r.Sets, samePrefix); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
}
