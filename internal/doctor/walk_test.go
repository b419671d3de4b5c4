package doctor

import (
	"os"
	"strings"
	"testing"

	"tirl/internal/port"
)

// verdicts of a walk as the tests write them.
func (o outcome) String() string {
	s := map[verb]string{accept: "accept", drop: "drop", pass: "pass"}[o.end]
	if o.maybe {
		s += ", some accepted"
	}
	return s
}

func to(t testing.TB, s string) packet {
	t.Helper()
	rest, v6 := strings.CutSuffix(s, " v6")
	p, err := port.Parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	return packet{v6: v6, to: p}
}

func base(t testing.TB, tables []*table, h hook) *chain {
	t.Helper()
	for _, x := range tables {
		for _, c := range x.order {
			if c.hook == h && !c.nat {
				return c
			}
		}
	}
	t.Fatalf("no base chain at %s", h)
	return nil
}

func noSkip(string, string) bool           { return false }
func noSets(*table, string) ([]expr, bool) { return nil, false }

// testdata/rules.json is what nft 1.0.6 prints of one rule of each shape.
func TestWalkNft(t *testing.T) {
	text, err := os.ReadFile("testdata/rules.json")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := parseNft(string(text), noSkip, func(_ *table, name string) ([]expr, bool) {
		return []expr{22.0, map[string]any{"range": []any{8000.0, 8010.0}}}, name == "adm"
	})
	if err != nil {
		t.Fatal(err)
	}
	c := base(t, tables, input)
	// Two rules accept whatever is TCP; the others are the ones to look at.
	all := c.rules
	for i, tt := range []struct {
		rule   int
		packet string
		want   truth
	}{
		{8, "tcp/22", no}, {9, "tcp/22", no},
		{11, "tcp/443", some}, {11, "tcp/9003", some}, {11, "tcp/22", no}, {11, "udp/443", no},
		{12, "tcp/22", some}, {12, "tcp/22 v6", no}, {12, "tcp/23", no},
		{14, "tcp/22", no},
		{15, "tcp/22", yes}, {15, "tcp/8005", yes}, {15, "tcp/8011", no},
		{17, "tcp/25", yes}, {17, "tcp/24", no}, {17, "udp/25", no},
		{18, "tcp/1", yes}, {18, "udp/1", no},
		{19, "udp/53", yes}, {19, "udp/54", no},
		{21, "tcp/99", yes}, {21, "udp/150", yes}, {21, "tcp/150", no},
		{22, "tcp/1", some}, {22, "tcp/1 v6", no},
		{23, "tcp/77", yes}, {23, "tcp/77 v6", no},
		{24, "udp/546 v6", no}, {24, "udp/546", no},
		{25, "tcp/1", no}, {26, "tcp/1", yes}, {26, "udp/1", no}, {26, "tcp/1 v6", no},
		{27, "udp/55", yes}, {27, "tcp/55 v6", yes},
		{28, "tcp/1", some},
	} {
		var got truth
		found := false
		for j := range all {
			if strings.HasPrefix(all[j].text, "rule "+itoa(tt.rule)+" ") {
				got, found = max(got, all[j].truth(to(t, tt.packet))), true
			}
		}
		if !found || got != tt.want {
			t.Errorf("%d: rule %d matches %s: %d, want %d", i, tt.rule, tt.packet, got, tt.want)
		}
	}
	for packet, want := range map[string]string{
		"tcp/22": "accept, some accepted", "tcp/25": "accept", "udp/53": "accept", "udp/99": "drop",
		"tcp/26": "accept", "udp/546 v6": "drop", "udp/120": "accept",
	} {
		if got := walk(c, to(t, packet)).String(); got != want {
			t.Errorf("%s: %s, want %s", packet, got, want)
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestWalkXtables(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        map[string]string
	}{
		{"policy", ":INPUT DROP [0:0]", map[string]string{"tcp/22": "drop"}},
		{"established", ":INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -m state --state NEW -p tcp --dport 22 -j ACCEPT",
			map[string]string{"tcp/22": "accept", "tcp/23": "drop"}},
		{"last rule", ":INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp -m multiport --dports 80,8000:8010 -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-port-unreachable",
			map[string]string{"tcp/80": "accept", "tcp/8003": "accept", "tcp/22": "drop", "udp/80": "drop"}},
		{"some sources", ":INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT", map[string]string{"tcp/22": "drop, some accepted", "tcp/23": "drop"}},
		{"a ban", ":INPUT ACCEPT [0:0]\n:f2b - [0:0]\n-A INPUT -p tcp -m multiport --dports 22 -j f2b\n-A f2b -s 192.0.2.1/32 -j REJECT\n-A f2b -j RETURN", map[string]string{"tcp/22": "accept"}},
		{"interfaces", ":INPUT DROP [0:0]\n-A INPUT -i eth0 -j ACCEPT\n-A INPUT ! -i lo -p tcp -j DROP\n-A INPUT ! -i eth1 -j ACCEPT",
			map[string]string{"tcp/1": "drop, some accepted", "udp/1": "accept, some accepted"}},
		{"goto", ":INPUT ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n-A INPUT -j a\n-A INPUT -p tcp -j DROP\n-A a -p udp -g b\n-A a -j ACCEPT\n-A b -p udp --dport 5 -j DROP",
			map[string]string{"tcp/1": "accept", "udp/5": "drop", "udp/6": "accept"}},
		{"return", ":INPUT DROP [0:0]\n:a - [0:0]\n-A INPUT -j a\n-A INPUT -j ACCEPT\n-A a -p tcp -j RETURN\n-A a -j DROP", map[string]string{"tcp/1": "accept", "udp/1": "drop"}},
		{"limits", ":INPUT DROP [0:0]\n-A INPUT -m limit --limit 3/min -j DROP\n-A INPUT -p tcp --syn -m limit --limit 3/min -j ACCEPT", map[string]string{"tcp/1": "accept", "udp/1": "drop"}},
		{"flags", ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", map[string]string{"tcp/1": "drop", "udp/1": "accept"}},
		{"no SYN", ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m state --state NEW -j DROP", map[string]string{"tcp/1": "accept"}},
		{"local", ":INPUT DROP [0:0]\n:n - [0:0]\n-A INPUT -j n\n-A INPUT -j ACCEPT\n-A n -m addrtype --dst-type LOCAL -j RETURN\n-A n -j DROP", map[string]string{"tcp/1": "accept"}},
		{"strange", ":INPUT DROP [0:0]\n-A INPUT -m owl --hoot \"a b\" -j ACCEPT\n-A INPUT -p 17 -j LOG --log-prefix \"x -j ACCEPT\"\n-A INPUT ! -p tcp -m comment --comment \"say \\\"-j DROP\\\"\" -j ACCEPT",
			map[string]string{"tcp/1": "drop, some accepted", "udp/1": "accept, some accepted"}},
		{"a loop, which no kernel has", ":INPUT ACCEPT [0:0]\n:a - [0:0]\n-A INPUT -j a\n-A a -j a\n-A a -j a", map[string]string{"tcp/1": "accept, some accepted"}},
	} {
		tables, own := parseXtables("*filter\n"+tt.rules+"\nCOMMIT\n", "iptables", false, false)
		if own {
			t.Errorf("%s: tirl's own rules", tt.name)
		}
		for p, want := range tt.want {
			if got := walk(base(t, tables, input), to(t, p)).String(); got != want {
				t.Errorf("%s: %s: %s, want %s", tt.name, p, got, want)
			}
		}
	}
}

// tirl's own rules do not count as another firewall, and in firewall mode what it
// accepts comes past its neighbours in the same chain.
func TestOwnRules(t *testing.T) {
	const rules = "*filter\n:INPUT DROP [0:0]\n:TIRL - [0:0]\n:TIRL_GATE - [0:0]\n-A INPUT -j TIRL\n-A TIRL -j TIRL_GATE\n-A TIRL_GATE -j DROP\nCOMMIT\n"
	for firewall, want := range map[bool]string{false: "drop", true: "accept"} {
		tables, own := parseXtables(rules, "iptables", false, firewall)
		if got := walk(base(t, tables, input), to(t, "tcp/22")).String(); got != want || !own {
			t.Errorf("firewall mode %v: %s, own %v", firewall, got, own)
		}
	}
}

func FuzzParseXtables(f *testing.F) {
	f.Add("*filter\n:INPUT DROP [0:0]\n-A INPUT ! -i lo -p tcp -m multiport --dports 1:2 -j DNAT --to-destination [::1]:2\nCOMMIT\n")
	f.Add("*nat\n-A a -j\n-A\n:\n-A b \"\\")
	f.Fuzz(func(t *testing.T, s string) {
		tables, _ := parseXtables(s, "iptables", false, true)
		for _, x := range tables {
			for _, c := range x.order {
				walk(c, packet{to: port.Port{Proto: port.TCP, Number: 22}})
			}
		}
	})
}

func FuzzParseNft(f *testing.F) {
	text, err := os.ReadFile("testdata/rules.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"nftables":[{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"vmap":{"data":{"set":[[1,2],3]}}},{"match":{}},null,"x"]}}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		usedSets(s)
		readElements(s)
		tables, err := parseNft(s, noSkip, noSets)
		if err != nil {
			return
		}
		for _, x := range tables {
			for _, c := range x.order {
				walk(c, packet{to: port.Port{Proto: port.TCP, Number: 22}})
			}
		}
	})
}
