package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// On-link addresses that nobody owns and whose answers reach the client's device
// all the same: 10.9.0.16 to 10.9.0.254, and the same hosts in 2001:db8:9::/64.
const (
	firstForgedHost = 16
	lastForgedHost  = 254
)

// MaxClientAddrs is how many addresses of each family the client can have.
const MaxClientAddrs = firstForgedHost - 2

// How long the two devices may take to come up. It takes milliseconds.
const linkTimeout = 10 * time.Second

// Pair is a server and a client that are joined by a virtual cable.
//
// The server's default route leads to the client, so that its answers to any
// forged source come out of the client's device; no reverse path filter
// and no limit on ICMP errors is in the way.
type Pair struct {
	Server, Client *Namespace

	relay *relay // nil: one cable joins them
}

// PairOptions are the choices for a pair. The zero value is the usual one.
type PairOptions struct {
	// ClientAddrs is how many addresses of each family the client has; 0 means 1.
	ClientAddrs int
	// LiveNeighbours has the server ask for the client's link-layer address, by ARP
	// and neighbour discovery, as it does on a real network. Otherwise it knows
	// it from the start. The client always asks.
	LiveNeighbours bool
	// Path, if not nil, decides about each TCP and UDP packet that passes the cable,
	// in either direction, given the IP packet. It is called by two goroutines.
	Path func(ip []byte) Fate
}

// NewPair makes a server and a client. Both can be used at once.
func NewPair(opts PairOptions) (*Pair, error) {
	if opts.ClientAddrs == 0 {
		opts.ClientAddrs = 1
	}
	if opts.ClientAddrs < 0 || opts.ClientAddrs > MaxClientAddrs {
		return nil, fmt.Errorf("a client has 1 to %d addresses of each family, not %d", MaxClientAddrs, opts.ClientAddrs)
	}
	server, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	client, err := NewNamespace()
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	p := &Pair{Server: server, Client: client}
	if err := p.wire(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("set up a pair of network namespaces: %w", err), p.Close())
	}
	return p, nil
}

// Close gives both namespaces up; see [Namespace.Close].
func (p *Pair) Close() error {
	err := errors.Join(p.Server.Close(), p.Client.Close())
	if p.relay != nil {
		err = errors.Join(err, p.relay.Close())
	}
	return err
}

func (p *Pair) wire(opts PairOptions) error {
	for _, n := range []*Namespace{p.Server, p.Client} {
		if err := n.Do(quiet); err != nil {
			return err
		}
	}
	if err := p.join(opts); err != nil {
		return err
	}
	if err := p.Server.Do(func() error { return dress(ServerDevice, 1, 1) }); err != nil {
		return err
	}
	if err := p.Client.Do(func() error { return dress(ClientDevice, 2, opts.ClientAddrs) }); err != nil {
		return err
	}
	return p.Server.Do(func() error { return routeToClient(opts) })
}

// join connects the two, by one cable or by two with a relay between them.
func (p *Pair) join(opts PairOptions) (err error) {
	if opts.Path == nil {
		return p.lay(ServerDevice, ClientDevice)
	}
	if p.relay, err = newRelay(opts.Path); err != nil {
		return err
	}
	err = errors.Join(
		cable(end{p.Server, ServerDevice, ServerMAC()}, end{p.relay.namespace, relayServer, MAC{2, 0, 0, 0, 9, 0xf1}}),
		cable(end{p.Client, ClientDevice, ClientMAC()}, end{p.relay.namespace, relayClient, MAC{2, 0, 0, 0, 9, 0xf2}}))
	if err != nil {
		return err
	}
	if err := p.relay.run(); err != nil {
		return err
	}
	return p.up(ServerDevice, ClientDevice)
}

// end is one end of a virtual cable.
type end struct {
	in     *Namespace
	device string
	mac    MAC
}

func cable(a, b end) error {
	err := a.in.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:        netlink.LinkAttrs{Name: a.device, HardwareAddr: hardware(a.mac), TxQLen: -1},
			PeerName:         b.device,
			PeerHardwareAddr: hardware(b.mac),
			PeerNamespace:    netlink.NsFd(b.in.file.Fd()),
		})
	})
	if err != nil {
		return fmt.Errorf("add a veth: %w", err)
	}
	return nil
}

// lay joins two devices by a cable and sets them up.
func (p *Pair) lay(server, client string) error {
	if err := cable(end{p.Server, server, ServerMAC()}, end{p.Client, client, ClientMAC()}); err != nil {
		return err
	}
	return p.up(server, client)
}

func (p *Pair) up(server, client string) error {
	if err := p.Server.Do(func() error { return raise("lo", server) }); err != nil {
		return err
	}
	return p.Client.Do(func() error { return raise("lo", client) })
}

