package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// behind is a door to a service that is there.
const behind = `
[door.a]
opens  = ["tcp/22"]
knocks = ["udp/1001", "udp/5002", "udp/1003"]
`

var clients = []netip.Addr{netip.MustParseAddr("198.18.7.7"), netip.MustParseAddr("2001:db8:a:7::1")}

func serverOf(client netip.Addr) netip.Addr {
	if client.Is4() {
		return lab.Server4()
	}
	return lab.Server6()
}

// injects sends frames and gives what was answered to one client.
func (s stage) injects(to netip.Addr, frames ...[]byte) []lab.Answer {
	s.Helper()
	if err := s.Injector.SendFrames(s.Context(), frames...); err != nil {
		s.Fatal(err)
	}
	all, err := s.Injector.Answers(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var own []lab.Answer
	for _, a := range all {
		if a.Dst == to {
			own = append(own, a)
		}
	}
	return own
}

// at fails unless a source has done some knocks.
func (s stage) at(src netip.Addr, knocks int, why string) {
	s.Helper()
	way, _, err := s.Place(s.Context(), src, 64)
	if err != nil {
		s.Fatal(err)
	}
	if len(way) != knocks {
		s.Errorf("%s: %s has done %v, want %d knocks", why, src, way, knocks)
	}
}

// A host that takes fragments out of connection tracking before that puts them
// together has rules look at each. None leads to a hidden service.
func TestUntrackedFragmentsDoNotReachAService(t *testing.T) {
	const early = `table inet lab_early { chain c { type filter hook prerouting priority -450; policy accept; iif != "lo" notrack; }; }
`
	operate(t, behind, func(s stage) {
		if err := s.Listen(port.Port{Proto: port.TCP, Number: 22}); err != nil {
			s.Fatal(err)
		}
		if err := s.Listen(port.Port{Proto: port.TCP, Number: 80}); err != nil {
			s.Fatal(err)
		}
		if _, err := s.Pair.Server.Run(s.Context(), early, "nft", "-f", "-"); err != nil {
			s.Fatal(err)
		}
		cuts := [][]lab.Piece{
			{{To: 24}, {From: 24}}, {{From: 24}, {To: 24}}, {{To: 8}, {From: 8}}, {{From: 8}, {To: 8}},
			{{To: 16}, {From: 16}}, {{To: 8}, {From: 8, To: 16}, {From: 16}}, {{}},
		}
		n := uint16(20000)
		reaches := func(client netip.Addr, service uint16, pieces []lab.Piece) bool {
			n++
			p := lab.Packet{Src: client, Dst: serverOf(client), Proto: port.TCP, SrcPort: n, DstPort: service,
				Flags: automaton.SYN, Tag: uint32(n) << 12, Payload: make([]byte, 40)}
			frames, err := p.Fragments(uint32(n), pieces...)
			if err != nil {
				s.Fatal(err)
			}
			for _, a := range s.injects(client, frames...) {
				if a.Kind == lab.SynAck {
					return true
				}
			}
			return false
		}
		for _, client := range clients {
			for _, pieces := range cuts {
				if reaches(client, 22, pieces) {
					s.Errorf("%s reaches the service by the fragments %v", client, pieces)
				}
			}
			// It is not the laboratory that loses them.
			if !s.g.Firewall && !reaches(client, 80, cuts[0]) {
				s.Errorf("%s reaches no service at all", client)
			}
		}
	})
}

// An IPv6 fragment that should hold the TCP header and does not never becomes part
// of a packet (RFC 8200, section 4.5). No backend lets it change anything; they
// differ in whether the host gets to say so.
func TestTruncatedFirstFragment(t *testing.T) {
	operate(t, behind, func(s stage) {
		client := clients[1]
		s.sends(client.String(), "udp/1001")
		for _, service := range []uint16{22, 9} {
			p := lab.Packet{Src: client, Dst: lab.Server6(), Proto: port.TCP, SrcPort: 30000 + service, DstPort: service, Flags: automaton.SYN, Tag: 1 << 20}
			frames, err := p.Fragments(uint32(service), lab.Piece{To: 8}, lab.Piece{From: 8})
			if err != nil {
				s.Fatal(err)
			}
			answers := s.injects(client, frames...)
			told := len(answers) == 1 && answers[0].Kind == lab.OtherICMP && answers[0].Type == 4
			// The tcp match of iptables-legacy drops what is too short for it (tcp_mt in
			// net/netfilter/xt_tcpudp.c).
			if want := !strings.Contains(s.Name(), "legacy") && !s.g.Firewall && service == 9; told != want || len(answers) > 1 || len(answers) == 1 && !told {
				s.Errorf("tcp/%d: answers %+v, want a parameter problem: %v", service, answers, want)
			}
		}
		s.at(client, 1, "after truncated fragments")
	})
}

// In guard mode doors look before the host looks at the options, in firewall mode
// after it: a packet with a source route, which no host takes, is a knock in one
// and nothing in the other.
func TestSourceRoutes(t *testing.T) {
	operate(t, behind, func(s stage) {
		client := clients[0]
		p := lab.Packet{Src: client, Dst: lab.Server4(), Proto: port.UDP, SrcPort: 30000, DstPort: 1001, Tag: 1 << 20,
			Options: []byte{131, 7, 4, 10, 9, 0, 99}} // RFC 791: loose source and record route
		frame, err := p.Frame()
		if err != nil {
			s.Fatal(err)
		}
		s.injects(client, frame)
		want := 1
		if s.g.Firewall {
			want = 0
		}
		s.at(client, want, "after a source-routed knock")
	})
}

// A frame of a VLAN of which the host is no part is not for it. With a device for
// the VLAN it comes in by that device.
func TestVLAN(t *testing.T) {
	const vlan = 5
	source := "trust = [\"iface:vlan5\"]\n" + behind
	operate(t, source, func(s stage) {
		for _, client := range clients {
			tagged := func(to uint16, id uint16) lab.Packet {
				return lab.Packet{Src: client, Dst: serverOf(client), Proto: port.UDP, SrcPort: 30000 + to, DstPort: to, Tag: uint32(to) << 12, Tagged: true, VLAN: id}
			}
			send := func(p lab.Packet) {
				s.Helper()
				frame, err := p.Frame()
				if err != nil {
					s.Fatal(err)
				}
				s.injects(client, frame)
			}
			send(tagged(1001, vlan))
			s.at(client, 0, "after a knock in a VLAN that the host is no part of")
			send(tagged(1001, 0))
			s.at(client, 1, "after a knock with a priority")
			send(tagged(9, vlan))
			s.at(client, 1, "after a wrong packet in a VLAN that the host is no part of")
		}
		if err := s.addVLAN("vlan5", vlan); errors.Is(err, unix.EOPNOTSUPP) {
			s.Logf("this kernel has no VLAN devices: %v", err)
			return
		} else if err != nil {
			s.Fatal(err)
		}
		p := lab.Packet{Src: clients[0], Dst: lab.Server4(), Proto: port.UDP, SrcPort: 31000, DstPort: 9, Tag: 3, Tagged: true, VLAN: vlan}
		frame, err := p.Frame()
		if err != nil {
			s.Fatal(err)
		}
		s.injects(clients[0], frame)
		s.at(clients[0], 1, "after a packet by a trusted VLAN, which is not heard")
	})
}

func (s stage) addVLAN(name string, id int) error {
	return s.Pair.Server.Do(func() error {
		parent, err := netlink.LinkByName(lab.ServerDevice)
		if err != nil {
			return err
		}
		device := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent.Attrs().Index}, VlanId: id}
		if err := netlink.LinkAdd(device); err != nil {
			return fmt.Errorf("add a VLAN: %w", err)
		}
		return netlink.LinkSetUp(device)
	})
}

// The kernel's reject does not answer an untracked packet whose options the host
// has filled in. It is refused all the same, at a service and elsewhere.
func TestRefusalOfFilledOptions(t *testing.T) {
	labtest.Require(t)
	g := automatontest.Compile(t, "mode = \"firewall\"\nrefuse = \"reset\"\n"+behind)
	for _, v := range kinds.All() {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			k, err := backendtest.New(t.Context(), g, v.Make)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { k.Close() })
			for _, to := range []port.Port{{Proto: port.TCP, Number: 22}, {Proto: port.TCP, Number: 9}, {Proto: port.UDP, Number: 9}} {
				for with, want := range map[automaton.Headers]automaton.Verdict{
					automaton.NoOperation: automaton.Rejected, automaton.Timestamp: automaton.Dropped, automaton.RecordRoute: automaton.Dropped,
				} {
					p := automaton.Packet{Src: clients[0], To: to, TTL: 64, Flags: automaton.SYN, Conn: automaton.Untracked, With: with}
					if got, err := k.Send(t.Context(), p); err != nil || got != want {
						t.Errorf("%s with %s: %s, %v, want %s", to, with, got, err, want)
					}
				}
			}
		})
	}
}
