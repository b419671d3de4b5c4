package attack

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// Knocks of both protocols, so that both are heard.
const bothProtocols = `
public = ["tcp/80"]
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/1001", "tcp/5002", "udp/3003", "tcp/4004"]
`

// TestKnockPortsLookClosed: what comes back from a knock port is, to the bit, what
// comes back from any other closed port, whatever the client has done before. Where
// closed ports answer and hidden services are to look like them, these do too.
func TestKnockPortsLookClosed(t *testing.T) {
	eachMode(t, true, func(t *testing.T, v kinds.Kind, m mode) {
		s := newSite(t, v, m.policy+bothProtocols)
		s.compareAnswers(m)
	})
}

func (s *site) compareAnswers(m mode) {
	s.Helper()
	tap := s.tap(s.pair.Client, lab.ClientDevice)
	knocks := s.knocks(0)
	var tooMuch []port.Port
	for range 100 {
		tooMuch = append(tooMuch, knocks[0], udp(9))
	}
	source := 0
	for stage, before := range map[string][]port.Port{
		"at the start": nil, "after a knock": knocks[:1], "after two": knocks[:2], "after three": knocks[:3], "not heard": tooMuch,
	} {
		for family := range families(0) {
			probe := func(to port.Port) []byte {
				source++
				src := families(source)[family]
				s.send(src, before...)
				return s.answerTo(tap, src, to)
			}
			closed := map[port.Proto][]byte{port.UDP: probe(udp(9)), port.TCP: probe(tcp(9))}
			if answers := !m.firewall || m.resets; answers != (len(closed[port.UDP]) > 0 && len(closed[port.TCP]) > 0) {
				s.Errorf("%s: closed ports answer: %v", stage, !answers)
			}
			compared := append(slices.Clone(knocks), udp(1002), tcp(5003), udp(65535), tcp(1))
			if m.firewall || m.resets { // else nothing answers there
				compared = append(compared, tcp(22))
			}
			for _, to := range compared {
				if got := probe(to); !bytes.Equal(got, closed[to.Proto]) {
					s.Errorf("%s, %s is answered otherwise than a closed port:\n%s%s", stage, to, hex.Dump(got), hex.Dump(closed[to.Proto]))
				}
			}
		}
	}
}

// answerTo gives the answer to a probe without what has to differ: numbers of packets, the
// port that was asked, and what is computed from these.
func (s *site) answerTo(tap *tap, src netip.Addr, to port.Port) []byte {
	s.Helper()
	for tap.next(0) != nil {
	}
	p := s.packet(src, to)
	p.SrcPort, p.Tag = 4321, 77
	s.put(p)
	return plain(tap.next(0))
}

func plain(ip []byte) []byte {
	if ip == nil {
		return nil
	}
	ip = slices.Clone(ip)
	body, proto := ip[ipv6Header:], port.Proto(ip[6])
	if ip[0]>>4 == 4 {
		body, proto = ip[ipv4Header:], port.Proto(ip[9])
		clear(ip[4:6])   // identification
		clear(ip[10:12]) // checksum
		clear(ip[16:20]) // the client
	} else {
		clear(ip[1:4]) // flow label, a hash of the addresses and ports
		clear(ip[24:40])
	}
	switch proto {
	case port.TCP:
		clear(body[0:2])
		clear(body[16:18])
	case port.ICMP, port.ICMPv6:
		clear(body[2:4])
		quoted := plainQuoted(body[8:])
		return append(ip[:len(ip)-len(quoted)], quoted...)
	default:
		panic(fmt.Sprintf("answered by protocol %d", proto))
	}
	return ip
}

// plainQuoted clears the same in a packet that was sent.
func plainQuoted(ip []byte) []byte {
	at := ipv6Header
	if ip[0]>>4 == 4 {
		at = ipv4Header
		clear(ip[10:12])
		clear(ip[12:16])
	} else {
		clear(ip[8:24])
	}
	if n := binary.BigEndian.Uint16(ip[at:]); n != 4321 {
		panic(fmt.Sprintf("quotes a packet from port %d", n))
	}
	clear(ip[at+2 : at+4])
	clear(ip[at+6 : at+8])
	return ip
}