// Cable is one between client and server. The zero value is the one that every
// pair has.
type Cable struct{ client int } // the index of the client's device

// AddCable gives the server another device. It has the link-layer address of the
// first one and no address of its own; the server answers by the first one.
func (p *Pair) AddCable(device string) (c Cable, err error) {
	client := "c-" + device
	if err = p.lay(device, client); err != nil {
		return c, err
	}
	for name, n := range map[string]*Namespace{device: p.Server, client: p.Client} {
		err = errors.Join(err, n.Do(func() error {
			link, err := awaitLink(name)
			if err == nil && name == client {
				c.client = link.Attrs().Index
			}
			return err
		}))
	}
	return c, err
}

func hardware(m MAC) net.HardwareAddr { return m[:] }

func raise(devices ...string) error {
	for _, device := range devices {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return fmt.Errorf("find %s: %w", device, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", device, err)
		}
	}
	return nil
}

// dress waits until the device works and gives it addresses.
func dress(device string, first, count int) error {
	link, err := awaitLink(device)
	if err != nil {
		return err
	}
	for i := range count {
		for _, prefix := range []netip.Prefix{
			netip.PrefixFrom(onlink4(first+i), 24),
			netip.PrefixFrom(onlink6(first+i), 64),
		} {
			addr := &netlink.Addr{IPNet: ipnet(prefix)}
			if prefix.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("add %s to %s: %w", prefix, device, err)
			}
		}
	}
	return nil
}

// awaitLink waits until the kernel has seen the carrier of a device that is up,
// which it does in the background, and has given it a link-local address.
// Before that the device discards what is sent.
func awaitLink(device string) (netlink.Link, error) {
	for deadline := time.Now().Add(linkTimeout); ; time.Sleep(time.Millisecond) {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", device, err)
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", device, err)
		}
		if link.Attrs().OperState == netlink.OperUp && len(addrs) > 0 && addrs[0].Flags&unix.IFA_F_TENTATIVE == 0 {
			return link, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s did not come up within %v (state %v, %d link-local addresses)",
				device, linkTimeout, link.Attrs().OperState, len(addrs))
		}
	}
}

func routeToClient(opts PairOptions) error {
	link, err := netlink.LinkByName(ServerDevice)
	if err != nil {
		return err
	}
	hosts := []int{}
	for host := firstForgedHost; host <= lastForgedHost; host++ {
		hosts = append(hosts, host)
	}
	if !opts.LiveNeighbours {
		for i := range opts.ClientAddrs {
			hosts = append(hosts, 2+i)
		}
	}
	for _, host := range hosts {
		for _, addr := range []netip.Addr{onlink4(host), onlink6(host)} {
			if err := addNeighbour(link, addr); err != nil {
				return err
			}
		}
	}
	for _, gateway := range []netip.Addr{Client4(0), Client6(0)} {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("add a default route by %s: %w", gateway, err)
		}
	}
	return nil
}

func addNeighbour(link netlink.Link, addr netip.Addr) error {
	err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex:    link.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           addr.AsSlice(),
		HardwareAddr: hardware(ClientMAC()),
	})
	if err != nil {
		return fmt.Errorf("add the neighbour %s: %w", addr, err)
	}
	return nil
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// quiet makes the namespace of the calling thread answer everything and say
// nothing by itself. It comes before there are devices, which inherit.
// The names are those of Documentation/networking/ip-sysctl.rst.
func quiet() error {
	for _, s := range []struct {
		name, value string
		optional    bool // absent in some kernels, or outside the initial namespace
	}{
		{"ipv4/conf/all/rp_filter", "0", false},
		{"ipv4/conf/default/rp_filter", "0", false},
		{"ipv4/icmp_ratelimit", "0", false},
		{"ipv4/icmp_ratemask", "0", false},
		{"ipv4/icmp_msgs_per_sec", "1000000", true},
		{"ipv4/icmp_msgs_burst", "1000000", true},
		{"ipv4/tcp_invalid_ratelimit", "0", true},
		{"ipv6/icmp/ratelimit", "0", false},
		{"ipv6/icmp/ratemask", "255", true}, // a type that nobody sends, for "none"
		{"ipv6/conf/all/accept_dad", "0", false},
		{"ipv6/conf/default/accept_dad", "0", false},
		{"ipv6/conf/default/accept_ra", "0", false},
		{"ipv6/conf/default/router_solicitations", "0", false},
	} {
		err := os.WriteFile(filepath.Join("/proc/sys/net", s.name), []byte(s.value), 0)
		if err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("set a kernel parameter: %w", err)
		}
	}
	return nil
}
