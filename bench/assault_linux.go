package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"

	"tirl/internal/lab"
	"tirl/internal/port"
)

// assault is a kind of flood.
type assault struct {
	name, title string
	unit        string // of its rates
	rates       []int  // packets a second, from the least on; see [full]
	// frames gives the frame of a number. The packet is the first that opens the gate.
	frames func(first lab.Packet) (func(n int) []byte, error)
	// fills says that sources of the flood may leave something behind on the server. It is
	// there before anybody knocks.
	fills bool
	// shared says that the rate is shared out among so many clients, whose addresses it
	// comes from. 0: it comes from others.
	shared int
}

// Names of assaults.
const (
	portsFlood   = "ports"
	spoofedFlood = "spoofed"
	knownFlood   = "known"
	ownFlood     = "own"
)

func assaults() []assault {
	const clients = 20
	return []assault{
		{name: portsFlood, title: "Random ports, from one other address", unit: "packets a second",
			rates:  []int{10_000, 100_000, full},
			frames: func(lab.Packet) (func(int) []byte, error) { return vary(stranger(), 1, allPorts()) }},
		{name: spoofedFlood, title: "Random ports, each time from another forged address", unit: "packets a second",
			rates: []int{10_000, 100_000, full}, fills: true,
			frames: func(lab.Packet) (func(int) []byte, error) { return vary(stranger(), forgedSources, allPorts()) }},
		{name: knownFlood, title: "The first knock, each time from another forged address", unit: "packets a second",
			rates: []int{1000, 5000, 10_000, 30_000, 100_000, full}, fills: true,
			frames: func(first lab.Packet) (func(int) []byte, error) {
				first.Src, first.SrcPort = lab.Crowd4(), 40000
				if first.Untagged {
					// What fwknopd takes for a packet of fwknop, until it has computed its HMAC.
					first.Payload = []byte(strings.Repeat("A", len(first.Payload)))
				}
				return vary(first, forgedSources, []uint16{first.DstPort})
			}},
		{name: ownFlood, title: "Random ports, forged from the client's own address", unit: "packets a second from a client's address",
			rates: []int{clients * 1, clients * 10, clients * 100, clients * 1000}, shared: clients,
			frames: func(lab.Packet) (func(int) []byte, error) {
				p := stranger()
				p.Src, p.TTL = lab.Forged4(0), 57 // he is farther off, or nearer, than the client
				return vary(p, clients, allPorts())
			}},
	}
}

// forgedSources is how many addresses take turns in a flood.
const forgedSources = 1 << 22

// stranger is a packet of nobody's.
func stranger() lab.Packet {
	return lab.Packet{Src: lab.Crowd4(), SrcPort: 40000, Dst: lab.Server4(), Proto: port.UDP}
}

// allPorts gives each port once, in a fixed order without a pattern.
func allPorts() []uint16 {
	all := make([]uint16, 65535)
	for i, p := range rand.New(rand.NewPCG(1, 2)).Perm(len(all)) {
		all[i] = uint16(p + 1)
	}
	return all
}

// Where things are in a frame of UDP over IPv4 without options.
const (
	frameIP      = 14
	frameIPSum   = frameIP + 10
	frameSource  = frameIP + 12
	frameUDP     = frameIP + 20
	frameDstPort = frameUDP + 2
	frameUDPSum  = frameUDP + 6
)

// vary gives a UDP packet from each of so many sources, counted from its own, to each of the
// ports. It uses one frame over and over.
func vary(p lab.Packet, sources int, ports []uint16) (func(n int) []byte, error) {
	be := binary.BigEndian
	frame, err := p.Frame()
	if err != nil {
		return nil, err
	}
	be.PutUint16(frame[frameUDPSum:], 0) // none (RFC 768)
	source := be.Uint32(frame[frameSource:])
	return func(n int) []byte {
		be.PutUint32(frame[frameSource:], source+uint32(n%sources))
		be.PutUint16(frame[frameDstPort:], ports[n%len(ports)])
		be.PutUint16(frame[frameIPSum:], 0)
		var sum uint32
		for at := frameIP; at < frameUDP; at += 2 {
			sum += uint32(be.Uint16(frame[at:]))
		}
		sum = sum>>16 + sum&0xffff
		be.PutUint16(frame[frameIPSum:], ^uint16(sum+sum>>16))
		return frame
	}, nil
}
