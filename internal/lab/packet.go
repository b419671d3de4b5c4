package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"tirl/internal/port"
)

// Packet is a packet to be made and put on the wire, whatever the host that sends
// it would think of it.
//
// Each packet carries a tag, by which an [Observer] and the [Answer] to it tell it
// from others: TCP in the sequence number, UDP in the first four bytes of the
// payload, ICMP and ICMPv6 in the four bytes behind the checksum (identifier and sequence
// number of an echo request), any other protocol in its first four bytes.
// Tag 0 is for packets that nobody looks for: neighbour discovery has it too.
type Packet struct {
	Src, Dst         netip.Addr // of one family
	Proto            port.Proto
	SrcPort, DstPort uint16 // TCP and UDP
	Tag              uint32
	TTL              uint8  // or hop limit; 0 means 64
	Flags            uint8  // TCP; the flag byte of RFC 9293, section 3.1
	Ack              uint32 // TCP; acknowledgment number
	ICMPType         uint8
	ICMPCode         uint8
	Payload          []byte // follows the tag, or the header that has it
	Untagged         bool   // UDP: the payload has no tag and may be empty

	Options    []byte      // IPv4 options, filled up with zeros (RFC 791, section 3.1)
	Extensions []Extension // IPv6 extension headers, in this order

	BadChecksum bool // of TCP, UDP, ICMP, ICMPv6
	DstMAC      MAC  // zero: what Dst calls for on the link between client and server
	SrcMAC      MAC  // zero: that of the client
	Tagged      bool // with an IEEE 802.1Q header
	VLAN        uint16
}

// Extension is an IPv6 extension header (RFC 8200, section 4).
type Extension struct {
	Header port.Proto // such as 0, hop-by-hop options, or 60, destination options
	Data   []byte     // what follows the length octet; filled up with zeros
}

// TCP flags (RFC 9293, section 3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd

	etherHeader = 14
	ipv4Header  = 20
	ipv6Header  = 40
	tcpHeader   = 20
	udpHeader   = 8
	icmpHeader  = 8

	window     = 65535
	defaultTTL = 64
)

var be = binary.BigEndian

// Frame gives the packet as an Ethernet frame, without the check sequence.
func (p Packet) Frame() ([]byte, error) { return p.frame(p.transport(), nil) }

// frame makes a frame with what follows the IP headers, or a fragment of that.
func (p Packet) frame(body []byte, f *fragment) ([]byte, error) {
	if p.Src.Is4() != p.Dst.Is4() || !p.Src.IsValid() || !p.Dst.IsValid() {
		return nil, fmt.Errorf("no packet goes from %s to %s", p.Src, p.Dst)
	}
	frame := p.ethernet()
	var err error
	if p.Dst.Is4() {
		frame, err = p.appendIPv4(frame, body, f)
	} else {
		frame, err = p.appendIPv6(frame, body, f)
	}
	if err != nil {
		return nil, fmt.Errorf("make a packet: %w", err)
	}
	return frame, nil
}

func (p Packet) ethernet() []byte {
	src, dst := p.SrcMAC, p.DstMAC
	if src == (MAC{}) {
		src = ClientMAC()
	}
	if dst == (MAC{}) {
		dst = linkAddress(p.Dst)
	}
	frame := append(dst[:], src[:]...)
	if p.Tagged {
		frame = be.AppendUint16(be.AppendUint16(frame, etherVLAN), p.VLAN)
	}
	if p.Dst.Is4() {
		return be.AppendUint16(frame, etherIPv4)
	}
	return be.AppendUint16(frame, etherIPv6)
}

