package policy

import (
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tirl/internal/port"
)

func ports(all ...uint16) []port.Port {
	knocks := make([]port.Port, len(all))
	for i, n := range all {
		knocks[i] = port.Port{Proto: port.UDP, Number: n}
	}
	return knocks
}

// Guessable finds a pattern, and says about how much it leaves to guess.
func TestGuessable(t *testing.T) {
	tests := []struct {
		ports []uint16
		want  string // a part of the text; empty: no pattern
		bits  float64
	}{
		{[]uint16{40213, 7719, 28816}, "", 0},
		{[]uint16{40213}, "", 0},
		{[]uint16{40213, 7719}, "", 0},
		{[]uint16{7000, 8000}, "round", 19},
		{[]uint16{7000, 8000, 9000}, "guide", 6},
		{[]uint16{9000, 8000, 7000}, "guide", 6},
		{[]uint16{12345, 54321, 24680}, "guide", 6},
		{[]uint16{12345, 54321, 24680, 13579}, "guide", 8},
		{[]uint16{12345, 54321, 24680, 13579, 7719}, "", 0},
		{[]uint16{8881, 7777, 9991}, "guide", 6},
		{[]uint16{10017, 20034, 30052}, "", 0},
		{[]uint16{10017, 20036, 30055}, "up by 10019", 30},
		{[]uint16{30055, 20036, 10017}, "down by 10019", 30},
		{[]uint16{20036, 30055, 10017}, "10019 apart, in another order", 33},
		{[]uint16{3001, 9003, 27009}, "3 times the one before", 20},
		{[]uint16{3011, 7019, 10030, 17049}, "sum of the two", 32},
		{[]uint16{40213, 40213, 7719}, "2 of 3 are port 40213", 35},
		{[]uint16{40213, 40213, 7719, 28816}, "", 0},
		{[]uint16{40213, 7719, 40213, 7719}, "2 ports again and again", 36},
		{[]uint16{40213, 7719, 28816, 7719, 40213}, "backwards", 48},
		{[]uint16{12354, 54213, 34125}, "the same digits", 30},
		{[]uint16{5544, 9001, 4545}, "each is round, a year", 34},
		{[]uint16{1111, 9999, 5555}, "digits", 30},
		{[]uint16{2345, 9876, 678}, "digits", 30},
		{[]uint16{1122, 4545, 12321}, "digits", 30},
		{[]uint16{1100, 9800, 45600}, "round", 28},
		{[]uint16{22, 998, 513}, "below 1024", 30},
		{[]uint16{1984, 1905, 2067}, "years", 23},
		{[]uint16{1984, 1905, 2067, 2340}, "", 0},
		{[]uint16{20, 24, 11, 25}, "date", 20},
		{[]uint16{2024, 11, 25}, "date", 20},
		{[]uint16{2511, 2024}, "date", 20},
		{[]uint16{2540, 2024, 7719}, "", 0},
		{[]uint16{1337, 31337, 4242}, "hacker", 17},
		{[]uint16{1337, 31337, 4242, 28816}, "", 0},
		{[]uint16{8443, 443, 51820}, "well-known services", 30},
		{[]uint16{8443, 1984, 4545}, "each is round, a year", 34},
		{[]uint16{40213, 40391, 40400}, "within 188", 39},
		{[]uint16{40213, 40391, 40400, 40301, 40277, 40222, 40333}, "", 0}, // but these are many
		{[]uint16{40213, 40391, 40469}, "", 0},
	}
	for _, tt := range tests {
		got, ok := Guessable(ports(tt.ports...))
		if !ok {
			got = Pattern{}
		}
		if ok != (tt.want != "") || !strings.Contains(got.Text, tt.want) || math.Round(got.Bits) != tt.bits || got.First > got.Bits {
			t.Errorf("Guessable(%v) is %+v, want %q with %g bits", tt.ports, got, tt.want, tt.bits)
		}
	}
	wide := ports(40000, 40311, 40999, 40100, 40756, 40517, 40222)
	if got := PatternOf(wide); got.Text != "they are all within 1000 of one another" || math.Round(got.Bits) != 86 {
		t.Errorf("of a range of 1000 ports: %+v", got)
	}
	if got, ok := Guessable(wide); ok {
		t.Errorf("a cloud's range of ports is easy to guess: %+v", got)
	}
	if got, ok := Guessable(ports(slices.Repeat([]uint16{7100, 8200}, 8)...)); !ok || math.Round(got.Bits) != 48 {
		t.Errorf("two ports eight times: %+v, %v", got, ok)
	}
	mixed := ports(7000, 8100, 9000)
	mixed[1].Proto = port.TCP
	if got, _ := Guessable(mixed); math.Round(got.Bits) != 31 {
		t.Errorf("of two protocols: %g bits", got.Bits)
	}
}

// How many numbers of a kind there are.
func TestLikings(t *testing.T) {
	count := func(is func(uint16) bool) (n float64) {
		for p := 1; p <= math.MaxUint16; p++ {
			if is(uint16(p)) {
				n++
			}
		}
		return n
	}
	for _, l := range likings() {
		if got := count(l.is); got != l.count {
			t.Errorf("%s: there are %g, not %g", l.text, got, l.count)
		}
	}
	if got := count(isAnyLiked); got != likedByAnybody {
		t.Errorf("of any kind: there are %g, not %d", got, likedByAnybody)
	}
}

