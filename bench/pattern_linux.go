package bench

import (
	"math/rand/v2"

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
	// before is how many packets are sent before anything counts. While a table grows in
	// the background (lib/rhashtable.c) the kernel may add nothing to it, so that some knocks
	// of many sources at once are lost the first time.
	before int
}

// How many sources: some fit into the tables of a policy that does not say how large
// they are, a million do not.
const (
	some    = 29 * wrongPorts
	million = 1 << 20
)

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
	firstSome      = "first knock, 30,000 sources"
	firstMany      = "first knock, a million sources"
	whole          = "knock, grant, SYN; 30,000 sources"
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
	closed := func(int) int { return 0 }
	return []pattern{
		{name: wrongOne, packets: wrongKnocks, lets: closed},
		{name: wrongMany, packets: wrongKnocks, sources: million, lets: closed},
		{name: firstOne, packets: steps(0), lets: closed},
		{name: firstSome, packets: steps(0), sources: some, lets: closed},
		{name: firstMany, packets: steps(0), sources: million, lets: closed},
		{name: "first, wrong; one source", packets: steps(0, wrong), lets: closed},
		{name: "first, wrong; 30,000 sources", packets: steps(0, wrong), sources: some, hold: 2, lets: closed},
		{name: "first, wrong; a million sources", packets: steps(0, wrong), sources: million, hold: 2, lets: closed},
		{name: "first, second, wrong; 30,000 sources", packets: steps(0, 1, wrong), sources: some, hold: 3, lets: closed},
		{name: "first, second, wrong; a million sources", packets: steps(0, 1, wrong), sources: million, hold: 3, lets: closed},
		{name: "first, second, first, second; a million sources", packets: steps(0, 1), sources: million, hold: 4, lets: closed},
		{name: "random sweep", packets: sweep, lets: closed},
		{name: "SYN to the closed door", packets: syns(doorService.Number), lets: closed},
		{name: "SYN to the closed door, a million sources", packets: syns(doorService.Number), sources: million, lets: closed},
		{name: "first, SYN to the door; a million sources", packets: steps(0, connect), sources: million, hold: 2, lets: closed},
		{name: whole, packets: steps(0, 1, 2, connect), sources: some, hold: 4,
			lets: func(n int) int { return n / 4 }},
	}
}

// network are patterns of IPv6 sources that share a /64.
func network() []pattern {
	return []pattern{
		{name: "first knock, a million sources of one /64", packets: steps(0), sources: million, sameNet: true},
		{name: "first, wrong; a million sources of one /64", packets: steps(0, wrong), sources: million, hold: 2, sameNet: true},
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

func syns(number uint16) func(*stage, family) []lab.Packet {
	return func(_ *stage, f family) []lab.Packet {
		return []lab.Packet{f.to(port.Port{Proto: port.TCP, Number: number}, 0)}
	}
}

// What steps can have beside the knocks of a door, which count from 0.
const (
	wrong   = -1 // a knock that is none
	connect = -2
)

// steps are what a source sends that knows the door's knocks.
func steps(list ...int) func(*stage, family) []lab.Packet {
	return func(s *stage, f family) []lab.Packet {
		knocks := s.sequences()[0]
		packets := make([]lab.Packet, len(list))
		for i, step := range list {
			to := doorService
			switch {
			case step == wrong:
				to = port.Port{Proto: port.UDP, Number: lastWrong}
			case step >= 0:
				to = knocks[step]
			}
			packets[i] = f.to(to, i)
			if step >= 0 {
				packets[i].Payload = s.payload
			}
		}
		return packets
	}
}

// Wrong knocks are ports from firstWrong to lastWrong, in which no door has a knock.
const (
	firstWrong = 50000
	lastWrong  = 65535
)

// wrongKnocks go to ports that are no knocks, in a random order that is always the same.
func wrongKnocks(_ *stage, f family) []lab.Packet {
	return f.datagrams(shuffled(firstWrong, lastWrong)[:wrongPorts])
}

// sweep goes to all ports, knocks too.
func sweep(_ *stage, f family) []lab.Packet { return f.datagrams(shuffled(1, 1<<16-1)) }

func (f family) datagrams(ports []uint16) []lab.Packet {
	packets := make([]lab.Packet, len(ports))
	for i, number := range ports {
		packets[i] = f.to(port.Port{Proto: port.UDP, Number: number}, i)
	}
	return packets
}

func shuffled(first, last int) []uint16 {
	var ports []uint16
	for number := first; number <= last; number++ {
		ports = append(ports, uint16(number))
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	return ports
}
