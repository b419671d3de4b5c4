package lockout

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/port"
	"tirl/internal/session"
)

// several is how many sessions from one private address make it look like that
// of a gateway, a load balancer or a proxy.
const several = 2

// sharedSpace is RFC 6598's: addresses between a provider's NAT and its
// customers, which some clouds use for their load balancers.
func sharedSpace() netip.Prefix { return netip.MustParsePrefix("100.64.0.0/10") }

// private says whether an address means something on some network only:
// RFC 1918, RFC 4193, RFC 6598.
func private(a netip.Addr) bool { return a.IsPrivate() || sharedSpace().Contains(a) }

// shared warns of addresses that may stand for more than one client. Only
// sessions to services that the policy hides count, as it is their clients that
// will have to knock: those of a default gateway, and those of a private address
// that has several. It cannot tell a proxy from one person with two sessions.
func (c *checker) shared() []Finding {
	counts := make(map[netip.Addr]int)
	services := make(map[netip.Addr][]port.Port)
	for _, conn := range c.hidden() {
		a := conn.Remote.Addr()
		counts[a]++
		if !slices.Contains(services[a], conn.Service()) {
			services[a] = append(services[a], conn.Service())
		}
	}
	var found []Finding
	for _, a := range c.foremost(counts) {
		to := words(services[a])
		switch {
		case slices.Contains(c.Gateways, a):
			found = append(found, Finding{
				Kind: Gateway,
				Text: fmt.Sprintf("sessions to %s come from %s, this host's default gateway: if it hides its clients' addresses, one knock opens the door to everybody behind it", to, a),
				Hint: "have the gateway keep the clients' addresses (no source NAT, no proxy), or close the service to it and come in by a VPN",
			})
		case counts[a] >= several && private(a):
			found = append(found, Finding{
				Kind: Shared,
				Text: fmt.Sprintf("%d sessions to %s come from the private address %s: if it is a gateway's, a load balancer's or a proxy's, one knock opens the door to everybody behind it", counts[a], to, a),
				Hint: "if it is, have it keep the clients' addresses (no source NAT, no proxy)",
			})
		}
	}
	return found
}

// hidden lists the sessions to services that the policy hides from their
// clients, each once, and of those only such as shared may tell something of.
func (c *checker) hidden() []session.Conn {
	all := slices.Clone(c.Sessions)
	if c.Session != nil {
		all = append(all, c.Session.Conns()...)
	}
	seen := make(map[session.Conn]bool)
	var list []session.Conn
	for _, conn := range all {
		a := conn.Remote.Addr()
		if conn.Opening || !a.IsValid() || seen[conn] || !private(a) && !slices.Contains(c.Gateways, a) {
			continue
		}
		seen[conn] = true
		if f := c.fate(conn); f == opens || f == excluded {
			list = append(list, conn)
		}
	}
	return list
}

// noWayBack says whether nobody at all is let in without a knock.
func (c *checker) noWayBack() (Finding, bool) {
	if len(c.g.Trust) > 0 || len(c.g.Ifaces) > 0 {
		return Finding{}, false
	}
	conn := c.Session.Conn
	return Finding{
		Kind: NoWayBack,
		Text: fmt.Sprintf("nobody is trusted: if the knocks to %s are lost or forgotten, or a firewall on the way swallows them, only the console is left", conn.Service()),
		Hint: "add to the policy an address or a VPN's device that is always let in, such as: " + c.trustLine(conn.Remote.Addr()),
	}, true
}

// foremost gives the addresses to tell of: the caller's, then those with the
// most sessions, and no more than somebody would read.
func (c *checker) foremost(counts map[netip.Addr]int) []netip.Addr {
	rank := func(a netip.Addr) int {
		if c.Session != nil && c.Session.Remote.Addr() == a {
			return len(c.Sessions) + someWords
		}
		return counts[a]
	}
	list := slices.SortedFunc(maps.Keys(counts), func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), a.Compare(b))
	})
	return list[:min(len(list), someWords)]
}

func words(ports []port.Port) string {
	slices.SortFunc(ports, port.Port.Compare)
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