// linkAddress gives where a frame to an address goes: RFC 1112, section 6.4,
// and RFC 2464, section 7, for multicast.
func linkAddress(a netip.Addr) MAC {
	b := a.AsSlice()
	switch {
	case a.IsMulticast() && a.Is4():
		return MAC{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	case a.IsMulticast():
		return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
	case a == onlink4(255), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	return ServerMAC()
}

func (p Packet) ttl() uint8 {
	if p.TTL == 0 {
		return defaultTTL
	}
	return p.TTL
}

func (p Packet) appendIPv4(frame, body []byte, f *fragment) ([]byte, error) {
	if len(p.Extensions) > 0 {
		return nil, errors.New("IPv4 has no extension headers")
	}
	options := pad(p.Options, 4)
	if len(options) > 40 {
		return nil, fmt.Errorf("%d bytes of IPv4 options, 40 is the most", len(options))
	}
	header := make([]byte, ipv4Header, ipv4Header+len(options))
	header = append(header, options...)
	header[0] = 4<<4 | uint8(len(header)/4)
	be.PutUint16(header[2:], uint16(len(header)+len(body)))
	be.PutUint16(header[4:], uint16(p.Tag)) // identification
	header[6] = 1 << 6                      // do not fragment
	if f != nil {
		be.PutUint16(header[4:], uint16(f.id))
		be.PutUint16(header[6:], f.place(0))
	}
	header[8] = p.ttl()
	header[9] = uint8(p.Proto)
	copy(header[12:], p.Src.AsSlice())
	copy(header[16:], p.Dst.AsSlice())
	be.PutUint16(header[10:], ^sum(0, header))
	return append(append(frame, header...), body...), nil
}

func (p Packet) appendIPv6(frame, body []byte, f *fragment) ([]byte, error) {
	if len(p.Options) > 0 {
		return nil, errors.New("IPv6 has extension headers, not options")
	}
	next := uint8(p.Proto)
	var chain []byte
	if f != nil {
		chain = be.AppendUint32(be.AppendUint16([]byte{next, 0}, f.place(3)), f.id)
		next = fragmentHeader
	}
	for i := len(p.Extensions) - 1; i >= 0; i-- {
		e := p.Extensions[i]
		h := pad(append([]byte{next, 0}, e.Data...), 8)
		h[1] = uint8(len(h)/8 - 1)
		chain = append(h, chain...)
		next = uint8(e.Header)
	}
	body = append(chain, body...)
	header := make([]byte, ipv6Header)
	header[0] = 6 << 4
	be.PutUint16(header[4:], uint16(len(body)))
	header[6], header[7] = next, p.ttl()
	copy(header[8:], p.Src.AsSlice())
	copy(header[24:], p.Dst.AsSlice())
	return append(append(frame, header...), body...), nil
}

func pad(b []byte, n int) []byte {
	return append(b[:len(b):len(b)], make([]byte, -len(b)&(n-1))...)
}

// transport gives what follows the IP headers.
func (p Packet) transport() []byte {
	switch p.Proto {
	case port.TCP:
		b := make([]byte, tcpHeader, tcpHeader+len(p.Payload))
		be.PutUint16(b[0:], p.SrcPort)
		be.PutUint16(b[2:], p.DstPort)
		be.PutUint32(b[4:], p.Tag)
		be.PutUint32(b[8:], p.Ack)
		b[12] = tcpHeader / 4 << 4
		b[13] = p.Flags
		be.PutUint16(b[14:], window)
		return p.check(append(b, p.Payload...), 16)
	case port.UDP:
		b := make([]byte, udpHeader, udpHeader+4+len(p.Payload))
		be.PutUint16(b[0:], p.SrcPort)
		be.PutUint16(b[2:], p.DstPort)
		if !p.Untagged {
			b = be.AppendUint32(b, p.Tag)
		}
		b = append(b, p.Payload...)
		be.PutUint16(b[4:], uint16(len(b)))
		return p.check(b, 6)
	case port.ICMP, port.ICMPv6:
		b := make([]byte, icmpHeader, icmpHeader+len(p.Payload))
		b[0], b[1] = p.ICMPType, p.ICMPCode
		be.PutUint32(b[4:], p.Tag)
		return p.check(append(b, p.Payload...), 2)
	}
	return append(be.AppendUint32(nil, p.Tag), p.Payload...)
}

// check puts the checksum at its offset (RFC 1071).
func (p Packet) check(b []byte, at int) []byte {
	var start uint32
	if p.Proto != port.ICMP {
		// The pseudo-header: RFC 9293, section 3.1, and RFC 8200, section 8.1.
		start = uint32(p.Proto) + uint32(len(b)) + uint32(sum(0, p.Src.AsSlice())) + uint32(sum(0, p.Dst.AsSlice()))
	}
	c := ^sum(start, b)
	if p.BadChecksum {
		c ^= 0x5555
	}
	if c == 0 && p.Proto == port.UDP {
		c = 0xffff // zero stands for none (RFC 768)
	}
	be.PutUint16(b[at:], c)
	return b
}

// sum is the ones' complement sum of b and a start value below 2^20.
func sum(start uint32, b []byte) uint16 {
	s := start
	for ; len(b) > 1; b = b[2:] {
		s += uint32(be.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
