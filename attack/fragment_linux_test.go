package attack

import (
	"net/netip"
	"slices"
	"testing"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// cut is a fragment of the SYN that is wanted, or of another one to a public
// service, that is otherwise the same.
type cut struct {
	from, to int // 0: to the end
	other    bool
}

// TestFragments: a SYN that comes in pieces, behind options or extension headers meets the
// door like any other. Each way is tried on a public service too: what does not
// get there is no way around anything.
func TestFragments(t *testing.T) {
	eachMode(t, false, func(t *testing.T, v kinds.Kind, m mode) {
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
	pieces := func(all ...cut) func(netip.Addr, uint16) [][]byte {
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
		{"tiny fragments, the flags in the second", 4, works, pieces(cut{0, 8, false}, cut{8, 0, false})},
		{"four tiny fragments", 4, works, pieces(cut{0, 8, false}, cut{8, 16, false}, cut{16, 24, false}, cut{24, 0, false})},
		// RFC 8200, section 4.5: the first must have all headers.
		{"tiny fragments, the flags in the second", 6, fails, pieces(cut{0, 8, false}, cut{8, 0, false})},
		{"two fragments", 0, works, pieces(cut{0, 24, false}, cut{24, 0, false})},
		{"two fragments, the second first", 0, works, pieces(cut{24, 0, false}, cut{0, 24, false})},
		{"one fragment that is all", 6, works, pieces(cut{0, 0, false})},
		{"after a beginning for a public service", 0, either, pieces(cut{0, 24, true}, cut{0, 0, false})},
		{"ports overwritten", 0, either, pieces(cut{0, 24, true}, cut{0, 8, false}, cut{24, 0, true})},
		{"flags overwritten", 0, either, pieces(cut{0, 16, false}, cut{8, 0, true})},
		{"only the first fragment", 0, fails, pieces(cut{0, 24, false})},
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

// pieces cuts a SYN of 28 bytes into fragments.
func (s *site) pieces(src netip.Addr, to uint16, cuts []cut) [][]byte {
	s.Helper()
	wanted := s.packet(src, tcp(to))
	wanted.Payload = []byte("the rest")
	other := wanted
	other.DstPort = public
	var frames [][]byte
	for _, c := range cuts {
		p := wanted
		if c.other {
			p = other
		}
		f, err := p.Fragments(s.count, lab.Piece{From: c.from, To: c.to})
		if err != nil {
			s.Fatal(err)
		}
		frames = append(frames, f...)
	}
	return frames
}
