package host

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses gives the addresses at which others may reach this host, IPv4 first,
// public ones before private ones: those of the links that its default routes
// use, or, if it has none, of all links that are up. Addresses that do not last,
// of the privacy extensions for example, are left out.
func Addresses() ([]netip.Addr, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list this host's addresses: %w", err)
	}
	outward, err := outwardLinks()
	if err != nil {
		return nil, err
	}
	const passing = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	var found []netip.Addr
	for _, a := range all {
		addr, ok := netip.AddrFromSlice(a.IP)
		addr = addr.Unmap()
		// RFC 4941 addresses of the kernel have flags; so has one that is on its way out.
		if flags := a.Flags & passing; !ok || !addr.IsGlobalUnicast() || addr.Is6() && flags != 0 {
			continue
		}
		if len(outward) == 0 || slices.Contains(outward, a.LinkIndex) {
			found = append(found, addr)
		}
	}
	slices.SortFunc(found, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(a.BitLen(), b.BitLen()), compareBool(a.IsPrivate(), b.IsPrivate()), a.Compare(b))
	})
	return slices.Compact(found), nil
}

func compareBool(a, b bool) int {
	if a == b {
		return 0
	}
	if b {
		return -1
	}
	return 1
}

// outwardLinks are those that a default route uses.
func outwardLinks() ([]int, error) {
	var links []int
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list this host's routes: %w", err)
		}
		for _, r := range routes {
			if ones := 0; r.Dst != nil {
				if ones, _ = r.Dst.Mask.Size(); ones > 0 {
					continue
				}
			}
			for _, hop := range r.MultiPath {
				links = append(links, hop.LinkIndex)
			}
			if r.LinkIndex > 0 && r.Type == unix.RTN_UNICAST {
				links = append(links, r.LinkIndex)
			}
		}
	}
	return links, nil
}
