package automaton

import (
	"net/netip"
	"slices"

	"tirl/internal/port"
)

// Neighbour discovery, multicast listener and router messages (RFC 4861, RFC
// 2710, RFC 3810): without them an IPv6 host falls off its network.
var alwaysICMPv6 = [...]uint8{130, 131, 132, 133, 134, 135, 136, 137, 143}

// AlwaysICMPv6 lists the ICMPv6 types that firewall mode accepts even with icmp
// = false.
func AlwaysICMPv6() []uint8 { return slices.Clone(alwaysICMPv6[:]) }

// fresh says whether a packet tries to begin something and is to be judged by
// the doors; if not, why not.
func (g *Program) fresh(p Packet) (Reason, bool) {
	if !p.Cut.Comes() {
		return Incomplete, false
	}
	if why, let := g.exempt(p); let {
		return why, false
	}
	service := g.service(p.To)
	if !g.Firewall && p.To.Proto == port.TCP && !p.begins() {
		return NotOurs, false
	}
	switch {
	case p.Dest == ToElsewhere:
		return NotOurs, false
	case p.Conn == Related && !service:
		if g.Firewall {
			return ByRelated, false
		}
		return NotOurs, false
	case p.Dest != ToHost && (g.Firewall || service):
		return NotUnicast, false
	case p.Conn == Invalid && (g.Firewall || service):
		return IsInvalid, false
	case p.Dest != ToHost || p.Conn == Invalid:
		return NotOurs, false
	case !g.Firewall && p.To.Proto != port.TCP && p.To.Proto != port.UDP:
		return NotOurs, false
	}
	return 0, true
}

// exempt says whether a packet is never judged at all, and why.
func (g *Program) exempt(p Packet) (Reason, bool) {
	switch {
	case p.Iface == "lo":
		return ByLoopback, true
	case p.Conn == Established:
		return ByEstablished, true
	case g.trusts(p):
		return ByTrust, true
	case contains(g.Public, p.To):
		return ByPublic, true
	}
	if !g.Firewall {
		return 0, false
	}
	switch {
	case g.acceptsICMP(p):
		return ByICMP, true
	case g.DHCP && isDHCP(p):
		return ByDHCP, true
	case slices.Contains(g.Protos, p.To.Proto):
		return ByPublic, true
	}
	return 0, false
}

// refusal is how a fresh packet is turned away.
func (g *Program) refusal(p Packet) Verdict {
	if g.Reset && (p.To.Proto == port.TCP || p.To.Proto == port.UDP) {
		return Rejected
	}
	return Dropped
}

func (g *Program) service(to port.Port) bool {
	return slices.ContainsFunc(g.Classes, func(c Class) bool { return contains(c.Services, to) })
}

func (g *Program) class(door int) Class { return g.Classes[g.Doors[door].Class] }

func (g *Program) trusts(p Packet) bool {
	return slices.Contains(g.Ifaces, p.Iface) ||
		slices.ContainsFunc(g.Trust, func(n netip.Prefix) bool { return n.Contains(p.Src) })
}

func (g *Program) acceptsICMP(p Packet) bool {
	switch p.To.Proto {
	case port.ICMP:
		return g.ICMP && p.Src.Is4()
	case port.ICMPv6:
		return p.Src.Is6() && (g.ICMP || slices.Contains(alwaysICMPv6[:], p.ICMP))
	}
	return false
}

// isDHCP knows the answers to a DHCP client (RFC 2131, section 4.1; RFC 8415,
// section 7.2: a server or relay may answer from any port, and the answer comes
// from a link-local address).
func isDHCP(p Packet) bool {
	if p.Src.Is4() {
		return p.To == port.Port{Proto: port.UDP, Number: 68} && p.SrcPort == 67
	}
	return p.To == port.Port{Proto: port.UDP, Number: 546} && p.Src.IsLinkLocalUnicast()
}

func contains(ranges []port.Range, p port.Port) bool {
	return slices.ContainsFunc(ranges, func(r port.Range) bool { return r.Contains(p) })
}
