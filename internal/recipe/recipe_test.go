package recipe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify"
	"tirl/internal/verify/parse"
	"tirl/internal/verify/ruleset"
)

// flat is a door of two knocks that nothing takes back.
const flat = `
-A INPUT -p udp --dport 7001 -m recent --name a --set -j DROP
-A INPUT -p udp --dport 9009 -m recent --name a --rcheck --seconds 10 -m recent --name b --set -j DROP
-A INPUT -p tcp --dport 22 -m recent --name b --rcheck --seconds 40 -j ACCEPT
-A INPUT -p tcp --dport 22 -j DROP
`

func TestFind(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"nothing", "-A INPUT -p tcp --dport 22 -j DROP\n", "guard icmp dhcp"},
		{"flat", flat, "guard icmp dhcp; udp/7001 10s udp/9009 40s opens tcp/22 (stays)"},
		{"a firewall", ":INPUT DROP [0:0]\n-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT\n-A INPUT -p gre -j ACCEPT\n" + flat,
			"firewall public tcp/80 tcp/443 proto/47; udp/7001 10s udp/9009 40s opens tcp/22 (stays)"},
		{"trust", "-A INPUT -s 10.0.0.0/8 -j ACCEPT\n-A INPUT -i wg+ -j ACCEPT\n" + flat,
			"guard icmp dhcp trust 10.0.0.0/8 iface:wg; udp/7001 10s udp/9009 40s opens tcp/22 (stays)"},
		{"a part of trust", ":INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp --dport 9090 -j ACCEPT\n" + flat,
			"firewall partly 10.0.0.0/8; udp/7001 10s udp/9009 40s opens tcp/22 (stays)"},
		{"from", "-A INPUT ! -s 10.0.0.0/8 -p tcp --dport 22 -j DROP\n" + flat, "guard icmp dhcp; udp/7001 10s udp/9009 40s opens tcp/22 (stays, from 10.0.0.0/8)"},
		{"an interface", strings.ReplaceAll(flat, "-p udp", "-i eth7 -p udp"), "guard icmp dhcp; udp/7001 10s udp/9009 40s opens tcp/22 (stays, by eth7)"},
		{"a range", strings.ReplaceAll(flat, "--dport 7001", "--dport 7001:7005"), "guard icmp dhcp; udp/7001 10s udp/9009 40s opens tcp/22 (stays, any of udp/7001-7005)"},
		{"an answer", strings.ReplaceAll(flat, "22 -j DROP", "22 -j REJECT --reject-with tcp-reset"), "guard answers icmp dhcp; udp/7001 10s udp/9009 40s opens tcp/22 (stays)"},
		{"for ever", strings.ReplaceAll(flat, " --seconds 40", ""), "guard icmp dhcp; udp/7001 10s udp/9009 for ever opens tcp/22 (stays)"},
		{"slides", strings.ReplaceAll(flat, "--rcheck --seconds 40", "--update --seconds 40"), "guard icmp dhcp; udp/7001 10s udp/9009 40s opens tcp/22 (slides, stays)"},
		{"counts", "-A INPUT -p tcp --dport 22 -m recent --name c --rcheck --seconds 9 --hitcount 2 -j ACCEPT\n-A INPUT -p tcp --dport 22 -m recent --name c --set -j DROP\n",
			"guard icmp dhcp; tcp/22 9s tcp/22 9s opens tcp/22 (stays, counts)"},
		{"guard ports", "-A INPUT -p udp --dport 9010 -m recent --name b --remove -j DROP\n" + flat, "guard icmp dhcp; udp/7001 10s udp/9009 40s opens tcp/22 (stays, guarded by udp/9010)"},
		{"idle", strings.ReplaceAll(flat, "--set -j DROP", "--set -s 127.0.0.1 -j DROP"), "guard icmp dhcp idle a idle b"},
		{"a wrong packet ends it, public ones do not", `:NEXT - [0:0]
-A INPUT -p udp --dport 53 -j ACCEPT
-A INPUT -m recent --name a --rcheck -j NEXT
-A INPUT -p udp --dport 7001 -m recent --name a --set -j DROP
-A INPUT -p tcp --dport 22 -m recent --name b --rcheck --seconds 40 -j ACCEPT
-A INPUT -p tcp --dport 22 -j DROP
-A NEXT -m recent --name a --remove
-A NEXT -p udp --dport 9009 -m recent --name b --set -j DROP
`, "guard public udp/53 icmp dhcp; udp/7001 for ever udp/9009 40s opens tcp/22 (stays, wrong ends)"},
	} {
		rules := tt.rules
		if !strings.HasPrefix(rules, ":") {
			rules = ":INPUT ACCEPT [0:0]\n" + rules
		}
		text := "*filter\n" + rules + "COMMIT\n"
		rs, _, err := parse.Text(text, ruleset.IPv4)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		r, err := Find(rs, ruleset.IPv4, Options{})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := short(r); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
		// A search that is cut short misses doors, and says nothing else.
		few, err := Find(rs, ruleset.IPv4, Options{Packets: 5})
		if err != nil || !few.Cut || len(few.Doors) > 0 || few.Firewall != r.Firewall || len(few.Trust) != len(r.Trust) {
			t.Errorf("%s: with 5 packets: %+v, %v", tt.name, few, err)
		}
	}
}

