package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestKeyHint(t *testing.T) {
	known := keysOf()
	tests := []struct{ table, path, key, want string }{
		{"", "", "pubilc", "did you mean public?"},
		{"", "", "Mode", "did you mean mode?"},
		{"", "", "trusted", "did you mean trust?"},
		{"", "", "seq_timeout", "step_timeout belongs in [knocking]"},
		{"", "", "icmp", "icmp belongs in [firewall]"},
		{"door.NAME.users.NAME", "door.ssh.users.alice", "kind", "did you mean one_time?"},
		{"door.NAME.users.NAME", "door.ssh.users.alice", "secret", "the keys are one_time, first, length, ports, pool"},
		{"door.NAME.users.NAME", "door.ssh.users.alice", "open_for", "open_for belongs in [door.NAME]"},
		{"door.NAME", "door.ssh", "length", "length belongs in [door.NAME.users.NAME]"},
		{"", "", "from", "from belongs in [door.NAME]"},
		{"knocking", "knocking", "timeout", "did you mean step_timeout?"},
		{"knocking", "knocking", "events", "events belongs in [log]"},
		{"knocking", "knocking", "on_failure", "on_failure belongs in [boot]"},
		{"knocking", "knocking", "refuse", "refuse stands at the top of the file, above the first table"},
		{"door.NAME", "door.ssh", "sequence", "did you mean knocks?"},
		{"door.NAME", "door.ssh", "openfor", "did you mean open_for?"},
		{"door.NAME", "door.ssh", "cmd_timeout", "did you mean open_for?"},
		{"door.NAME", "door.ssh", "services", "did you mean opens?"},
		{"door.NAME", "door.ssh", "allow", "did you mean from?"},
		{"door.NAME", "door.ssh", "user", "did you mean users?"},
		{"door.NAME", "door.ssh", strings.Repeat("opens", 20), "the keys are opens, knocks, open_for, from, users"},
	}
	for _, tt := range tests {
		if got := keyHint(tt.path, tt.key, known[tt.table]); got != tt.want {
			t.Errorf("[%s] %s: %q, want %q", tt.path, tt.key, got, tt.want)
		}
	}
}

// What hints say of the keys is what Parse takes.
func TestKeysOf(t *testing.T) {
	for table, keys := range keysOf() {
		header := ""
		if table != "" {
			header = "[" + strings.ToLower(table) + "]\n"
		}
		_, ds := Parse("p", []byte(header+"qqq = 1\n"))
		i := slices.IndexFunc(ds, func(d Diagnostic) bool { return strings.HasPrefix(d.Text, `unknown key "qqq"`) })
		if i < 0 {
			t.Fatalf("[%s]: %v", table, ds)
		}
		list := strings.TrimPrefix(ds[i].Hint, "the keys are ")
		takes := slices.DeleteFunc(strings.Split(list, ", "), func(s string) bool {
			return table == "" && slices.Contains([]string{"firewall", "knocking", "log", "boot", "door"}, s)
		})
		slices.Sort(takes)
		slices.Sort(keys)
		if !slices.Equal(takes, keys) {
			t.Errorf("[%s] takes %v, but hints say %v", table, takes, keys)
		}
	}
	for _, key := range []string{"sequence", "timeout", "cmd_timeout", "services", "src", "whitelist", "doors", "logging"} {
		if otherName(key) == "" {
			t.Errorf("no other name for %s", key)
		}
	}
}

func TestPortHint(t *testing.T) {
	const byName = `services have no names here: write the port's number, such as "tcp/22"`
	tests := map[string]string{
		"22":                     `write "tcp/22" or "udp/22"`,
		"22/tcp":                 `write "tcp/22"`,
		"22:UDP":                 `write "udp/22"`,
		"TCP 22":                 `write "tcp/22"`,
		"tcp:22":                 `write "tcp/22"`,
		"8000:8010/tcp":          `write "tcp/8000-8010"`,
		"tcp/8000:8010":          `write "tcp/8000-8010"`,
		"70000/tcp":              "",
		"tcp/70000":              "",
		"tcp/22,23,24":           "",
		"tcp/9-5":                "",
		"ssh":                    byName,
		"tcp/https":              byName,
		"esp":                    "doors know tcp and udp only",
		"icmp/8":                 "doors know tcp and udp only",
		"proto/47":               "doors know tcp and udp only",
		"":                       "",
		"/":                      "",
		"é":                      "",
		strings.Repeat("1", 100): "",
	}
	for text, want := range tests {
		if got := portHint(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDurationHint(t *testing.T) {
	const units = "the units are h, m, s and ms"
	tests := map[string]string{
		"10": `write "10s"`, "10 sec": `write "10s"`, "5min": `write "5m"`, "5 minutes": `write "5m"`, "2 hours": `write "2h"`,
		"90min": `write "1h30m"`, "3d": `write "72h"`, "2 weeks": `write "336h"`, "31d": `the most is "720h"`, "0d": units,
		"1y": units, "soon": units, "": units, "ounce": `did you mean "once"?`, "Once": `did you mean "once"?`, "99999s": units,
	}
	for text, want := range tests {
		if got := durationHint(text, "once", MaxOpenFor); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestPrefixHint(t *testing.T) {
	for text, part := range map[string]string{
		"10.0.0.0/255.0.0.0": `"10.0.0.0/24"`,
		"10.0.0.0/33":        "at most 32",
		"2001:db8::/129":     "at most 32 for IPv4 and 128",
		"wg0":                `"iface:wg0"`,
		"iface:wg0":          "only trust",
		"www.example.com":    "host names",
		"10.0.0":             "host names",
	} {
		if got := prefixHint(text); !strings.Contains(got, part) {
			t.Errorf("%q: %q, want %q", text, got, part)
		}
	}
}

func TestInterfaceHint(t *testing.T) {
	for name, ok := range map[string]bool{
		"wg0": true, "eth0.100": true, "br-lan": true, "a": true, "abcdefghijklmno": true, "veth_1@x": true,
		"": false, "abcdefghijklmnop": false, ".": false, "..": false, "-i": false, "a b": false, "a/b": false, "a:1": false,
		"wg*": false, "wg+": false, "a\"": false, "a'": false, "a\n": false, "é": false, "a\x00": false, "!a": false, "$x": false,
	} {
		if (interfaceHint(name) == "") != ok {
			t.Errorf("%q: accepted is %v", name, !ok)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1},
		{"abc", "xabc", 1}, {"kitten", "sitting", 3}, {"gaurd", "guard", 1},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for text, want := range map[string]string{
		"1ms": "1ms", "90s": "1m30s", "60s": "1m", "3600s": "1h", "24h": "24h", "1h0m5s": "1h0m5s", "100m": "1h40m", "10s": "10s", "600s": "10m", "36000s": "10h",
	} {
		p := mustParse(t, fmt.Sprintf("[door.a]\nopens = [\"tcp/22\"]\nknocks = [\"udp/5\", \"udp/900\", \"udp/77\"]\nopen_for = %q\n", text))
		if got := FormatDuration(p.Doors[0].OpenFor); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}
