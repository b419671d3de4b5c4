package verify

import (
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// box is a set of packets of one family: all combinations of what each attribute
// may be.
type box struct {
	ports  bitset // atoms of protocol and port
	srcs   bitset // atoms of sources
	ifaces uint64
	sports uint64
	flags  uint64 // bit f: the TCP flags are f, of the six of RFC 9293
	icmp   [4]uint64
	conns  ruleset.Conns
	dests  ruleset.Dests
	data   bitset // what a datagram carries: classes of the pool
}

const (
	allConns = ruleset.New | ruleset.Established | ruleset.Related | ruleset.Invalid | ruleset.Untracked
	allDests = ruleset.Local | ruleset.Broadcast | ruleset.Multicast | ruleset.Anycast | ruleset.Unicast
	allFlags = 64
)

// all is every packet.
func (s *space) all() box {
	b := box{
		ports:  fullBitset(len(s.atoms)),
		srcs:   fullBitset(len(s.srcs)),
		ifaces: lowBits(len(s.ifaces)),
		sports: lowBits(len(s.sports)),
		flags:  ^uint64(0),
		icmp:   [4]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)},
		conns:  allConns,
		dests:  allDests,
		data:   fullBitset(s.datas),
	}
	if s.family == ruleset.IPv6 {
		b.dests &^= ruleset.Broadcast // IPv6 has none
	}
	return b
}

// possible leaves out what the kernel drops whatever the rules say: packets from a
// loopback address that do not come in by the loopback device (ip_route_input_slow(),
// net/ipv4/route.c; ip6_rcv_core(), net/ipv6/ip6_input.c).
func (s *space) possible(b box, remote bool) []box {
	lo := s.ifaceSet(func(n string) bool { return n == "lo" })
	if remote {
		b.ifaces &^= lo
	}
	loopback := newBitset(len(s.srcs))
	for i, a := range s.srcs {
		if a.addr.IsLoopback() {
			loopback.add(i)
		}
	}
	var out []box
	inside, rest := b.splitSources(loopback)
	if rest != nil {
		out = append(out, s.withData(*rest)...)
	}
	if inside != nil {
		if lo, _ := inside.splitIfaces(lo); lo != nil {
			out = append(out, s.withData(*lo)...)
		}
	}
	return out
}

// withData cuts a box so that only datagrams carry something.
func (s *space) withData(b box) []box {
	if s.datas == firstToken {
		b.data = s.noData()
		return []box{b}
	}
	var out []box
	udp, rest := b.splitPorts(s.protos(uint32(port.UDP), uint32(port.UDP)))
	if rest != nil {
		rest.data = s.noData()
		out = append(out, *rest)
	}
	if udp != nil {
		out = append(out, *udp)
	}
	return out
}

// noData is what packets carry that are no datagrams of a token's length.
func (s *space) noData() bitset {
	b := newBitset(s.datas)
	b.add(shortData)
	return b
}

// plainFirst cuts boxes so that packets that begin something with this host, from a
// device that nobody names, come before all others.
func (s *space) plainFirst(boxes []box) []box {
	var plain, odd []box
	for _, b := range boxes {
		for _, split := range []func(box) (yes, no *box){
			func(b box) (yes, no *box) { return b.splitConns(ruleset.New) },
			func(b box) (yes, no *box) { return b.splitDests(ruleset.Local) },
			func(b box) (yes, no *box) { return b.splitIfaces(1 << (len(s.ifaces) - 1)) },
			func(b box) (yes, no *box) { return b.splitFlags(begins()) },
		} {
			yes, no := split(b)
			if no != nil {
				odd = append(odd, *no)
			}
			if yes == nil {
				b.conns = 0
				break
			}
			b = *yes
		}
		if b.conns != 0 {
			plain = append(plain, b)
		}
	}
	return append(plain, odd...)
}

func lowBits(n int) uint64 {
	if n >= 64 {
		return ^uint64(0)
	}
	return 1<<n - 1
}

// splitPorts cuts a box in two by a set of ports. A part that is empty is nil, and one that
// is all is the box itself.
func (b *box) splitPorts(in bitset) (yes, no *box) {
	if b.ports.within(in) {
		return b, nil
	}
	if !b.ports.meets(in) {
		return nil, b
	}
	y, n := *b, *b
	y.ports, n.ports = b.ports.and(in), b.ports.without(in)
	return &y, &n
}

func (b *box) splitData(in bitset) (yes, no *box) {
	if b.data.within(in) {
		return b, nil
	}
	if !b.data.meets(in) {
		return nil, b
	}
	y, n := *b, *b
	y.data, n.data = b.data.and(in), b.data.without(in)
	return &y, &n
}

func (b *box) splitSources(in bitset) (yes, no *box) {
	if b.srcs.within(in) {
		return b, nil
	}
	if !b.srcs.meets(in) {
		return nil, b
	}
	y, n := *b, *b
	y.srcs, n.srcs = b.srcs.and(in), b.srcs.without(in)
	return &y, &n
}

// splitBits cuts by one of the attributes that are words of bits.
func splitBits[T ~uint8 | ~uint64](b box, field func(*box) *T, in T) (yes, no *box) {
	y, n := b, b
	*field(&y) &= in
	*field(&n) &^= in
	if *field(&y) != 0 {
		yes = &y
	}
	if *field(&n) != 0 {
		no = &n
	}
	return yes, no
}

func (b box) splitConns(in ruleset.Conns) (yes, no *box) {
	return splitBits(b, func(b *box) *ruleset.Conns { return &b.conns }, in)
}

