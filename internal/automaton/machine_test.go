package automaton_test

import (
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// machine executes the table as a backend does, with states, look-ups and
// entries that expire. It shares no code with the interpreter.
type machine struct {
	g     *automaton.Program
	step  map[on]automaton.State
	stay  map[on]bool
	grant []map[port.Port]uint32 // by layer: the class of a service

	places  map[who]entry
	buckets map[who]arrival
	grants  map[held]time.Duration
}

type on struct {
	at automaton.State
	to port.Port
}

type who struct {
	addr netip.Addr
	ttl  uint8
}

type held struct {
	addr  netip.Addr
	class uint32
}

type entry struct {
	at   automaton.State
	ends time.Duration
}

// arrival is a bucket as the generic cell rate algorithm keeps it (ITU-T I.371):
// the time at which it will be full again.
type arrival struct{ full, asked time.Duration }

func newMachine(g *automaton.Program) *machine {
	m := &machine{
		g: g, step: make(map[on]automaton.State), stay: make(map[on]bool),
		places: make(map[who]entry), buckets: make(map[who]arrival), grants: make(map[held]time.Duration),
	}
	for _, e := range g.Edges() {
		m.step[on{e.From, e.On}] = e.To
	}
	for _, s := range g.Stays() {
		m.stay[on{s.At, s.On}] = true
	}
	for _, layer := range g.GrantLayers() {
		ports := make(map[port.Port]uint32)
		for _, cr := range layer {
			for n := int(cr.Range.First); n <= int(cr.Range.Last); n++ {
				ports[port.Port{Proto: cr.Range.Proto, Number: uint16(n)}] = g.Classes[cr.Class].ID
			}
		}
		m.grant = append(m.grant, ports)
	}
	return m
}

// packet gives the verdict.
func (m *machine) packet(p automaton.Packet) automaton.Verdict {
	service := slices.ContainsFunc(m.g.Hidden(), func(r port.Range) bool { return r.Contains(p.To) })
	if verdict, final := m.filter(p, service); final {
		return verdict
	}
	src := m.g.Source(p.Src)
	for _, layer := range m.grant {
		if class, ok := layer[p.To]; ok && p.Time < m.grants[held{src, class}] {
			return automaton.Accept
		}
	}
	if m.listen(p, src) {
		return automaton.Accept
	}
	switch {
	case !m.g.Firewall && !service:
		return automaton.Accept
	case m.g.Reset && (p.To.Proto == port.TCP || p.To.Proto == port.UDP):
		return automaton.Rejected
	}
	return automaton.Dropped
}

// filter is what rules do before any look-up of a place.
func (m *machine) filter(p automaton.Packet, service bool) (verdict automaton.Verdict, final bool) {
	if p.Cut == automaton.First || p.Cut == automaton.Later || p.Cut == automaton.Overlapping {
		return automaton.Dropped, true
	}
	accepted := p.Iface == "lo" || p.Conn == automaton.Established ||
		slices.Contains(m.g.Ifaces, p.Iface) ||
		slices.ContainsFunc(m.g.Trust, func(n netip.Prefix) bool { return n.Contains(p.Src) }) ||
		slices.ContainsFunc(m.g.Public, func(r port.Range) bool { return r.Contains(p.To) })
	if accepted {
		return automaton.Accept, true
	}
	if m.g.Firewall {
		return m.filterInput(p, service)
	}
	syn := p.Flags&(automaton.SYN|automaton.ACK|automaton.RST|automaton.FIN) == automaton.SYN
	tcp, udp := p.To.Proto == port.TCP, p.To.Proto == port.UDP
	if service {
		switch {
		case tcp && !syn, p.Dest == automaton.ToElsewhere:
			return automaton.Accept, true
		case p.Dest != automaton.ToHost, p.Conn == automaton.Invalid:
			return automaton.Dropped, true
		}
		return 0, false
	}
	heard := (tcp && syn || udp) && m.g.Heard(p.To.Proto) && p.Dest == automaton.ToHost &&
		(p.Conn == automaton.New || p.Conn == automaton.Untracked)
	return automaton.Accept, !heard
}

func (m *machine) filterInput(p automaton.Packet, service bool) (automaton.Verdict, bool) {
	neighbours := []uint8{130, 131, 132, 133, 134, 135, 136, 137, 143}
	linkLocal := netip.MustParsePrefix("fe80::/10")
	switch {
	case p.To.Proto == port.ICMP && m.g.ICMP,
		p.To.Proto == port.ICMPv6 && (m.g.ICMP || slices.Contains(neighbours, p.ICMP)),
		m.g.DHCP && p.Src.Is4() && p.To == port.Port{Proto: port.UDP, Number: 68} && p.SrcPort == 67,
		m.g.DHCP && linkLocal.Contains(p.Src) && p.To == port.Port{Proto: port.UDP, Number: 546},
		slices.Contains(m.g.Protos, p.To.Proto),
		p.Dest == automaton.ToElsewhere,
		p.Conn == automaton.Related && !service:
		return automaton.Accept, true
	case p.Dest != automaton.ToHost, p.Conn == automaton.Invalid:
		return automaton.Dropped, true
	}
	return 0, false
}

// listen finds the place, makes the source pay, and moves it. It says whether
// the packet is the one connection of a door that opens once.
func (m *machine) listen(p automaton.Packet, src netip.Addr) bool {
	key, purse := who{addr: src}, who{addr: src}
	if src.Is6() {
		purse.addr = netip.PrefixFrom(src, 64).Masked().Addr()
	}
	if m.g.MatchTTL {
		key.ttl, purse.ttl = p.TTL, p.TTL
	}
	place := m.places[key]
	if p.Time >= place.ends {
		place.at = automaton.Root
	}
	stays := m.stay[on{place.at, p.To}]
	_, first := m.step[on{automaton.Root, p.To}]
	b, ok := m.buckets[purse]
	if ok = ok && p.Time < b.asked+automaton.BucketLife; !ok && !stays && place.at == automaton.Root && !first {
		return false
	}
	if ok || !stays {
		token := time.Second / time.Duration(m.g.PerSource)
		full := max(b.full, p.Time)
		if !ok {
			full = p.Time
		}
		heard := full+token <= p.Time+automaton.BucketDepth*time.Duration(m.g.PerSource)*token
		if heard {
			full += token
		}
		m.buckets[purse] = arrival{full, p.Time}
		if !heard {
			return false
		}
	}
	if stays {
		m.places[key] = entry{place.at, p.Time + m.g.StepTimeout}
		return false
	}
	return m.move(p, key, place.at)
}

// move leaves a place and enters another.
func (m *machine) move(p automaton.Packet, key who, at automaton.State) bool {
	delete(m.places, key)
	if d := m.g.DoorAt(at); d != nil && slices.ContainsFunc(m.g.Classes[d.Class].Services, func(r port.Range) bool { return r.Contains(p.To) }) {
		return true
	}
	next, ok := m.step[on{at, p.To}]
	if !ok {
		next = m.step[on{automaton.Root, p.To}]
	}
	if next == automaton.Root {
		return false
	}
	if d := m.g.DoorAt(next); d != nil {
		class := m.g.Classes[d.Class]
		switch {
		case len(d.From) > 0 && !slices.ContainsFunc(d.From, func(n netip.Prefix) bool { return n.Contains(key.addr) }):
			return false
		case !class.Once:
			k := held{key.addr, class.ID}
			m.grants[k] = max(m.grants[k], p.Time+class.OpenFor)
			return false
		}
	}
	m.places[key] = entry{next, p.Time + m.g.StepTimeout}
	return false
}

// way gives the knocks that a source has done at a time.
func (m *machine) way(p automaton.Packet) []port.Port {
	key := who{addr: m.g.Source(p.Src)}
	if m.g.MatchTTL {
		key.ttl = p.TTL
	}
	if e := m.places[key]; p.Time < e.ends {
		return m.g.Way(e.at)
	}
	return nil
}

// open lists the classes that a source holds at a time, as indexes.
func (m *machine) open(src netip.Addr, now time.Duration) []int {
	var all []int
	for i, c := range m.g.Classes {
		if now < m.grants[held{m.g.Source(src), c.ID}] {
			all = append(all, i)
		}
	}
	return all
}