// short writes what a test looks at.
func short(r *Recipe) string {
	var b strings.Builder
	b.WriteString(map[bool]string{false: "guard", true: "firewall"}[r.Firewall])
	put := func(is bool, format string, args ...any) {
		if is {
			fmt.Fprintf(&b, format, args...)
		}
	}
	put(r.Answers, " answers")
	for i, p := range r.Public {
		put(i == 0, " public")
		put(true, " %s", p)
	}
	for _, p := range r.Protos {
		put(true, " %s", p)
	}
	put(r.ICMP, " icmp")
	put(r.DHCP, " dhcp")
	put(len(r.Trust) > 0, " trust")
	for _, p := range r.Trust {
		put(true, " %s", p)
	}
	for _, i := range r.Ifaces {
		put(true, " iface:%s", i)
	}
	for _, p := range r.Partly {
		put(true, " partly %s", p)
	}
	for _, i := range r.Idle {
		put(true, " idle %s", i.Name)
	}
	length := func(d time.Duration) string {
		if d == Forever {
			return "for ever"
		}
		return d.String()
	}
	for _, d := range r.Doors {
		put(true, ";")
		var ways []string
		for i, k := range d.Knocks {
			put(true, " %s", k)
			if i < len(d.Steps) {
				put(true, " %s", length(d.Steps[i]))
			}
			if d.Ranges[i].First != d.Ranges[i].Last {
				ways = append(ways, "any of "+d.Ranges[i].String())
			}
		}
		put(true, " %s opens", length(d.OpenFor))
		for _, s := range d.Opens {
			put(true, " %s", s)
		}
		var how []string
		for _, h := range []struct {
			is   bool
			text string
		}{{d.Once, "once"}, {d.Slides, "slides"}, {d.Stays, "stays"}, {d.Wrong, "wrong ends"}, {d.Counts, "counts"}, {d.Iface != "", "by " + d.Iface}} {
			if h.is {
				how = append(how, h.text)
			}
		}
		for _, g := range d.Guards {
			how = append(how, "guarded by "+g.String())
		}
		for _, p := range d.From {
			how = append(how, "from "+p.String())
		}
		put(true, " (%s)", strings.Join(append(how, ways...), ", "))
	}
	return b.String()
}

// Whatever is read, what is found is so: a door is closed without its knocks, and open
// with them.
func FuzzFind(f *testing.F) {
	files, err := filepath.Glob("../importer/testdata/rules/*.[sn]*")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		rs, _, err := parse.Text(text, ruleset.IPv4)
		if err != nil {
			return
		}
		for _, family := range []ruleset.Family{ruleset.IPv4, ruleset.IPv6} {
			r, err := Find(rs, family, Options{Packets: 5000})
			if err != nil {
				continue
			}
			for _, d := range r.Doors {
				if len(d.From) > 0 {
					continue
				}
				src := read(rs, family).outside(family)
				lets := func(to ...port.Port) bool {
					sim := verify.NewSimulator(rs)
					v := view{src: src, iface: d.Iface}
					var j verify.Judgement
					for i, p := range to {
						j, _ = sim.Packet(v.packet(p, time.Duration(i+1)*gap))
					}
					return j.Verdict == automaton.Accept.String()
				}
				if lets(service(d)) || !lets(append(append([]port.Port{}, d.Knocks...), service(d))...) {
					t.Errorf("%+v is no door of\n%s", d, text)
				}
			}
		}
	})
}
