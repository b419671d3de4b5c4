package attack

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/lab"
)

// TestOneTimeOddDatagrams: a token counts in a whole datagram of just its length, to
// an address of this host alone; then it is spent, whoever sends it. What the
// kernel would not give to a program spends and opens nothing.
func TestOneTimeOddDatagrams(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "mode = \"firewall\"\n"} {
		s := users(t, mode+userDoors, 64)
		tokens := s.of("alice")
		next := 0
		for _, c := range s.oddDatagrams() {
			for family := range families(0) {
				if c.only != 0 && c.only != 4+2*family {
					continue
				}
				v := tokens[next]
				next++
				src := families(60 + next)[family]
				if c.trusted {
					src = [...]netip.Addr{netip.MustParseAddr("198.19.0.9"), netip.MustParseAddr("2001:db8:a:f000::9")}[family]
				}
				s.frames(c.frames(s, src, v))
				if spent := s.isSpent(v); spent != c.works {
					t.Errorf("%q %s, %s: spent is %v", mode, c.name, src, spent)
				}
				if !c.trusted && s.opensFor(src, v) != c.works {
					t.Errorf("%q %s, %s: open is %v", mode, c.name, src, !c.works)
				}
				if c.works {
					continue
				}
				if s.use(src, v); !s.opensFor(src, v) {
					t.Errorf("%q %s, %s: the token is gone", mode, c.name, src)
				}
			}
		}
	}
}

type oddDatagram struct {
	name    string
	only    int // a family, or 0
	works   bool
	trusted bool
	frames  func(s *userSite, src netip.Addr, v automaton.Value) [][]byte
}

func (s *userSite) oddDatagrams() []oddDatagram {
	content := func(change func(token []byte) []byte) func(*userSite, netip.Addr, automaton.Value) [][]byte {
		return func(s *userSite, src netip.Addr, v automaton.Value) [][]byte {
			return [][]byte{s.frame(s.datagram(src, 9, change(slices.Clone(v.Token[:]))))}
		}
	}
	packet := func(change func(p *lab.Packet)) func(*userSite, netip.Addr, automaton.Value) [][]byte {
		return func(s *userSite, src netip.Addr, v automaton.Value) [][]byte {
			p := s.datagram(src, 9, v.Token[:])
			change(&p)
			return [][]byte{s.frame(p)}
		}
	}
	// header has the datagram say another length, and puts something behind it.
	header := func(length uint16, behind int, sum bool) func(*userSite, netip.Addr, automaton.Value) [][]byte {
		return func(s *userSite, src netip.Addr, v automaton.Value) [][]byte {
			return [][]byte{s.lengths(src, v.Token[:], length, behind, sum)}
		}
	}
	pieces := func(all ...lab.Piece) func(*userSite, netip.Addr, automaton.Value) [][]byte {
		return func(s *userSite, src netip.Addr, v automaton.Value) [][]byte {
			frames, err := s.datagram(src, 9, v.Token[:]).Fragments(s.count, all...)
			if err != nil {
				s.Fatal(err)
			}
			return frames
		}
	}
	to := func(number uint16) func(p *lab.Packet) { return func(p *lab.Packet) { p.DstPort = number } }
	at := func(address string) func(p *lab.Packet) {
		return func(p *lab.Packet) { p.Dst = netip.MustParseAddr(address) }
	}
	return []oddDatagram{
		{"plain", 0, true, false, packet(func(*lab.Packet) {})},
		{"a byte behind it", 0, false, false, content(func(t []byte) []byte { return append(t, 0) })},
		{"another token behind it", 0, false, false, content(func(t []byte) []byte { return append(t, t...) })},
		{"a byte in front", 0, false, false, content(func(t []byte) []byte { return append([]byte{0}, t...) })},
		{"a byte short", 0, false, false, content(func(t []byte) []byte { return t[:15] })},
		{"what follows the datagram is not of it", 4, true, false, header(24, 7, false)},
		{"but connection tracking sums it up", 0, false, false, header(24, 7, true)},
		// IPv6 itself takes none (RFC 8200, section 8.1), but connection tracking does.
		{"without a checksum", 0, true, false, header(24, 0, false)},
		{"longer than its packet", 0, false, false, header(25, 0, true)},
		{"shorter than its packet, and no token", 0, false, false, header(23, 0, true)},
		{"a header alone, and 16 bytes behind", 0, false, false, header(8, 0, true)},
		{"shorter than a header", 0, false, false, header(7, 0, true)},
		{"of length 0, as jumbograms have it", 0, false, false, header(0, 0, true)},
		{"a bad checksum", 0, false, false, packet(func(p *lab.Packet) { p.BadChecksum = true })},
		{"two fragments", 0, true, false, pieces(lab.Piece{To: 16}, lab.Piece{From: 16})},
		{"two fragments, the second first", 0, true, false, pieces(lab.Piece{From: 16}, lab.Piece{To: 16})},
		{"only the first fragment", 0, false, false, pieces(lab.Piece{To: 16})},
		{"fragments that overlap", 0, false, false, pieces(lab.Piece{To: 16}, lab.Piece{From: 8})},
		{"to a broadcast address", 4, false, false, packet(at("10.9.0.255"))},
		{"to every host of the link", 4, false, false, packet(at("255.255.255.255"))},
		{"to a multicast address", 4, false, false, packet(at("224.0.0.1"))},
		{"to a multicast address", 6, false, false, packet(at("ff02::1"))},
		{"to a public service", 0, true, false, packet(to(53))},
		{"to a hidden service", 0, true, false, packet(to(5000))},
		{"to a first knock", 0, true, false, packet(to(40213))},
		{"from trust", 0, true, true, packet(func(*lab.Packet) {})},
		{"in a TCP segment", 0, false, false, func(s *userSite, src netip.Addr, v automaton.Value) [][]byte {
			p := s.packet(src, tcp(9))
			p.Payload = v.Token[:]
			return [][]byte{s.frame(p)}
		}},
		{"behind options", 4, true, false, packet(func(p *lab.Packet) { p.Options = []byte{7, 7, 4, 0, 0, 0, 0} })},
		{"behind options", 6, true, false, packet(func(p *lab.Packet) { p.Extensions = []lab.Extension{unknown(0, 6), unknown(60, 30)} })},
	}
}