// Of sequences that are random few look as if they were not.
func TestRandomIsNotGuessable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	const n = 20000
	for range n {
		var all [4]uint16
		for i := range all {
			all[i] = uint16(1 + random.IntN(math.MaxUint16))
		}
		if what, ok := Guessable(ports(all[:]...)); ok {
			t.Logf("%v: %s", all, what.Text)
			found++
		}
	}
	if found > n/5000 {
		t.Errorf("%d of %d random sequences of four knocks are called guessable", found, n)
	}
}

func TestSpace(t *testing.T) {
	p := mustParse(t, `public = ["tcp/1-1000", "tcp/1-1000", "udp/53"]
[door.a]
opens = ["tcp/2000-2099"]
knocks = ["udp/40213", "udp/7719", "udp/28816"]
[door.b]
opens = ["tcp/2050-2149"]
knocks = ["udp/40213", "tcp/7719", "udp/8816"]
`)
	s := p.Space()
	if tcp, udp := s[port.TCP], s[port.UDP]; tcp != 65535-1000-150 || udp != 65534 {
		t.Errorf("tcp %d, udp %d", tcp, udp)
	}
	for i, want := range []float64{65534, 65534 + 64385} {
		if got := s.Each(p.Doors[i].Knocks); math.Abs(got-math.Log2(want)) > 1e-9 {
			t.Errorf("door %d: %g bits each, want log2 of %g", i, got, want)
		}
	}
}

const hashBase = `mode = "firewall"
public = ["tcp/80", "tcp/443", "udp/1000-2000", "esp", "ah"]
trust = ["10.0.0.0/8", "192.0.2.1", "iface:wg0", "iface:wg1"]

[door.ssh]
opens = ["tcp/22", "tcp/2222"]
knocks = ["udp/40213", "udp/7719", "udp/28816"]
from = ["203.0.113.0/24", "198.51.100.0/24"]
`

func TestHashSame(t *testing.T) {
	want := mustParse(t, hashBase).Hash()
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(hashBase) }
	for name, text := range map[string]string{
		"comments":  "# c\n" + strings.ReplaceAll(hashBase, "\n", " # d\n"),
		"defaults":  "version = 1\nrefuse = \"drop\"\n" + hashBase + "open_for = \"30s\"\n[knocking]\nstep_timeout = \"10s\"\nper_source = \"20/second\"\nsources = 65536\nipv6_prefix = 128\nmatch_ttl = false\nduplicates = \"ignore\"\n[log]\nevents = \"kernel\"\n[firewall]\nicmp = true\ndhcp = true\n[boot]\non_failure = \"close\"\n",
		"backend":   "backend = \"iptables\"\n" + hashBase,
		"order":     replace(`"tcp/80", "tcp/443"`, `"tcp/443", "tcp/80"`, `"esp", "ah"`, `"ah", "proto/50"`, `"iface:wg0", "iface:wg1"`, `"iface:wg1", "iface:wg0"`, `"tcp/22", "tcp/2222"`, `"tcp/2222", "tcp/22"`),
		"durations": hashBase + "open_for = \"0.5m\"\n",
		"ranges":    replace("udp/1000-2000", `udp/1000-1500", "udp/1501-1999", "udp/2000`),
		"overlaps":  replace("udp/1000-2000", `udp/1000-2000", "udp/1500-1600", "tcp/443`),
		"networks":  replace("10.0.0.0/8", `10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/10", "10.1.0.0/16`),
		"layout":    strings.ReplaceAll(hashBase, "\n", "\r\n"),
		"inline":    strings.Replace(hashBase, "[door.ssh]\n", "[door]\n[door.'ssh']\n", 1),
	} {
		if got := mustParse(t, text).Hash(); got != want {
			t.Errorf("%s: another hash", name)
		}
	}
}

