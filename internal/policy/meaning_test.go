package policy

import (
	"fmt"
	"io/fs"
	"math"
	"net/netip"
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

func TestGuessable(t *testing.T) {
	tests := []struct {
		ports []uint16
		want  string // a part of it; empty: not guessable
	}{
		{[]uint16{40213, 7719, 28816}, ""},
		{[]uint16{40213}, ""},
		{[]uint16{40213, 7719}, ""},
		{[]uint16{7000, 8000}, "round"},
		{[]uint16{7000, 8000, 9000}, "guide"},
		{[]uint16{12345, 54321, 24680}, "guide"},
		{[]uint16{12345, 54321, 24680, 13579}, "guide"},
		{[]uint16{12345, 54321, 24680, 13579, 7719}, ""},
		{[]uint16{8881, 7777, 9991}, "guide"},
		{[]uint16{10017, 20034, 30051}, "up by 10017"},
		{[]uint16{30051, 20034, 10017}, "down by 10017"},
		{[]uint16{40213, 40213, 7719}, "2 of 3 are port 40213"},
		{[]uint16{40213, 40213, 7719, 28816}, ""},
		{[]uint16{40213, 7719, 40213}, "2 of 3"},
		{[]uint16{40213, 7719, 7719, 40213}, "backwards"},
		{[]uint16{1111, 9999, 5555}, "digits"},
		{[]uint16{2345, 9876, 678}, "digits"},
		{[]uint16{1100, 9800, 45600}, "round"},
		{[]uint16{22, 998, 513}, "below 1024"},
		{[]uint16{1984, 1905, 2067}, "years"},
		{[]uint16{40213, 40391, 40400}, "within 256"},
		{[]uint16{40213, 40391, 40469}, ""},
	}
	for _, tt := range tests {
		got := guessable(ports(tt.ports...))
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("guessable(%v) is %q, want %q", tt.ports, got, tt.want)
		}
	}
}

func TestStrengths(t *testing.T) {
	p := &Policy{Knocking: Knocking{PerSource: 20}, Doors: []Door{
		{Name: "one", Knocks: ports(5), From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		{Name: "three", Knocks: ports(5, 70, 9)},
		{Name: "mixed", Knocks: append(ports(5, 70), port.Port{Proto: port.TCP, Number: 9})},
		{Name: "sixteen", Knocks: ports(slices.Repeat([]uint16{5, 9}, 8)...)},
	}}
	want := []Strength{
		{Door: "one", Bits: 15.99998, One: 65535. / 2 / 20, Many: 65535. / 2 / 20 / 10000, Named: true},
		{Door: "three", Bits: 47.99993, One: 2.8146e14 / 2 * 3 / 20, Many: 2.8146e14 / 2 * 3 / 20 / 10000},
		{Door: "mixed", Bits: 50.99993, One: 2.2517e15 / 2 * 3 / 20, Many: 2.2517e15 / 2 * 3 / 20 / 10000},
		{Door: "sixteen", Bits: 255.99965, One: Span(math.Pow(65535, 16) / 2 * 16 / 20), Many: Span(math.Pow(65535, 16) / 2 * 16 / 20 / 10000)},
	}
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-4*math.Abs(b) }
	for i, got := range p.Strengths() {
		w := want[i]
		if got.Door != w.Door || got.Named != w.Named || !near(got.Bits, w.Bits) || !near(float64(got.One), float64(w.One)) || !near(float64(got.Many), float64(w.Many)) {
			t.Errorf("got  %+v\nwant %+v", got, w)
		}
	}
}

func TestSpanString(t *testing.T) {
	const day, year = 86400, 365.25 * 86400
	tests := []struct {
		span Span
		want string
	}{
		{0, "less than a second"},
		{0.4, "less than a second"},
		{Span(math.NaN()), "less than a second"},
		{1, "1 second"},
		{1.26, "1.3 seconds"},
		{59, "59 seconds"},
		{90, "1.5 minutes"},
		{27 * 60, "27 minutes"},
		{3600, "1 hour"},
		{4 * day, "4 days"},
		{29 * day, "29 days"},
		{200 * day, "6.6 months"},
		{year, "1 year"},
		{123 * year, "120 years"},
		{999 * year, "1000 years"},
		{1234 * year, "1200 years"},
		{670000 * year, "670000 years"},
		{1.23e6 * year, "1.2 million years"},
		{999.9e6 * year, "1 billion years"},
		{4.5e9 * year, "4.5 billion years"},
		{3e14 * year, "300 trillion years"},
		{2e15 * year, "10^15 years"},
		{Span(math.Exp2(255)), "10^69 years"},
		{Span(math.MaxFloat64), "10^300 years"},
	}
	for _, tt := range tests {
		if got := tt.span.String(); got != tt.want {
			t.Errorf("%g seconds are %q, want %q", float64(tt.span), got, tt.want)
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
