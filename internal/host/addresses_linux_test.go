package host

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// The pair's server has its default route by the veth to the client.
func TestAddresses(t *testing.T) {
	pair := labtest.Pair(t, lab.PairOptions{})
	for _, args := range [][]string{
		{"link", "add", "br0", "type", "bridge"},
		{"link", "set", "br0", "up"},
		{"addr", "add", "172.17.0.1/16", "dev", "br0"}, // as Docker does
		{"addr", "add", "203.0.113.9/32", "dev", lab.ServerDevice},
		{"addr", "add", "2001:db8:9::77/64", "dev", lab.ServerDevice, "preferred_lft", "0"}, // deprecated
		{"addr", "add", "fd00:9::1/64", "dev", lab.ServerDevice, "nodad"},
	} {
		if _, err := pair.Server.Run(t.Context(), "", "ip", args...); err != nil {
			t.Fatal(err)
		}
	}
	addresses := func() (got []netip.Addr) {
		t.Helper()
		err := pair.Server.Do(func() (err error) { got, err = Addresses(); return err })
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	here := []netip.Addr{netip.MustParseAddr("203.0.113.9"), lab.Server4(), lab.Server6(), netip.MustParseAddr("fd00:9::1")}
	if got := addresses(); !slices.Equal(got, here) {
		t.Errorf("got %v, want %v", got, here)
	}
	// Without a default route every link counts.
	for _, family := range []string{"-4", "-6"} {
		if _, err := pair.Server.Run(t.Context(), "", "ip", family, "route", "del", "default"); err != nil {
			t.Fatal(err)
		}
	}
	if got := addresses(); !slices.Contains(got, netip.MustParseAddr("172.17.0.1")) || len(got) != len(here)+1 {
		t.Errorf("without a default route: %v", got)
	}
}
