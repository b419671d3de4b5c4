package session

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestParseStat(t *testing.T) {
	for text, want := range map[string]process{
		"42 (bash) S 41 42 42":          {42, 41, "bash"},
		"42 (tmux: server) S 1 42":      {42, 1, "tmux: server"},
		"42 (a) R 7 (b) S 41 42":        {42, 41, "a) R 7 (b"},
		"42 (\n) S 3 (x)) S 41 42":      {42, 41, "\n) S 3 (x)"},
		"1 () S 0 1":                    {1, 0, ""},
		"2147483647 (x) Z 2147483647 1": {2147483647, 2147483647, "x"},
	} {
		if got, err := parseStat(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "42", "42 (bash", "42 (bash)", "42 (bash) S", "42 (bash) S -1", "x (bash) S 1", "4294967296 (a) S 1", "42 )( S 1"} {
		if got, err := parseStat(text); err == nil {
			t.Errorf("%q: got %v, no error", text, got)
		}
	}
}

func TestParseSSHConnection(t *testing.T) {
	for value, want := range map[string]string{
		"198.51.100.7 40000 10.9.0.1 22":        "198.51.100.7:40000 to tcp/22 of 10.9.0.1",
		"::ffff:198.51.100.7 40000 10.9.0.1 22": "198.51.100.7:40000 to tcp/22 of 10.9.0.1",
		"fe80::2%eth0 40000 fe80::1%eth0 22":    "[fe80::2]:40000 to tcp/22 of fe80::1",
		"2001:db8::2 40000 2001:db8::1 65535":   "[2001:db8::2]:40000 to tcp/65535 of 2001:db8::1",
	} {
		if got, err := parseSSHConnection(value); err != nil || got.String() != want {
			t.Errorf("%q: got %v, %v", value, got, err)
		}
	}
	for _, value := range []string{"", "198.51.100.7 40000 10.9.0.1", "UNKNOWN 65535 UNKNOWN 65535", "198.51.100.7 x 10.9.0.1 22", "198.51.100.7 1 10.9.0.1 65536"} {
		if got, err := parseSSHConnection(value); err == nil {
			t.Errorf("%q: got %v, no error", value, got)
		}
	}
}

const (
	routes4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t0100090A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t0000090A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"eth1\t000010AC\t0200090A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n" +
		"ppp0\t00000000\t00000000\t0001\t0\t0\t9\t00000000\t0\t0\t0\n"
	routes6 = "20010db8000900000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
)

func TestGateways(t *testing.T) {
	got, err := Gateways(fstest.MapFS{
		"proc/net/route":      {Data: []byte(routes4 + strings.SplitAfter(routes4, "\n")[1])},
		"proc/net/ipv6_route": {Data: []byte(routes6)},
	})
	want := []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fe80::1")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := Gateways(fstest.MapFS{}); err != nil || got != nil {
		t.Errorf("no network: got %v, %v", got, err)
	}
	got, err = Gateways(fstest.MapFS{"proc/net/route": {Data: []byte(routes4 + "eth0 00000000\n")}})
	if err == nil || len(got) != 1 {
		t.Errorf("a short line: got %v, %v", got, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) R 7 (b) S 41 42")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parseStat(s); err == nil && (p.pid < 0 || p.parent < 0) {
			t.Errorf("%q gives %v", s, p)
		}
	})
}

func FuzzParseSSHConnection(f *testing.F) {
	f.Add("fe80::2%eth0 40000 fe80::1%eth0 22")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := parseSSHConnection(s); err == nil && (c.Local.Addr().Zone() != "" || c.Remote.Addr().Is4In6()) {
			t.Errorf("%q gives %v", s, c)
		}
	})
}

func FuzzParseRoutes(f *testing.F) {
	f.Add(routes4)
	f.Add(routes6)
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) ([]netip.Addr, error){parseRoutes4, parseRoutes6} {
			found, _ := parse(s)
			if slices.ContainsFunc(found, netip.Addr.IsUnspecified) {
				t.Errorf("%q gives %v", s, found)
			}
		}
	})
}

func FuzzLookup(f *testing.F) {
	f.Add("A=1\x00SSH_CONNECTION=x\x00")
	f.Fuzz(func(t *testing.T, s string) { lookup(s, sshConnection) })
}