func (b box) splitDests(in ruleset.Dests) (yes, no *box) {
	return splitBits(b, func(b *box) *ruleset.Dests { return &b.dests }, in)
}

func (b box) splitIfaces(in uint64) (yes, no *box) {
	return splitBits(b, func(b *box) *uint64 { return &b.ifaces }, in)
}

func (b box) splitSPorts(in uint64) (yes, no *box) {
	return splitBits(b, func(b *box) *uint64 { return &b.sports }, in)
}

func (b box) splitFlags(in uint64) (yes, no *box) {
	return splitBits(b, func(b *box) *uint64 { return &b.flags }, in)
}

func (b box) splitICMP(in [4]uint64) (yes, no *box) {
	y, n := b, b
	for i := range in {
		y.icmp[i] &= in[i]
		n.icmp[i] &^= in[i]
	}
	if y.icmp != [4]uint64{} {
		yes = &y
	}
	if n.icmp != [4]uint64{} {
		no = &n
	}
	return yes, no
}

// flagSet gives the values of the six flags that a match of mask and value takes.
func flagSet(mask, value uint8) uint64 {
	var set uint64
	for f := range uint8(allFlags) {
		if f&mask == value {
			set |= 1 << f
		}
	}
	return set
}

// begins is the set of flags of a SYN that can open a connection.
func begins() uint64 {
	return flagSet(automaton.SYN|automaton.ACK|automaton.RST|automaton.FIN, automaton.SYN)
}

func (s *space) ifaceSet(match func(name string) bool) uint64 {
	var set uint64
	for i, n := range s.ifaces {
		if match(n) {
			set |= 1 << i
		}
	}
	return set
}

// sportSet gives the pieces inside a range; both ends are cuts.
func (s *space) sportSet(first, last uint32) uint64 {
	var set uint64
	for i, at := range s.sports {
		if uint32(at) >= first && uint32(at) <= last {
			set |= 1 << i
		}
	}
	return set
}

// packet gives one packet of a box, the plainest that it holds.
func (s *space) packet(b box, srcs bitset) automaton.Packet {
	a := s.atoms[b.ports.first()]
	p := automaton.Packet{
		Src:   s.srcs[b.srcs.and(srcs).first()].addr,
		To:    port.Port{Proto: a.proto, Number: plainPort(a)},
		TTL:   64,
		Iface: s.device(highest(b.ifaces)),
		Conn:  plainest(b.conns, connOrder()),
		Dest:  plainest(b.dests, destOrder()),
	}
	switch a.proto {
	case port.TCP:
		p.Flags = plainFlags(b.flags)
		p.SrcPort = s.plainSPort(b.sports)
	case port.UDP:
		p.SrcPort = s.plainSPort(b.sports)
	case port.ICMP, port.ICMPv6:
		p.ICMP = plainICMP(a.proto, b.icmp)
	}
	return p
}

// device names a device, unless it is any that nobody names.
func (s *space) device(i int) string {
	if i == len(s.ifaces)-1 {
		return ""
	}
	return s.ifaces[i]
}

// plainPort avoids 0, which no packet of a real program goes to.
func plainPort(a portAtom) uint16 {
	if !hasPorts(a.proto) {
		return 0
	}
	if a.first == 0 && a.last > 0 {
		return min(9, a.last)
	}
	return a.first
}

func highest(mask uint64) int {
	at := 0
	for i := range 64 {
		if mask>>i&1 != 0 {
			at = i
		}
	}
	return at
}

type ordered[K ~uint8, V any] struct {
	bit   K
	value V
}

func connOrder() []ordered[ruleset.Conns, automaton.Conn] {
	return []ordered[ruleset.Conns, automaton.Conn]{
		{ruleset.New, automaton.New}, {ruleset.Established, automaton.Established}, {ruleset.Related, automaton.Related},
		{ruleset.Untracked, automaton.Untracked}, {ruleset.Invalid, automaton.Invalid},
	}
}

func destOrder() []ordered[ruleset.Dests, automaton.Dest] {
	return []ordered[ruleset.Dests, automaton.Dest]{
		{ruleset.Local, automaton.ToHost}, {ruleset.Broadcast, automaton.ToBroadcast}, {ruleset.Multicast, automaton.ToMulticast},
		{ruleset.Anycast, automaton.ToAnycast}, {ruleset.Unicast, automaton.ToElsewhere},
	}
}

func plainest[K ~uint8, V any](set K, order []ordered[K, V]) V {
	i := slices.IndexFunc(order, func(o ordered[K, V]) bool { return set&o.bit != 0 })
	return order[max(i, 0)].value
}

func plainFlags(set uint64) uint8 {
	for _, f := range []uint8{automaton.SYN, automaton.ACK, automaton.PSH | automaton.ACK} {
		if set>>f&1 != 0 {
			return f
		}
	}
	for f := range uint8(allFlags) {
		if set>>f&1 != 0 {
			return f
		}
	}
	return 0
}

// plainSPort leaves the source port open (0) if it can.
func (s *space) plainSPort(set uint64) uint16 {
	if set&1 != 0 {
		return 0
	}
	return s.sports[highest(set)]
}

func plainICMP(p port.Proto, set [4]uint64) uint8 {
	echo := 8
	if p == port.ICMPv6 {
		echo = 128
	}
	if set[echo/64]>>(echo%64)&1 != 0 {
		return uint8(echo)
	}
	for t := range 256 {
		if set[t/64]>>(t%64)&1 != 0 {
			return uint8(t)
		}
	}
	return 0
}
