package host

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
)

// VPNs lists the interfaces of this host that lead into a VPN: WireGuard, tunnels
// of a program (OpenVPN, Tailscale), IPsec. They have an address and are no port
// of a bridge, as those of virtual machines are.
func VPNs() ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	var names []string
	for _, l := range links {
		attrs := l.Attrs()
		if attrs.MasterIndex != 0 || !slices.Contains([]string{"wireguard", "tun", "tuntap", "xfrm", "vti", "vti6"}, l.Type()) {
			continue
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return names, fmt.Errorf("list the addresses of %s: %w", attrs.Name, err)
		}
		if slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.IsGlobalUnicast() }) {
			names = append(names, attrs.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
