package bench

import (
	"math/rand/v2"
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// pattern is a kind of traffic.
type pattern struct {
	name    string
	packets func(s *stage, f family) []lab.Packet // in turn
	sources int                                   // 0: one
	hold    int                                   // packets of a source in a row
	sameNet bool
	// lets says how many of n packets are to come to the service, and how many
	// elsewhere. A contender that lets others through has failed; nil: any number.
	lets func(n int) int
	// passes says that all packets are to get through.
	passes bool
}

const million = 1 << 20

// wrongPorts is how many ports wrong knocks take in turn.
const wrongPorts = 1024

// Names of patterns that others are compared with.
const (
	establishedTCP = "established TCP"
	establishedUDP = "established UDP"
	freshPublic    = "SYN to a public port"
	freshOther     = "SYN to any other port"
	wrongOne       = "wrong knocks"
	wrongMany      = "wrong knocks, a million sources"
	firstOne       = "first knock, again and again"
	firstMany      = "first knock, a million sources"
	whole          = "knock, grant, SYN; ever other source"
)

// honest are patterns of traffic that has nothing to do with doors.
func honest() []pattern {
	return []pattern{
		{name: establishedTCP, packets: segment, passes: true},
		{name: establishedUDP, packets: answer, passes: true},
		{name: freshPublic, packets: syns(publicPort), sources: million, passes: true},
		{name: freshOther, packets: syns(8080), sources: million},
	}
}

// hostile are patterns that knock, rightly or wrongly.
func hostile() []pattern {
	first, second, last := doorKnocks[0].Number, doorKnocks[1].Number, doorKnocks[2].Number
	const wrong = 999
	closed := func(int) int { return 0 }
	return []pattern{
		{name: wrongOne, packets: wrongKnocks, lets: closed},
		{name: wrongMany, packets: wrongKnocks, sources: million, lets: closed},
		{name: firstOne, packets: datagrams(first), lets: closed},
		{name: "first knock, 30,000 sources", packets: datagrams(first), sources: 30000, lets: closed},
		{name: firstMany, packets: datagrams(first), sources: million, lets: closed},
		{name: "first, wrong; one source", packets: datagrams(first, wrong), lets: closed},
		{name: "first, wrong; 30,000 sources", packets: datagrams(first, wrong), sources: 30000, hold: 2, lets: closed},
		{name: "first, wrong; a million sources", packets: datagrams(first, wrong), sources: million, hold: 2, lets: closed},
		{name: "first, second, wrong; a million sources", packets: datagrams(first, second, wrong), sources: million, hold: 3, lets: closed},
		{name: "first, second, first, second; a million sources", packets: datagrams(first, second), sources: million, hold: 4, lets: closed},
		{name: "random sweep", packets: sweep, lets: closed},
		{name: "SYN to the closed door", packets: syns(doorService.Number), lets: closed},
		{name: "SYN to the closed door, a million sources", packets: syns(doorService.Number), sources: million, lets: closed},
		{name: "first, SYN to the door; a million sources", packets: mixed(datagrams(first), syns(doorService.Number)), sources: million, hold: 2, lets: closed},
		{name: whole, packets: mixed(datagrams(first, second, last), syns(doorService.Number)), sources: million, hold: 4,
			lets: func(n int) int { return n / 4 }},
	}
}

// network are patterns of IPv6 sources that share a /64.
func network() []pattern {
	first := doorKnocks[0].Number
	return []pattern{
		{name: "first knock, a million sources of one /64", packets: datagrams(first), sources: million, sameNet: true},
		{name: "first, wrong; a million sources of one /64", packets: datagrams(first, 999), sources: million, hold: 2, sameNet: true},
	}
}

// segment is one of an open connection. It comes over and over: connection tracking
// takes it for sent again (tcp_in_window, net/netfilter/nf_conntrack_proto_tcp.c).
func segment(s *stage, f family) []lab.Packet {
	flow := *s.flows[f.six]
	return []lab.Packet{flow.Next([]byte("data"))}
}

func answer(_ *stage, f family) []lab.Packet {
	return []lab.Packet{{Src: f.peer, SrcPort: flowPort, Dst: f.server, DstPort: udpPort, Proto: port.UDP}}
}

func (f family) to(p port.Port, i int) lab.Packet {
	packet := lab.Packet{Src: f.crowd, SrcPort: 20000 + uint16(i), Dst: f.server, DstPort: p.Number, Proto: p.Proto}
	if p.Proto == port.TCP {
		packet.Flags = automaton.SYN
	}
	return packet
}

func each(proto port.Proto, ports []uint16) func(*stage, family) []lab.Packet {
	return func(_ *stage, f family) []lab.Packet {
		packets := make([]lab.Packet, len(ports))
		for i, number := range ports {
			packets[i] = f.to(port.Port{Proto: proto, Number: number}, i)
		}
		return packets
	}
}

func datagrams(ports ...uint16) func(*stage, family) []lab.Packet { return each(port.UDP, ports) }

func syns(ports ...uint16) func(*stage, family) []lab.Packet { return each(port.TCP, ports) }

func mixed(parts ...func(*stage, family) []lab.Packet) func(*stage, family) []lab.Packet {
	return func(s *stage, f family) []lab.Packet {
		var all []lab.Packet
		for _, part := range parts {
			all = append(all, part(s, f)...)
		}
		return all
	}
}

// wrongKnocks go to ports that are no knocks, in a random order that is always the same.
func wrongKnocks(s *stage, f family) []lab.Packet {
	return datagrams(randomPorts(wrongPorts, true)...)(s, f)
}

// sweep goes to all ports, knocks too.
func sweep(s *stage, f family) []lab.Packet { return datagrams(randomPorts(1<<16-1, false)...)(s, f) }

func randomPorts(n int, wrong bool) []uint16 {
	ports := make([]uint16, 0, 1<<16-1)
	for number := 1; number < 1<<16; number++ {
		p := port.Port{Proto: port.UDP, Number: uint16(number)}
		if !wrong || !slices.Contains(doorKnocks, p) {
			ports = append(ports, p.Number)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	return ports[:min(n, len(ports))]
}
