package lab

import (
	"net/netip"

	"tirl/internal/port"
)

// Kind is what an answer says.
type Kind uint8

const (
	Reset       Kind = iota // a TCP segment with RST: the port is closed
	SynAck                  // TCP: the port is open
	Segment                 // any other TCP segment
	Datagram                // UDP
	Unreachable             // ICMP or ICMPv6 destination unreachable; see Code
	EchoReply               // ICMP or ICMPv6
	OtherICMP               // but for neighbour and multicast listener discovery
)

func (k Kind) String() string {
	return [...]string{"reset", "syn-ack", "segment", "datagram", "unreachable", "echo-reply", "icmp"}[k]
}

// Codes of "port unreachable" (RFC 792; RFC 4443, section 3.1).
const (
	PortUnreachable4 = 3
	PortUnreachable6 = 4
)

// Answer is a packet that the server sent out.
type Answer struct {
	Kind     Kind
	Src, Dst netip.Addr
	// Proto and the ports are those of the flow, as seen from the server. For an
	// Unreachable they come from the packet that it quotes.
	Proto            port.Proto
	SrcPort, DstPort uint16
	// Tag is that of the packet that is answered, 0 if the answer does not tell it.
	Tag        uint32
	Seq, Ack   uint32 // TCP
	Length     int    // TCP: bytes of data
	Type, Code uint8  // ICMP, ICMPv6
}

// ipPacket is a packet cut at its transport header.
type ipPacket struct {
	src, dst netip.Addr
	proto    port.Proto
	body     []byte
}

// parseAnswer reads a frame. ok is false for what no test asks about.
func parseAnswer(frame []byte) (a Answer, ok bool) {
	if len(frame) < etherHeader {
		return a, false
	}
	switch kind := be.Uint16(frame[12:]); kind {
	case etherIPv4, etherIPv6:
	default:
		return a, false
	}
	ip, ok := parseIP(frame[etherHeader:])
	if !ok {
		return a, false
	}
	a = Answer{Src: ip.src, Dst: ip.dst, Proto: ip.proto}
	switch b := ip.body; {
	case ip.proto == port.TCP && len(b) >= tcpHeader:
		a.tcp(b)
	case ip.proto == port.UDP && len(b) >= udpHeader:
		a.Kind = Datagram
		a.SrcPort, a.DstPort = be.Uint16(b), be.Uint16(b[2:])
		a.Tag = tagOf(port.UDP, b)
	case (ip.proto == port.ICMP || ip.proto == port.ICMPv6) && len(b) >= icmpHeader:
		return a, a.icmp(b)
	default:
		return a, false
	}
	return a, true
}

func (a *Answer) tcp(b []byte) {
	a.SrcPort, a.DstPort = be.Uint16(b), be.Uint16(b[2:])
	a.Seq, a.Ack = be.Uint32(b[4:]), be.Uint32(b[8:])
	a.Length = max(0, len(b)-int(b[12]>>4)*4)
	switch flags := b[13]; {
	case flags&flagRST != 0:
		a.Kind = Reset
	case flags&(flagSYN|flagACK) == flagSYN|flagACK:
		a.Kind = SynAck
	default:
		a.Kind = Segment
		return
	}
	if b[13]&flagACK != 0 {
		a.Tag = a.Ack - 1 // a SYN without data counts for one
	}
}

// icmp says whether the message is anybody's business.
func (a *Answer) icmp(b []byte) bool {
	a.Type, a.Code = b[0], b[1]
	a.Kind = OtherICMP
	v6 := a.Proto == port.ICMPv6
	switch {
	case v6 && a.Type >= 130 && a.Type <= 137, v6 && a.Type == 143:
		return false // RFC 4861, RFC 3810
	case !v6 && a.Type == 0, v6 && a.Type == 129:
		a.Kind = EchoReply
		a.Tag = tagOf(a.Proto, b)
		return true
	case !v6 && a.Type == 3, v6 && a.Type == 1:
		a.Kind = Unreachable
	}
	if v6 && a.Type >= 128 || !v6 && a.Type != 3 && a.Type != 11 && a.Type != 12 {
		return true // it quotes nothing
	}
	quoted, ok := parseIP(b[icmpHeader:])
	if !ok {
		return true
	}
	a.Proto = quoted.proto
	a.Tag = tagOf(quoted.proto, quoted.body)
	if (quoted.proto == port.TCP || quoted.proto == port.UDP) && len(quoted.body) >= 4 {
		a.SrcPort, a.DstPort = be.Uint16(quoted.body[2:]), be.Uint16(quoted.body)
	}
	return true
}

// tagOf reads the tag of a packet from its transport header on; see [Packet].
func tagOf(proto port.Proto, b []byte) uint32 {
	at := 0
	switch proto {
	case port.TCP, port.ICMP, port.ICMPv6:
		at = 4
	case port.UDP:
		at = udpHeader
	}
	if len(b) < at+4 {
		return 0
	}
	return be.Uint32(b[at:])
}

// parseIP reads a packet that may be cut short at its end, as a quoted one is.
func parseIP(b []byte) (ipPacket, bool) {
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4:
		header := int(b[0]&0x0f) * 4
		if header < ipv4Header || len(b) < header {
			return ipPacket{}, false
		}
		src, _ := netip.AddrFromSlice(b[12:16])
		dst, _ := netip.AddrFromSlice(b[16:20])
		end := min(max(int(be.Uint16(b[2:])), header), len(b))
		return ipPacket{src, dst, port.Proto(b[9]), b[header:end]}, true
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		src, _ := netip.AddrFromSlice(b[8:24])
		dst, _ := netip.AddrFromSlice(b[24:40])
		end := min(ipv6Header+int(be.Uint16(b[4:])), len(b))
		proto, body, ok := skipExtensions(port.Proto(b[6]), b[ipv6Header:end])
		return ipPacket{src, dst, proto, body}, ok
	}
	return ipPacket{}, false
}

func skipExtensions(next port.Proto, b []byte) (port.Proto, []byte, bool) {
	for {
		switch next {
		case 0, 43, 44, 60: // hop-by-hop, routing, fragment, destination options
			if len(b) < 8 {
				return 0, nil, false
			}
			size := 8
			if next != 44 {
				size += 8 * int(b[1])
			}
			if len(b) < size {
				return 0, nil, false
			}
			next, b = port.Proto(b[0]), b[size:]
		default:
			return next, b, true
		}
	}
}