// lengths makes a datagram that says a length of its own, with bytes behind it that
// its IP packet has too.
func (s *userSite) lengths(src netip.Addr, token []byte, says uint16, behind int, sum bool) []byte {
	p := s.datagram(src, 9, append(slices.Clone(token), make([]byte, behind)...))
	frame := s.frame(p)
	at := 14 + ipv4Header
	pseudo := slices.Concat(p.Src.AsSlice(), p.Dst.AsSlice(), []byte{0, 17, 0, 0})
	if src.Is6() {
		at = 14 + ipv6Header
	}
	udp := frame[at:]
	binary.BigEndian.PutUint16(udp[4:], says)
	binary.BigEndian.PutUint16(udp[6:], 0)
	binary.BigEndian.PutUint16(pseudo[len(pseudo)-2:], says)
	covered := udp[:min(len(udp), int(says))]
	if c := checksum(pseudo, covered); sum && len(covered) >= 8 {
		binary.BigEndian.PutUint16(udp[6:], c)
	}
	return frame
}

// checksum is that of RFC 1071, never zero (RFC 768).
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		if len(b)%2 == 1 {
			b = append(slices.Clone(b), 0)
		}
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	if c := ^uint16(sum); c != 0 {
		return c
	}
	return 0xffff
}

// TestOneTimeBlocked: while all doors are shut by an administrator a token is spent
// and opens nothing, then or later; of sequences nothing is heard.
func TestOneTimeBlocked(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors, 4)
	op := s.doors.(backend.Operator)
	if err := op.Block(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"alice", "bob"} {
		for family := range families(0) {
			s.use(families(70 + i)[family], s.of(name)[family])
		}
	}
	if err := op.Unblock(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"alice", "bob"} {
		for family := range families(0) {
			src, v := families(70 + i)[family], s.of(name)[family]
			if s.opensFor(src, v) {
				t.Errorf("%s: a value that was used during a block opens", name)
			}
			if s.isSpent(v) != (name == "alice") {
				t.Errorf("%s: spent is %v", name, s.isSpent(v))
			}
		}
	}
}

// TestOneTimeTellsNothing: a datagram with a live token is answered as one without,
// to the bit, wherever it goes.
func TestOneTimeTellsNothing(t *testing.T) {
	t.Parallel()
	for _, m := range []string{"", "refuse = \"reset\"\n", "mode = \"firewall\"\nrefuse = \"reset\"\n", "mode = \"firewall\"\n"} {
		s := users(t, m+userDoors, 16)
		for i, to := range []uint16{9, 53, 5000, 40213} {
			for family, src := range families(80 + i) {
				v := s.of("alice")[2*i+family]
				other := v.Token
				other[0] ^= 0xff
				var said [2]string
				for j, content := range [][]byte{other[:], v.Token[:]} {
					s.answers()
					s.put(s.datagram(src, to, content))
					var kinds []string
					for _, a := range s.answers() {
						kinds = append(kinds, a.Kind.String())
					}
					said[j] = strings.Join(kinds, " ")
				}
				if said[0] != said[1] {
					t.Errorf("%q, udp/%d from %s: a token is answered with %q, another datagram with %q", m, to, src, said[1], said[0])
				}
			}
		}
	}
}
