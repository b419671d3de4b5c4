package knock

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Family is the address family that Resolve is limited to.
type Family uint8

// AnyFamily, the zero value, is both IPv4 and IPv6.
const (
	AnyFamily Family = iota
	IPv4
	IPv6
)

// String is the name to show: IP, IPv4 or IPv6.
func (f Family) String() string {
	return [...]string{"IP", "IPv4", "IPv6"}[f]
}

// network is the name that package net uses.
func (f Family) network() string {
	return [...]string{"ip", "ip4", "ip6"}[f]
}

// Has says whether an address is of the family.
func (f Family) Has(a netip.Addr) bool {
	return f == AnyFamily || a.Is4() == (f == IPv4)
}

// Resolver looks up the addresses of a name. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Resolve gives all addresses of host that are of the family opts.Network, each
// once, IPv4 before IPv6, in the order of their bytes. A literal address, with
// a zone or without, is never looked up.
func Resolve(ctx context.Context, host string, opts Options) ([]netip.Addr, error) {
	addrs, err := lookup(ctx, host, opts)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	var found []netip.Addr
	for _, a := range addrs {
		// Of an IPv4 address a resolver may give the IPv4-mapped form. Filtering
		// resolvers answer with the unspecified address, which is this host.
		a = a.Unmap()
		if opts.Network.Has(a) && !a.IsUnspecified() && !a.IsMulticast() {
			found = append(found, a)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no unicast %s address", host, opts.Network)
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found), nil
}

func lookup(ctx context.Context, host string, opts Options) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	var r Resolver = net.DefaultResolver
	if opts.Resolver != nil {
		r = opts.Resolver
	}
	return r.LookupNetIP(ctx, opts.Network.network(), host)
}
