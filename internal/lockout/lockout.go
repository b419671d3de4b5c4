// Package lockout says, before a policy is loaded, whether it would shut out
// whoever is about to load it. It is pure: what must be known of the host is
// handed in, and what a packet would meet is asked of automaton.Interpreter.
package lockout

import (
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/session"
)

// Kind says what was found.
type Kind string

const (
	// BehindDoor: the port of the session would be hidden, and no door that opens it
	// opens to the session's address.
	BehindDoor Kind = "behind-door"
	// Closed: firewall mode would close the port of the session, and no door opens it.
	Closed Kind = "closed"
	// Gateway: the host sees clients by the address of its own default gateway.
	Gateway Kind = "gateway"
	// Shared: several sessions come from one private address, which may be that of a
	// gateway, a load balancer or a proxy.
	Shared Kind = "shared"
	// NoWayBack: the port of the session would be hidden, and nobody is trusted: there
	// is no way in without a knock.
	NoWayBack Kind = "no-way-back"
)

// Refuses says whether a policy must not be loaded but by force.
func (k Kind) Refuses() bool { return k == BehindDoor || k == Closed }

// Finding is something that the caller should know. Both texts begin in lower
// case and have no full stop.
type Finding struct {
	Kind Kind
	Text string // what happens
	Hint string // what to do; where it is a line of the policy, the whole line
}

// Situation is what is known of the host and of the caller.
type Situation struct {
	Session *session.Session // by which the caller came in; nil if there is none
	// Interface gives the device by which packets from an address come in, "" if it
	// is not known. It may be nil.
	Interface func(netip.Addr) string
	Sessions  []session.Conn // all sessions of the host
	Gateways  []netip.Addr   // addresses of the host's default gateways
}

// Check gives the findings, those that refuse first. A session on the loopback
// device, from a trusted address or to a public service is let in always, and
// so is one whose port guard mode leaves alone; there is nothing to say of it.
func Check(g *automaton.Program, s Situation) []Finding {
	c := checker{g: g, Situation: s, fates: make(map[approach]fate)}
	var found []Finding
	hidden, refused := false, false
	if s.Session != nil {
		for _, conn := range s.Session.Conns() {
			fate := c.fate(conn)
			if f, bad := c.refusal(conn, fate); bad {
				refused = true
				found = appendNew(found, f)
			}
			hidden = hidden || fate == opens
		}
	}
	found = append(found, c.shared()...)
	if hidden && !refused {
		if f, none := c.noWayBack(); none {
			found = append(found, f)
		}
	}
	return found
}

func appendNew(found []Finding, f Finding) []Finding {
	if slices.Contains(found, f) {
		return found
	}
	return append(found, f)
}

type checker struct {
	g *automaton.Program
	Situation
	fates map[approach]fate
}

// approach is what the fate of a session depends on.
type approach struct {
	from, to netip.Addr
	service  port.Port
}

// fate is what becomes of a session that is opened again.
type fate int

const (
	accepted fate = iota // without a knock
	opens                // after a knock
	unknown              // it is behind a door, and it is not known where it comes from
	excluded             // behind doors, none of which opens
	closed               // nothing opens it
)

func (c *checker) fate(conn session.Conn) fate {
	a := approach{conn.Remote.Addr(), conn.Local.Addr(), conn.Service()}
	f, known := c.fates[a]
	if !known {
		f = c.ask(conn)
		c.fates[a] = f
	}
	return f
}

// ask puts the question to the interpreter.
func (c *checker) ask(conn session.Conn) fate {
	out := automaton.NewInterpreter(c.g).Packet(c.packet(conn, conn.Service(), 0))
	switch {
	case out.Verdict == automaton.Accept:
		return accepted
	case !out.Service:
		return closed
	case !conn.Remote.IsValid():
		return unknown
	case slices.ContainsFunc(c.doors(conn.Service()), func(d automaton.Door) bool { return c.opens(d, conn) }):
		return opens
	}
	return excluded
}

// packet is one that begins a flow from where a session comes from.
func (c *checker) packet(conn session.Conn, to port.Port, at time.Duration) automaton.Packet {
	p := automaton.Packet{Time: at, Src: conn.Remote.Addr(), To: to, TTL: 64, Conn: automaton.New, Dest: automaton.ToHost}
	if to.Proto == port.TCP {
		p.Flags = automaton.SYN
	}
	switch {
	case !conn.Remote.IsValid():
		// Only what holds for every address of the family counts.
		p.Src = unspecified(conn.Local.Addr())
	case p.Src.IsLoopback() || p.Src == conn.Local.Addr():
		p.Iface = "lo"
	case c.Interface != nil:
		p.Iface = c.Interface(p.Src)
	}
	return p
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// doors lists those that open a service.
func (c *checker) doors(service port.Port) []automaton.Door {
	var list []automaton.Door
	for _, d := range c.g.Doors {
		if slices.ContainsFunc(c.g.Classes[d.Class].Services, func(r port.Range) bool { return r.Contains(service) }) {
			list = append(list, d)
		}
	}
	return list
}

// opens says whether a door lets a session in after its knocks, at whatever
// pace its limits leave time for.
func (c *checker) opens(d automaton.Door, conn session.Conn) bool {
	if !d.Admits(c.g.Source(conn.Remote.Addr())) {
		return false // the interpreter says so too, but there may be very many doors
	}
	for _, pace := range []time.Duration{
		time.Millisecond, time.Second / time.Duration(max(c.g.PerSource, 1)), c.g.StepTimeout / 2, c.g.StepTimeout * 9 / 10,
	} {
		if c.opensAt(d, conn, pace) {
			return true
		}
	}
	return false
}

// opensAt sends the knocks, then the session.
func (c *checker) opensAt(d automaton.Door, conn session.Conn, pace time.Duration) bool {
	in := automaton.NewInterpreter(c.g)
	var at time.Duration
	for _, k := range d.Knocks {
		in.Packet(c.packet(conn, k, at))
		at += pace
	}
	if class := c.g.Classes[d.Class]; !class.Once {
		at += min(pace, class.OpenFor/2) - pace
	}
	return in.Packet(c.packet(conn, conn.Service(), at)).Verdict == automaton.Accept
}
