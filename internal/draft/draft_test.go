package draft

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tirl/internal/policy"
	"tirl/internal/port"
)

var update = flag.Bool("update", false, "write the golden policies")

func ports(words ...string) []port.Port {
	var all []port.Port
	for _, w := range words {
		p, err := port.Parse(w)
		if err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	return all
}

func opens(words ...string) []port.Range {
	var all []port.Range
	for _, p := range ports(words...) {
		all = append(all, port.Range{Proto: p.Proto, First: p.Number, Last: p.Number})
	}
	return all
}

func listeners() []policy.Listener {
	var all []policy.Listener
	for service, program := range map[string]string{"udp/123": "chronyd", "tcp/80": "nginx", "tcp/22": "sshd", "udp/51820": "", "udp/5353": "avahi\n[door.x]"} {
		all = append(all, policy.Listener{Service: ports(service)[0], Program: program})
	}
	return append(all, policy.Listener{Service: ports("udp/123")[0], Program: "ntpd"})
}

func drafts() map[string]Draft {
	knocks := ports("udp/27719", "udp/8816", "udp/15302", "udp/61111", "udp/20213")
	guard := Draft{Mode: policy.Guard, Door: "ssh", Opens: opens("tcp/22"), Knocks: knocks, Bits: 75,
		Suggested: []Entry{{"iface:wg0", "a VPN of this host"}, {"198.51.100.7", "you came from there"}}, Firewalls: []string{"ufw"}}
	guard.Public = Public(listeners(), guard.Mode, guard.Opens, knocks)
	firewall := Draft{Mode: policy.Firewall, Door: "all", Opens: opens("tcp/22", "udp/51820"), Knocks: knocks, Bits: 75.9,
		Trust: []Entry{{"iface:wg0", "you came in by it"}}, Suggested: []Entry{{"10.0.0.0/8", "x"}}, OnFailure: policy.OpenOnFailure}
	firewall.Public = Public(listeners(), firewall.Mode, firewall.Opens, knocks)
	return map[string]Draft{
		"guard":    guard,
		"firewall": firewall,
		"bare":     {Mode: policy.Guard, Door: "ssh", Opens: opens("tcp/22"), Knocks: knocks, Bits: 75},
	}
}

func TestGolden(t *testing.T) {
	for name, d := range drafts() {
		got, err := d.Text()
		if err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + name + ".toml"
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if p, ds := policy.Parse(file, got); p == nil || len(ds) > 0 {
			t.Errorf("%s: %v", name, ds)
		}
		// A suggestion is put in force by taking its # away.
		taken := strings.Replace(string(got), "\n  # \"", "\n  \"", -1)
		if p, ds := policy.Parse(file, []byte(taken)); p == nil || len(p.Trust.Prefixes)+len(p.Trust.Interfaces) != len(d.Trust)+len(d.Suggested) {
			t.Errorf("%s with the suggestions: %v\n%s", name, ds, taken)
		}
	}
}

// Whatever a host has, check has nothing against the policy on that host.
func TestTextProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drafts()[rapid.SampledFrom([]string{"guard", "firewall", "bare"}).Draw(t, "draft")]
		for i := range d.Knocks {
			d.Knocks[i].Proto = rapid.SampledFrom([]port.Proto{port.TCP, port.UDP}).Draw(t, "protocol of a knock")
		}
		var h policy.Host
		for _, n := range rapid.SliceOf(rapid.Uint16Range(1, 1023)).Draw(t, "listeners") {
			h.Listeners = append(h.Listeners, policy.Listener{
				Service: port.Port{Proto: rapid.SampledFrom([]port.Proto{port.TCP, port.UDP}).Draw(t, "protocol"), Number: n},
				Program: rapid.String().Draw(t, "program"),
			})
		}
		for i := range d.Suggested {
			d.Suggested[i].Why = rapid.String().Draw(t, "why")
		}
		d.Firewalls = rapid.SliceOf(rapid.String()).Draw(t, "firewalls")
		d.Public = Public(h.Listeners, d.Mode, d.Opens, d.Knocks)
		text, err := d.Text()
		if err != nil {
			t.Fatal(err)
		}
		p, ds := policy.Parse("policy.toml", text)
		if p == nil || len(ds) > 0 {
			t.Fatalf("%v in\n%s", ds, text)
		}
		if ds := p.Audit(h); len(ds) > 0 {
			t.Fatalf("%v in\n%s", ds, text)
		}
		if again, _ := policy.Format("policy.toml", text); string(again) != string(text) {
			t.Fatalf("not in the usual layout:\n%s", text)
		}
	})
}
