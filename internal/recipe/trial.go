package recipe

import (
	"net/netip"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify"
	"tirl/internal/verify/ruleset"
)

// gap is from one packet to the next, where no time is at stake.
const gap = time.Millisecond

// trial is a ruleset that is tried.
type trial struct {
	*vocabulary
	rs     *ruleset.Ruleset
	family ruleset.Family
	ports  []port.Range // atoms
	views  []*view
	held   []bool // by set: whether something ever came into it
	left   int    // packets that may still be sent
	cut    bool   // there is more to try than is tried
	bad    error
}

// view is how the ruleset looks from one source, by one interface.
type view struct {
	prefix netip.Prefix // that rules name; not valid: none of those
	src    netip.Addr
	iface  string

	open                      []port.Range // without a knock
	all, firewall, icmp, dhcp bool
	protos                    []port.Proto
	doors                     []Door
	accepted, answered        []bool // by atom, without a knock
}

func newTrial(rs *ruleset.Ruleset, family ruleset.Family, packets int) *trial {
	t := &trial{vocabulary: read(rs, family), rs: rs, family: family, held: make([]bool, len(rs.Sets)), left: packets}
	t.ports = t.atoms()
	for _, iface := range append([]string{""}, t.ifaces[:min(len(t.ifaces), maxTold)]...) {
		t.views = append(t.views, &view{src: t.outside(family), iface: iface})
		for _, p := range t.prefixes[:min(len(t.prefixes), maxTold)] {
			t.views = append(t.views, &view{src: t.inside(p), iface: iface, prefix: p})
		}
	}
	t.cut = len(t.prefixes) > maxTold || len(t.ifaces) > maxTold
	return t
}

// probe is the port that stands for an atom.
func probe(atom port.Range) port.Port { return port.Port{Proto: atom.Proto, Number: atom.First} }

// packet begins something.
func (v *view) packet(to port.Port, at time.Duration) automaton.Packet {
	p := automaton.Packet{Time: at, Src: v.src, To: to, TTL: 64, Iface: v.iface}
	if to.Proto == port.TCP {
		p.Flags = automaton.SYN
	}
	return p
}

// send sends one packet. What the simulator cannot carry out ends the trial.
func (t *trial) send(sim *verify.Simulator, p automaton.Packet) verify.Judgement {
	if t.bad != nil {
		return verify.Judgement{Verdict: automaton.Dropped.String()}
	}
	j, err := sim.Packet(p)
	if err != nil {
		t.bad = err
	}
	return j
}

func lets(j verify.Judgement) bool { return j.Verdict == automaton.Accept.String() }

// fresh sends a packet at a ruleset that nobody has sent anything to.
func (t *trial) fresh(p automaton.Packet) verify.Judgement {
	return t.send(verify.NewSimulator(t.rs), p)
}

// look finds out what a view is like.
func (t *trial) look(v *view) error {
	v.all = true
	v.accepted, v.answered = make([]bool, len(t.ports)), make([]bool, len(t.ports))
	refused := map[port.Proto]bool{}
	for i, atom := range t.ports {
		j := t.fresh(v.packet(probe(atom), 0))
		if v.accepted[i] = lets(j); v.accepted[i] {
			v.open = merge(append(v.open, atom))
			continue
		}
		v.all = false
		v.answered[i] = j.Verdict != automaton.Dropped.String()
		refused[atom.Proto] = refused[atom.Proto] || !t.named[atom.First]
	}
	v.firewall = refused[port.TCP] && refused[port.UDP]
	t.others(v)
	if !v.all {
		v.doors = t.doors(v)
	}
	return t.bad
}

// others tries what has no ports.
func (t *trial) others(v *view) {
	ping, dhcp := v.packet(port.Port{Proto: port.ICMP}, 0), v.packet(port.Port{Proto: port.UDP, Number: 68}, 0)
	ping.ICMP, dhcp.SrcPort = 8, 67
	if t.family == ruleset.IPv6 {
		ping.To.Proto, ping.ICMP = port.ICMPv6, 128
		dhcp.To.Number, dhcp.SrcPort, dhcp.Src = 546, 547, netip.MustParseAddr("fe80::1")
	}
	v.icmp, v.dhcp = lets(t.fresh(ping)), lets(t.fresh(dhcp))
	for _, p := range t.protos {
		if lets(t.fresh(v.packet(port.Port{Proto: p}, 0))) {
			v.protos = append(v.protos, p)
		}
	}
}

// run sends packets to some ports; wait is how long after the one before each of them
// comes, beside the usual gap. It gives the simulator, the time, and what became of the
// last packet.
func (t *trial) run(v *view, to []port.Port, at int, wait time.Duration) (*verify.Simulator, time.Duration, verify.Judgement) {
	sim := verify.NewSimulator(t.rs)
	var now time.Duration
	var j verify.Judgement
	for i, p := range to {
		now += gap
		if i == at {
			now += wait
		}
		j = t.send(sim, v.packet(p, now))
	}
	return sim, now, j
}

// opens says whether the last packet of several gets in.
func (t *trial) opens(v *view, to ...port.Port) bool {
	_, _, j := t.run(v, to, -1, 0)
	return lets(j)
}
