package automaton

import (
	"net/netip"
	"time"

	"tirl/internal/port"
)

// Conn is what connection tracking says of a packet, as in the ctstate match of
// iptables-extensions(8).
type Conn uint8

const (
	New Conn = iota
	Established
	Related
	Invalid
	Untracked
)

func (c Conn) String() string {
	return [...]string{"new", "established", "related", "invalid", "untracked"}[c]
}

// Dest is whom a packet is addressed to, as the host's routing sees it.
type Dest uint8

const (
	ToHost Dest = iota // one of the host's own unicast addresses
	ToBroadcast
	ToMulticast
	ToAnycast
	ToElsewhere // routed on to another host
)

func (d Dest) String() string {
	return [...]string{"host", "broadcast", "multicast", "anycast", "elsewhere"}[d]
}

// TCP flags as in the header's flag byte (RFC 9293, section 3.1).
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Packet is one packet as it comes to the host.
type Packet struct {
	Time    time.Duration // since the start of the trace; never goes back
	Src     netip.Addr
	To      port.Port // Number 0 for protocols without ports
	SrcPort uint16    // only a DHCP answer is known by it
	TTL     uint8     // or hop limit
	Flags   uint8     // TCP only
	ICMP    uint8     // ICMP type, for ICMP and ICMPv6
	Conn    Conn
	Dest    Dest
	Iface   string // where it came in; "lo" is the loopback device
	With    Headers
	Cut     Cut
	Data    string // what a UDP datagram carries; only tokens are looked at
}

// begins says whether the packet is a TCP SYN that can open a connection.
func (p Packet) begins() bool {
	return p.To.Proto == port.TCP && p.Flags&(SYN|ACK|RST|FIN) == SYN
}

// Verdict is what becomes of a packet as far as tirl is concerned.
type Verdict uint8

const (
	Accept   Verdict = iota // goes on to the host, or to the next firewall
	Dropped                 // vanishes without an answer
	Rejected                // answered as by a closed port
)

func (v Verdict) String() string {
	return [...]string{"accept", "drop", "reset"}[v]
}

// Reason says which rule of the semantics decided about a packet.
type Reason uint8

const (
	NotOurs       Reason = iota // not a fresh packet, or of no protocol that is heard
	ByLoopback                  // never fresh: came in by the loopback device
	ByTrust                     // never fresh: from a trusted source or interface
	ByPublic                    // never fresh: to a public service
	ByICMP                      // firewall: ICMP that is always or by choice accepted
	ByDHCP                      // firewall: an answer to the host's DHCP client
	ByEstablished               // never fresh: of a flow that was answered
	ByRelated                   // firewall: belongs to an established flow
	NotUnicast                  // to a broadcast, multicast or anycast address
	IsInvalid                   // conntrack cannot place it; it changes nothing
	Granted                     // the source holds a grant for the service
	Limited                     // the bucket is empty: not heard
	LetIn                       // the one connection of a once door
	Knocked                     // an expected knock: one place further
	Restarted                   // a wrong packet that is a first knock of a source in progress
	Repeated                    // a knock on the way here: stays, time refreshed
	Lost                        // a wrong packet: back to the start
	Nothing                     // at the start, and no first knock
	Opened                      // the last knock of a timed door
	Excluded                    // the last knock, from outside the door's from
	Incomplete                  // fragments that make no packet
	Redeemed                    // the datagram carries a live token, which is spent
)

// Outcome is what the interpreter made of one packet.
type Outcome struct {
	Verdict Verdict
	Reason  Reason
	Service bool        // the packet was fresh, to a door's service
	Before  []port.Port // the place before, as the knocks that led there
	After   []port.Port // the place after
	Door    int         // the door that opened, let in or refused a source; -1
}
