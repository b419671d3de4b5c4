package attack

import (
	"net/netip"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
)

// TestOddSegments: no combination of TCP flags, with a good or a bad checksum,
// gets an answer from a hidden service as one that listens gives.
func TestOddSegments(t *testing.T) {
	eachMode(t, true, func(t *testing.T, v kinds.Kind, m mode) {
		s := newSite(t, v, m.policy+oneDoor)
		source := 0
		for _, bad := range []bool{false, true} {
			for flags := range 256 {
				for family := range families(0) {
					source++
					p := s.packet(families(source)[family], tcp(service))
					p.Flags, p.BadChecksum = uint8(flags), bad
					s.put(p)
				}
			}
		}
		for _, a := range s.answers() {
			if a.Kind != lab.Reset {
				t.Errorf("%s answers with %s", a.Src, a.Kind)
			}
			if m.firewall && !m.resets {
				t.Errorf("%s answers", a.Src)
			}
		}
		for _, r := range families(1) {
			if !s.getsIn(r, public) {
				t.Error("no service answers at all")
			}
		}
	})
}

// TestStealthScans: what scanners send instead of a SYN. In firewall mode a hidden
// port answers them like a closed one. In guard mode segments that are no SYN
// are left to the host, which answers FIN, NULL and Xmas probes of a closed port
// and is silent where something listens: that shows, SYN refused or not.
func TestStealthScans(t *testing.T) {
	eachMode(t, true, func(t *testing.T, v kinds.Kind, m mode) {
		s := newSite(t, v, m.policy+oneDoor)
		for _, scan := range []struct {
			name  string
			flags uint8
			shows bool // in guard mode
		}{
			{"SYN", automaton.SYN, !m.resets},
			{"ACK", automaton.ACK, false},
			{"FIN", automaton.FIN, true},
			{"NULL", 0, true},
			{"Xmas", automaton.FIN | automaton.PSH | automaton.URG, true},
			{"Maimon", automaton.FIN | automaton.ACK, false},
			{"SYN and ACK", automaton.SYN | automaton.ACK, false},
			{"RST", automaton.RST, false},
		} {
			for i, src := range families(1) {
				hidden, closed := s.answered(src, service, scan.flags), s.answered(src, 9, scan.flags)
				want := scan.shows && !m.firewall
				if shows := hidden != closed; shows != want {
					t.Errorf("%s, family %d: hidden %v, closed %v", scan.name, i, hidden, closed)
				}
			}
		}
	})
}

// answered says whether a segment gets any answer.
func (s *site) answered(src netip.Addr, to uint16, flags uint8) bool {
	s.Helper()
	p := s.packet(src, tcp(to))
	p.Flags = flags
	s.put(p)
	return len(s.answers()) > 0
}
