package cli

import (
	"net/netip"
	"strings"
	"testing"

	"tirl/internal/draft"
)

// Who came in by a VPN still can. An address is never trusted unasked.
func TestTrusted(t *testing.T) {
	home := netip.MustParseAddr("198.51.100.7")
	for _, c := range []struct {
		name  string
		way   wayIn
		asked string
		trust string
		hint  string
		fails bool
	}{
		{"from the console", wayIn{}, "", "", "", false},
		{"from an address", wayIn{from: home, by: "eth0"}, "", "", "198.51.100.7", false},
		{"by a VPN", wayIn{from: home, by: "wg0", vpns: []string{"tun0", "wg0"}}, "", "iface:wg0", "iface:tun0", false},
		{"beside a VPN", wayIn{from: home, by: "eth0", vpns: []string{"wg0"}}, "", "", "iface:wg0 198.51.100.7", false},
		{"by a VPN, not wanted", wayIn{from: home, by: "wg0", vpns: []string{"wg0"}}, "none", "", "iface:wg0", false},
		{"by a VPN, something else wanted", wayIn{from: home, by: "wg0", vpns: []string{"wg0"}}, "10.0.0.0/8", "10.0.0.0/8", "iface:wg0", false},
		{"the VPN wanted", wayIn{from: home, by: "eth0", vpns: []string{"wg0"}}, "iface:wg0", "iface:wg0", "198.51.100.7", false},
		{"the address wanted", wayIn{from: home, by: "eth0"}, "session iface:wg1", "198.51.100.7 iface:wg1", "", false},
		{"no address to be wanted", wayIn{}, "session", "", "", true},
	} {
		trust, suggested, err := c.way.trusted(strings.Fields(c.asked))
		if got := words(trust); got != c.trust || words(suggested) != c.hint || (err != nil) != c.fails {
			t.Errorf("%s: trusts %q, suggests %q, %v", c.name, got, words(suggested), err)
		}
	}
}

func words(list []draft.Entry) string { return strings.ReplaceAll(entries(list), ",", "") }
