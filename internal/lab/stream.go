package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"tirl/internal/port"
)

// Stream is an endless row of packets: the given ones in turn, over and over.
type Stream struct {
	// Packets are TCP and UDP packets of one family, without options and extension
	// headers.
	Packets []Packet
	// Sources is how many source addresses take turns; 0 is for the packets' own.
	// They are numbered from the packets' Src on, which has zeros where the number
	// goes: in its last 32 bits in IPv4; in IPv6 in bits 32 to 63, so that each is in a
	// /64 of its own, or in the last 32 bits with SameNet.
	Sources int
	// Hold is how many packets of a source come before those of the next one; 0
	// means one.
	Hold int
	// SameNet has all IPv6 sources in one /64.
	SameNet bool
}

// Crowd4 is an address from which on a stream can number 4 million sources: 100.64.0.0/10.
func Crowd4() netip.Addr { return netip.AddrFrom4([4]byte{100, 64}) }

// Crowd6 is the same for IPv6: from fd74:6972:0:0::1 on, a /64 each.
func Crowd6() netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0x74, 0x69, 0x72, 15: 1})
}

// Crowd6Net is the same in a single /64, fd74:6972::/64.
func Crowd6Net() netip.Addr { return netip.AddrFrom16([16]byte{0xfd, 0x74, 0x69, 0x72}) }

// layout says where things are in all frames of a stream.
type layout struct {
	length   int // of all frames
	six      bool
	number   int // offset of the 32 bits that tell sources apart
	proto    int // offset of the protocol
	tcp, udp int // offsets of the checksums
}

const ipv4Checksum = etherHeader + 10

// frames makes the frames of a stream, filled up to one length: what follows an IP
// packet in its frame is nobody's (RFC 894).
func (s Stream) frames() ([][]byte, layout, error) {
	if len(s.Packets) == 0 {
		return nil, layout{}, errors.New("a stream has no packets")
	}
	l := layout{six: s.Packets[0].Dst.Is6(), number: etherHeader + 12, proto: etherHeader + 9}
	header := ipv4Header
	if l.six {
		header = ipv6Header
		l.number, l.proto = etherHeader+12, etherHeader+6
		if s.SameNet {
			l.number = etherHeader + 20
		}
	}
	l.tcp, l.udp = etherHeader+header+16, etherHeader+header+6
	l.length = l.tcp + 2 // the program has both checksums in mind
	frames := make([][]byte, len(s.Packets))
	for i, p := range s.Packets {
		frame, err := p.Frame()
		switch {
		case err != nil:
		case p.Dst.Is6() != l.six:
			err = errors.New("is of another family than the first")
		case len(p.Options)+len(p.Extensions) > 0 || p.Tagged || p.Proto != port.TCP && p.Proto != port.UDP:
			err = errors.New("is no plain TCP or UDP packet")
		case s.Sources > 1 && s.Sources-1 > int(^be.Uint32(frame[l.number:])):
			err = fmt.Errorf("%d sources cannot be numbered from %s on", s.Sources, p.Src)
		}
		if err != nil {
			return nil, l, fmt.Errorf("packet %d of a stream: %w", i+1, err)
		}
		frames[i] = frame
		l.length = max(l.length, len(frame))
	}
	for i, frame := range frames {
		frames[i] = append(frame, make([]byte, l.length-len(frame))...)
	}
	return frames, l, nil
}
