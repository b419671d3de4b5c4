package automaton

import (
	"net/netip"
	"testing"

	"tirl/internal/port"
)

// TestFresh is the table of docs/semantics.md: what becomes of a packet of each
// connection state and destination, in both modes, at a door's service and
// elsewhere. 0 stands for fresh.
func TestFresh(t *testing.T) {
	const fresh = Reason(255)
	for _, test := range []struct {
		conn                           Conn
		dest                           Dest
		guardService, guardElsewhere   Reason
		fireService, fireElsewhere     Reason
		guardSegment, fireSegmentThere Reason // an ACK to the service, and elsewhere in firewall mode
	}{
		{New, ToHost, fresh, fresh, fresh, fresh, NotOurs, fresh},
		{Established, ToHost, ByEstablished, ByEstablished, ByEstablished, ByEstablished, ByEstablished, ByEstablished},
		{Related, ToHost, fresh, NotOurs, fresh, ByRelated, NotOurs, ByRelated},
		{Invalid, ToHost, IsInvalid, NotOurs, IsInvalid, IsInvalid, NotOurs, IsInvalid},
		{Untracked, ToHost, fresh, fresh, fresh, fresh, NotOurs, fresh},
		{New, ToBroadcast, NotUnicast, NotOurs, NotUnicast, NotUnicast, NotOurs, NotUnicast},
		{New, ToMulticast, NotUnicast, NotOurs, NotUnicast, NotUnicast, NotOurs, NotUnicast},
		{New, ToAnycast, NotUnicast, NotOurs, NotUnicast, NotUnicast, NotOurs, NotUnicast},
		{Invalid, ToMulticast, NotUnicast, NotOurs, NotUnicast, NotUnicast, NotOurs, NotUnicast},
		{Related, ToMulticast, NotUnicast, NotOurs, NotUnicast, ByRelated, NotOurs, ByRelated},
		{New, ToElsewhere, NotOurs, NotOurs, NotOurs, NotOurs, NotOurs, NotOurs},
		{Invalid, ToElsewhere, NotOurs, NotOurs, NotOurs, NotOurs, NotOurs, NotOurs},
	} {
		for _, c := range []struct {
			firewall bool
			to       uint16
			flags    uint8
			want     Reason
		}{
			{false, 22, SYN, test.guardService}, {false, 9, SYN, test.guardElsewhere},
			{true, 22, SYN, test.fireService}, {true, 9, SYN, test.fireElsewhere},
			{false, 22, ACK, test.guardSegment}, {true, 9, ACK, test.fireSegmentThere},
		} {
			g := compile(t, door("a", false, 1, 2))
			g.Firewall = c.firewall
			p := Packet{Src: netip.MustParseAddr("192.0.2.7"), To: port.Port{Proto: port.TCP, Number: c.to}, Flags: c.flags, Conn: test.conn, Dest: test.dest}
			why, is := g.fresh(p)
			if is {
				why = fresh
			}
			if why != c.want {
				t.Errorf("firewall %v, tcp/%d flags %#x, %s, to %s: %d, want %d", c.firewall, c.to, c.flags, test.conn, test.dest, why, c.want)
			}
		}
	}
}

// TestExemptComesFirst sees that what is never heard is so in every state.
func TestExemptComesFirst(t *testing.T) {
	g := compile(t, door("a", false, 1, 2))
	g.Public = []port.Range{{Proto: port.TCP, First: 80, Last: 80}}
	g.Trust = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	g.Ifaces = []string{"wg0"}
	for _, firewall := range []bool{false, true} {
		for conn := New; conn <= Untracked; conn++ {
			for _, test := range []struct {
				src, iface string
				to         uint16
				want       Reason
			}{
				{"192.0.2.7", "lo", 22, ByLoopback},
				{"192.0.2.7", "wg0", 22, ByTrust},
				{"198.51.100.255", "eth0", 22, ByTrust},
				{"192.0.2.7", "eth0", 80, ByPublic},
			} {
				g.Firewall = firewall
				want := test.want
				if conn == Established && want != ByLoopback {
					want = ByEstablished
				}
				p := Packet{Src: netip.MustParseAddr(test.src), Iface: test.iface, To: port.Port{Proto: port.TCP, Number: test.to}, Flags: SYN, Conn: conn}
				if why, is := g.fresh(p); is || why != want {
					t.Errorf("firewall %v, %s from %s by %s to %d: %d, want %d", firewall, conn, test.src, test.iface, test.to, why, want)
				}
			}
		}
	}
}

func TestFirewallOptions(t *testing.T) {
	for _, test := range []struct {
		name          string
		src           string
		proto         port.Proto
		to, from      uint16
		icmp          uint8
		with, without Reason // with icmp, dhcp and protocol 47 public, and without
	}{
		{"ping", "192.0.2.7", port.ICMP, 0, 0, 8, ByICMP, 255},
		{"ping of IPv6", "2001:db8::7", port.ICMPv6, 0, 0, 128, ByICMP, 255},
		{"neighbour solicitation", "fe80::7", port.ICMPv6, 0, 0, 135, ByICMP, ByICMP},
		{"its type in IPv4", "192.0.2.7", port.ICMP, 0, 0, 135, ByICMP, 255},
		{"ICMP over IPv6", "2001:db8::7", port.ICMP, 0, 0, 8, 255, 255},
		{"DHCP", "192.0.2.1", port.UDP, 68, 67, 0, ByDHCP, 255},
		{"DHCP from another port", "192.0.2.1", port.UDP, 68, 68, 0, 255, 255},
		{"DHCPv6", "fe80::1", port.UDP, 546, 999, 0, ByDHCP, 255},
		{"DHCPv6 from afar", "2001:db8::1", port.UDP, 546, 547, 0, 255, 255},
		{"DHCP ports in IPv6", "fe80::1", port.UDP, 68, 67, 0, 255, 255},
		{"GRE", "192.0.2.7", 47, 0, 0, 0, ByPublic, 255},
		{"ESP", "192.0.2.7", 50, 0, 0, 0, 255, 255},
	} {
		for _, with := range []bool{true, false} {
			g := compile(t, door("a", false, 1, 2))
			g.Firewall, g.ICMP, g.DHCP = true, with, with
			want := test.without
			if with {
				g.Protos, want = []port.Proto{47}, test.with
			}
			p := Packet{Src: netip.MustParseAddr(test.src), To: port.Port{Proto: test.proto, Number: test.to}, SrcPort: test.from, ICMP: test.icmp}
			why, is := g.fresh(p)
			if is {
				why = 255
			}
			if why != want {
				t.Errorf("%s, options %v: %d, want %d", test.name, with, why, want)
			}
		}
	}
}
