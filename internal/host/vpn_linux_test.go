package host

import (
	"net"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// Of all interfaces only those count that lead into a VPN: with an address, and
// not the port of a bridge, as that of a virtual machine is.
func TestVPNs(t *testing.T) {
	pair := labtest.Pair(t, lab.PairOptions{})
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("no tunnels can be made: %v", err)
	}
	var got []string
	err := pair.Server.Do(func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		for _, c := range []struct {
			name    string
			addr    net.IP
			bridged bool
		}{
			{"vpn1", net.IPv4(10, 8, 0, 1), false},
			{"vpn0", net.ParseIP("fd00::1"), false},
			{"nothing", nil, false},
			{"machine", net.IPv4(10, 9, 8, 1), true},
		} {
			mode := netlink.TUNTAP_MODE_TUN
			if c.bridged {
				mode = netlink.TUNTAP_MODE_TAP
			}
			link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: c.name}, Mode: netlink.TuntapMode(mode)}
			if err := netlink.LinkAdd(link); err != nil {
				return err
			}
			if c.addr != nil {
				if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet(c.addr)}); err != nil {
					return err
				}
			}
			if c.bridged {
				if err := netlink.LinkSetMaster(link, bridge); err != nil {
					return err
				}
			}
		}
		var err error
		got, err = VPNs()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"vpn0", "vpn1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
