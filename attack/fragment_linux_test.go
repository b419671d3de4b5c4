package attack

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"tirl/internal/lab"
	"tirl/internal/port"
)

// piece is a part of what follows the IP header, from at up to end.
type piece struct {
	at, end int
	last    bool
	of      int // 0: the SYN that is wanted; 1: another, to a public service
}

// TestFragments: a SYN that comes in pieces, behind options or extension headers meets the
// door like any other. Each way is tried on a public service too: what does not
// get there is no way around anything.
func TestFragments(t *testing.T) {
	for _, m := range modes {
		if m.resets {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			each(t, func(t *testing.T, v variant) {
				s := newSite(t, v, m.policy+oneDoor)
				next := 10
				for _, c := range s.disguises() {
					for family := range families(0) {
						if c.only != 0 && c.only != 4+2*family {
							continue
						}
						try := func(to uint16, knock bool) bool {
							next++
							src := families(next)[family]
							if knock {
								s.send(src, s.knocks(0)...)
							}
							return s.synAck(src, to, c.frames(src, to))
						}
						if reached := try(public, false); c.host != either && reached != (c.host == works) {
							t.Errorf("%s, %v: gets to a public service: %v", c.name, families(0)[family], reached)
						}
						if try(service, false) {
							t.Errorf("%s, %v: gets past the door", c.name, families(0)[family])
						}
						if open := try(service, true); c.host != either && open != (c.host == works) {
							t.Errorf("%s, %v: gets in after a knock: %v", c.name, families(0)[family], open)
						}
					}
				}
			})
		})
	}
}

// reaches says whether the host takes a SYN that comes in some way.
type reaches uint8

const (
	fails  reaches = iota
	works          // it does
	either         // kernels differ in what they make of fragments that overlap
)

// disguise is a way to send a SYN.
type disguise struct {
	name   string
	only   int // a family, or 0
	host   reaches
	frames func(src netip.Addr, to uint16) [][]byte
}

func (s *site) disguises() []disguise {
	pieces := func(all ...piece) func(netip.Addr, uint16) [][]byte {
		return func(src netip.Addr, to uint16) [][]byte { return s.pieces(src, to, all) }
	}
	dressed := func(dress func(p *lab.Packet)) func(netip.Addr, uint16) [][]byte {
		return func(src netip.Addr, to uint16) [][]byte {
			p := s.packet(src, tcp(to))
			dress(&p)
			return [][]byte{s.frame(p)}
		}
	}
	return []disguise{
		{"plain", 0, works, dressed(func(*lab.Packet) {})},
		{"tiny fragments, the flags in the second", 4, works, pieces(piece{0, 8, false, 0}, piece{8, 28, true, 0})},
		{"four tiny fragments", 4, works, pieces(piece{0, 8, false, 0}, piece{8, 16, false, 0}, piece{16, 24, false, 0}, piece{24, 28, true, 0})},
		// RFC 8200, section 4.5: the first must have all headers.
		{"tiny fragments, the flags in the second", 6, fails, pieces(piece{0, 8, false, 0}, piece{8, 28, true, 0})},
		{"two fragments", 0, works, pieces(piece{0, 24, false, 0}, piece{24, 28, true, 0})},
		{"two fragments, the second first", 0, works, pieces(piece{24, 28, true, 0}, piece{0, 24, false, 0})},
		{"one fragment that is all", 6, works, pieces(piece{0, 28, true, 0})},
		{"after a beginning for a public service", 0, either, pieces(piece{0, 24, false, 1}, piece{0, 28, true, 0})},
		{"ports overwritten", 0, either, pieces(piece{0, 24, false, 1}, piece{0, 8, false, 0}, piece{24, 28, true, 1})},
		{"flags overwritten", 0, either, pieces(piece{0, 16, false, 0}, piece{8, 28, true, 1})},
		{"only the first fragment", 0, fails, pieces(piece{0, 24, false, 0})},
		{"record route", 4, works, dressed(func(p *lab.Packet) { p.Options = []byte{7, 7, 4, 0, 0, 0, 0} })},
		{"hop-by-hop options", 6, works, dressed(func(p *lab.Packet) { p.Extensions = []lab.Extension{unknown(0, 6)} })},
		{"long destination options", 6, works, dressed(func(p *lab.Packet) { p.Extensions = []lab.Extension{unknown(60, 254)} })},
		{"three headers", 6, works, dressed(func(p *lab.Packet) {
			p.Extensions = []lab.Extension{unknown(0, 14), unknown(60, 30), unknown(60, 6)}
		})},
		{"routing header 0", 6, fails, dressed(func(p *lab.Packet) {
			p.Extensions = []lab.Extension{{Header: 43, Data: append([]byte{0, 1, 0, 0, 0, 0}, lab.Server6().AsSlice()...)}}
		})},
	}
}

// unknown is a header with one option that whoever does not know it skips
// (RFC 8200, section 4.2).
func unknown(header port.Proto, size int) lab.Extension {
	return lab.Extension{Header: header, Data: append([]byte{0x1e, byte(size - 2)}, make([]byte, size-2)...)}
}

// synAck puts frames of a source on the wire and says whether a port accepted a
// connection.
func (s *site) synAck(src netip.Addr, to uint16, frames [][]byte) bool {
	s.Helper()
	s.answers()
	s.frames(frames)
	return slices.ContainsFunc(s.answers(), func(a lab.Answer) bool { return a.Kind == lab.SynAck && a.Dst == src && a.SrcPort == to })
}

// pieces cuts a SYN into fragments. Another SYN, to the public service and with a bad
// sequence number, has the parts that an overlap shall replace.
func (s *site) pieces(src netip.Addr, to uint16, all []piece) [][]byte {
	s.Helper()
	p := s.packet(src, tcp(to))
	p.Payload = []byte("the rest")
	wanted := s.frame(p)
	p.DstPort = public
	other := s.frame(p)
	var frames [][]byte
	for _, cut := range all {
		whole := wanted
		if cut.of == 1 {
			whole = other
		}
		frames = append(frames, fragment(whole, cut, s.count))
	}
	return frames
}

// fragment makes one fragment of a frame (RFC 791, section 3.2; RFC 8200, section 4.5).
func fragment(whole []byte, cut piece, id uint32) []byte {
	be := binary.BigEndian
	more := uint16(1)
	if cut.last {
		more = 0
	}
	if be.Uint16(whole[12:]) == etherIPv6 {
		frame := slices.Clone(whole[:etherHeader+ipv6Header])
		next := frame[etherHeader+6]
		frame[etherHeader+6] = 44
		be.PutUint16(frame[etherHeader+4:], uint16(8+cut.end-cut.at))
		frame = append(frame, next, 0)
		frame = be.AppendUint16(frame, uint16(cut.at)|more)
		frame = be.AppendUint32(frame, id)
		return append(frame, whole[etherHeader+ipv6Header:][cut.at:cut.end]...)
	}
	frame := slices.Clone(whole[:etherHeader+ipv4Header])
	ip := frame[etherHeader:]
	be.PutUint16(ip[2:], uint16(ipv4Header+cut.end-cut.at))
	be.PutUint16(ip[4:], uint16(id))
	be.PutUint16(ip[6:], uint16(cut.at/8)|more<<13)
	be.PutUint16(ip[10:], 0)
	be.PutUint16(ip[10:], checksum(ip))
	return append(frame, whole[etherHeader+ipv4Header:][cut.at:cut.end]...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