func TestHashDiffers(t *testing.T) {
	seen := map[string]string{mustParse(t, hashBase).Hash(): "the base"}
	door2 := "[door.b]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1\", \"udp/70\", \"udp/9\"]\n"
	door3 := strings.ReplaceAll(strings.ReplaceAll(door2, "door.b", "door.c"), "udp/1", "udp/3")
	for _, text := range []string{
		strings.Replace(hashBase, "firewall", "guard", 1),
		"refuse = \"reset\"\n" + hashBase,
		strings.Replace(hashBase, "tcp/80", "udp/80", 1),
		strings.Replace(hashBase, "tcp/80", "tcp/81", 1),
		strings.Replace(hashBase, "1000-2000", "1000-2001", 1),
		strings.Replace(hashBase, "esp", "gre", 1),
		strings.Replace(hashBase, "10.0.0.0/8", "10.0.0.0/9", 1),
		strings.Replace(hashBase, "wg0", "wg2", 1),
		strings.Replace(hashBase, "door.ssh", "door.ssl", 1),
		strings.Replace(hashBase, "tcp/2222", "tcp/2223", 1),
		strings.Replace(hashBase, `"udp/40213", "udp/7719"`, `"udp/7719", "udp/40213"`, 1),
		strings.Replace(hashBase, "203.0.113.0/24", "203.0.113.0/25", 1),
		hashBase + "open_for = \"31s\"\n",
		hashBase + "open_for = \"once\"\n",
		hashBase + "[firewall]\nicmp = false\n",
		hashBase + "[firewall]\ndhcp = false\n",
		hashBase + "[log]\nevents = \"none\"\n",
		hashBase + "[boot]\non_failure = \"open\"\n",
		hashBase + "[knocking]\nstep_timeout = \"11s\"\n",
		hashBase + "[knocking]\nduplicates = \"reset\"\n",
		hashBase + "[knocking]\nmatch_ttl = true\n",
		hashBase + "[knocking]\nipv6_prefix = 64\n",
		hashBase + "[knocking]\nper_source = \"21/second\"\n",
		hashBase + "[knocking]\nsources = 65537\n",
		hashBase + door2,
		hashBase + door2 + door3,
		hashBase + door3 + door2,
	} {
		h := mustParse(t, strings.Replace(text, `"esp", "ah"`, map[bool]string{true: `"tcp/5"`, false: `"esp", "ah"`}[strings.Contains(text, "\"guard\"")], 1)).Hash()
		if other, ok := seen[h]; ok {
			t.Errorf("the same hash:\n%s\nand\n%s", text, other)
		}
		seen[h] = text
	}
}

func TestAudit(t *testing.T) {
	host := Host{EphemeralFirst: 32768, EphemeralLast: 60999, FileMode: 0o600}
	listen := func(all ...string) Host {
		h := host
		for _, s := range all {
			name, at, _ := strings.Cut(s, "@")
			p, err := port.Parse(at)
			if err != nil {
				t.Fatal(err)
			}
			h.Listeners = append(h.Listeners, Listener{p, name})
		}
		return h
	}
	mode := func(m fs.FileMode) Host { h := host; h.FileMode = m; return h }
	const guard = "[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/20213\", \"udp/7719\", \"udp/28816\"]\n"
	firewall := "mode = \"firewall\"\npublic = [\"tcp/80\"]\n" + guard
	tests := []struct {
		name, text string
		host       Host
		want       []string // position and part of the text
	}{
		{"nothing", guard, host, nil},
		{"unknown host", guard, Host{}, nil},
		{"ephemeral", strings.NewReplacer("20213", "40213", "28816", "60999").Replace(guard), host, []string{"3:11 udp/40213, udp/60999 may fail"}},
		{"beside ephemeral", strings.NewReplacer("20213", "32767", "28816", "61000").Replace(guard), host, nil},
		{"readable", guard, mode(0o644), []string{"0:0 everybody on this host can read"}},
		{"group", guard, mode(0o640), nil},
		{"writable", guard, mode(0o664), []string{"0:0 others than its owner can change"}},
		{"guarded listener", guard, listen("sshd@tcp/22"), nil},
		{"protocol not heard", guard, listen("nginx@tcp/80"), nil},
		{"heard", guard, listen("dnsmasq@udp/53", "dnsmasq@udp/53"), []string{"0:0 dnsmasq listens on udp/53: a client"}},
		{"public", "public = [\"udp/53\"]\n" + guard, listen("dnsmasq@udp/53", "x@udp/54"), []string{"1:10 x listens on udp/54"}},
		{"knock in use", guard, listen("@udp/7719"), []string{"0:0 a program listens on udp/7719: a client", "3:24 a program listens on udp/7719: its clients knock"}},
		{"firewall", firewall, listen("nginx@tcp/80", "sshd@tcp/22", "sshd@tcp/2222"), []string{"2:10 sshd listens on tcp/2222, which this policy closes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, d := range mustParse(t, tt.text).Audit(tt.host) {
				if d.Severity != Warning {
					t.Errorf("no warning: %v", d)
				}
				got = append(got, fmt.Sprintf("%d:%d %s", d.Pos.Line, d.Pos.Column, d.Text))
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i, want := range tt.want {
				at, text, _ := strings.Cut(want, " ")
				if !strings.HasPrefix(got[i], at+" ") || !strings.Contains(got[i], text) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
		})
	}
}

// What the kernel does not give to connections can be knocked at.
func TestEphemeral(t *testing.T) {
	h := Host{EphemeralFirst: 32768, EphemeralLast: 60999, Reserved: []port.Span{{First: 40000, Last: 40999}, {First: 50000, Last: 50000}}}
	for number, want := range map[uint16]bool{
		1: false, 32767: false, 32768: true, 39999: true, 40000: false, 40999: false, 41000: true,
		49999: true, 50000: false, 50001: true, 60999: true, 61000: false,
	} {
		if got := h.Ephemeral(number); got != want {
			t.Errorf("%d: %v", number, got)
		}
	}
	if (Host{}).Ephemeral(0) || (Host{}).Ephemeral(40000) {
		t.Error("a host that nothing is known of")
	}
}
