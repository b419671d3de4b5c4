package session

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface gives the network device that leads to an address, in the namespace
// of the calling thread. Packets from that address come in by it unless the
// routes are not symmetric.
func Interface(to netip.Addr) (string, error) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return "", fmt.Errorf("find the route to %s: %w", to, err)
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("find the device that leads to %s: %w", to, err)
	}
	return link.Attrs().Name, nil
}
