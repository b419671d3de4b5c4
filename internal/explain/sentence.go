package explain

import (
	"fmt"
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// reasonName is what a reason is called in JSON.
func reasonName(r automaton.Reason) string {
	names := [...]string{
		automaton.NotOurs:       "not-ours",
		automaton.ByLoopback:    "loopback",
		automaton.ByTrust:       "trust",
		automaton.ByPublic:      "public",
		automaton.ByICMP:        "icmp",
		automaton.ByDHCP:        "dhcp",
		automaton.ByEstablished: "established",
		automaton.ByRelated:     "related",
		automaton.NotUnicast:    "not-unicast",
		automaton.IsInvalid:     "invalid",
		automaton.Granted:       "granted",
		automaton.Limited:       "limited",
		automaton.LetIn:         "let-in",
		automaton.Knocked:       "knocked",
		automaton.Restarted:     "restarted",
		automaton.Repeated:      "repeated",
		automaton.Lost:          "lost",
		automaton.Nothing:       "nothing",
		automaton.Opened:        "opened",
		automaton.Excluded:      "excluded",
		automaton.Incomplete:    "incomplete",
		automaton.Redeemed:      "redeemed",
	}
	if int(r) >= len(names) {
		return ""
	}
	return names[r]
}

// sentence tells what became of a packet of a source, of which m was known.
func (n *narrator) sentence(e *event, m *memory) string {
	switch e.Reason {
	case automaton.NotOurs:
		return n.refusal(e) + ": " + n.notOurs(e.packet)
	case automaton.ByLoopback, automaton.ByTrust, automaton.ByPublic, automaton.ByICMP, automaton.ByDHCP,
		automaton.ByEstablished, automaton.ByRelated:
		return n.refusal(e) + ": " + n.exempt(e)
	case automaton.NotUnicast:
		return fmt.Sprintf("%s: sent to %s, not to this host alone; never a knock", n.refusal(e), e.packet.Dest)
	case automaton.IsInvalid:
		return n.refusal(e) + ": connection tracking cannot place it; it changes nothing"
	case automaton.Incomplete:
		return n.refusal(e) + ": fragments that make no packet; nobody sees them"
	case automaton.Granted:
		return n.granting(e)
	case automaton.Limited:
		return n.refusal(e) + ": " + n.tooMany(e) + n.expired(e, m)
	case automaton.LetIn:
		return fmt.Sprintf("let in by door %s, this once; back to the start", n.door(e).Name)
	case automaton.Knocked, automaton.Restarted:
		return n.restart(e) + n.arrival(e) + n.expired(e, m)
	case automaton.Repeated:
		return n.repetition(e)
	case automaton.Lost:
		return n.refusal(e) + ": " + n.closed(e) + n.wrong(e) + ": back to the start"
	case automaton.Nothing:
		if e.Service {
			return n.refusal(e) + ": " + n.closed(e) + "at the start" + n.expired(e, m)
		}
		return n.refusal(e) + ": no first knock; at the start" + n.expired(e, m)
	case automaton.Opened:
		return n.restart(e) + n.opened(e) + n.expired(e, m)
	case automaton.Redeemed:
		return n.refusal(e) + ": a live token, spent; " + n.redeemed(e)
	case automaton.Excluded:
		return n.restart(e) + n.excluded(e) + n.expired(e, m)
	}
	return ""
}

// refusal is what becomes of a packet, knocks and grants aside.
func (n *narrator) refusal(e *event) string {
	switch e.Verdict {
	case automaton.Dropped:
		return "dropped"
	case automaton.Rejected:
		if e.packet.To.Proto == port.TCP {
			return "refused with a reset"
		}
		return "refused as unreachable"
	}
	if n.g.Firewall && e.Reason != automaton.NotOurs {
		return "let through"
	}
	return "left alone"
}

// notOurs says why a packet is none of the doors' business.
func (n *narrator) notOurs(p automaton.Packet) string {
	begins := p.Flags&(automaton.SYN|automaton.ACK|automaton.RST|automaton.FIN) == automaton.SYN
	switch {
	case p.Dest == automaton.ToElsewhere:
		return "routed on to another host"
	case p.To.Proto == port.TCP && !begins:
		return "it is no SYN and begins no connection"
	case p.Conn == automaton.Related:
		return "related to an open connection; never a knock"
	case p.Dest != automaton.ToHost:
		return fmt.Sprintf("sent to %s, not to this host alone; never a knock", p.Dest)
	case p.Conn == automaton.Invalid:
		return "connection tracking cannot place it; never a knock"
	}
	return fmt.Sprintf("not heard, since no knock uses %s", p.To.Proto)
}

// exempt says why a packet is never judged.
func (n *narrator) exempt(e *event) string {
	p := e.packet
	switch e.Reason {
	case automaton.ByLoopback:
		return "came in by loopback, never heard"
	case automaton.ByTrust:
		if slices.Contains(n.g.Ifaces, p.Iface) {
			return "came in by the trusted interface " + p.Iface + ", never heard"
		}
		return "from a trusted source, never heard"
	case automaton.ByPublic:
		return p.To.String() + " is public, never heard"
	case automaton.ByICMP:
		if n.g.ICMP {
			return "ICMP is accepted, never heard"
		}
		return "IPv6 needs it to find its neighbours, never heard"
	case automaton.ByDHCP:
		return "an answer to the DHCP client, never heard"
	case automaton.ByRelated:
		return "related to an open connection, never heard"
	}
	return "part of an open connection, never heard"
}

// opensTo are the last grants of the source.
func (n *narrator) opensTo(e *event) map[int]opening { return n.opens[n.g.Source(e.packet.Src)] }

func (n *narrator) door(e *event) automaton.Door { return n.g.Doors[e.Door] }

// granting tells by which door a source is let in.
func (n *narrator) granting(e *event) string {
	o := n.latest(e)
	return fmt.Sprintf("let in: door %s is open for another %s", n.g.Doors[o.door].Name, span(o.ends-e.packet.Time))
}

// latest is the grant of the source for a service that ends last, or ended last.
func (n *narrator) latest(e *event) opening {
	best := opening{door: -1}
	for class, o := range n.opensTo(e) {
		if !offers(n.g.Classes[class], e.packet.To) {
			continue
		}
		if best.door < 0 || o.ends > best.ends || o.ends == best.ends && o.door < best.door {
			best = o
		}
	}
	return best
}

// tooMany tells that the bucket is empty.
func (n *narrator) tooMany(e *event) string {
	text := fmt.Sprintf("not heard: more than %d packets a second", n.g.PerSource)
	if len(e.After) > 0 {
		return text + "; stays at " + n.names.place(e.After)
	}
	return text + "; at the start"
}

// restart is what goes before a first knock of a source in progress.
func (n *narrator) restart(e *event) string {
	again := e.Reason == automaton.Restarted ||
		e.Door >= 0 && len(n.door(e).Knocks) == 1 && len(e.Before) > 0
	if !again {
		return ""
	}
	return n.wrong(e) + ", but a first knock: "
}

// wrong tells where a packet was not expected.
func (n *narrator) wrong(e *event) string { return "wrong at " + n.names.place(e.Before) }

// arrival tells where a knock has led.
func (n *narrator) arrival(e *event) string {
	if e.Door < 0 {
		return n.names.place(e.After)
	}
	return "last knock: " + n.stands(e)
}

// redeemed tells what a token has opened.
func (n *narrator) redeemed(e *event) string {
	if n.g.Classes[n.door(e).Class].Once {
		return n.stands(e)
	}
	return n.open(e)
}

// stands tells that the source is at the end of a door that opens once.
func (n *narrator) stands(e *event) string {
	d := n.door(e)
	text := fmt.Sprintf("stands at door %s, the next %s is let in", d.Name, connection(n.g.Classes[d.Class]))
	if n.limited() {
		text += " (within " + span(n.g.StepTimeout) + ")"
	}
	return text
}

func (n *narrator) repetition(e *event) string {
	text := "a repeated knock: stays at " + n.names.place(e.After)
	if n.limited() {
		text += ", time refreshed"
	}
	return text
}

func (n *narrator) opened(e *event) string { return "last knock: " + n.open(e) }

// open tells that a door is open for a time.
func (n *narrator) open(e *event) string {
	d := n.door(e)
	c := n.g.Classes[d.Class]
	if o, ok := n.opensTo(e)[d.Class]; ok && o.ends > e.packet.Time {
		return fmt.Sprintf("door %s stays open, for %s more", d.Name, span(c.OpenFor))
	}
	return fmt.Sprintf("door %s is open for %s (%s)", d.Name, span(c.OpenFor), services(c))
}

func (n *narrator) excluded(e *event) string {
	what := "last knock"
	if e.packet.Data != "" {
		what = "a live token, spent,"
	}
	return fmt.Sprintf("%s of door %s, which does not open to %s: back to the start", what, n.door(e).Name, n.address(e.packet.Src))
}

// closed is what goes before, if the packet was to a service.
func (n *narrator) closed(e *event) string {
	if !e.Service {
		return ""
	}
	if o := n.latest(e); o.door >= 0 {
		d := n.g.Doors[o.door]
		return fmt.Sprintf("door %s closed %s ago (open_for %s); ", d.Name, span(e.packet.Time-o.ends), span(n.g.Classes[d.Class].OpenFor))
	}
	return n.names.closed(e.packet.To) + "; "
}

// expired tells that the source had a place and was too slow.
func (n *narrator) expired(e *event, m *memory) string {
	if len(m.place) == 0 || len(e.Before) > 0 {
		return ""
	}
	return fmt.Sprintf(" (too late: %s was left %s ago, step_timeout %s)",
		n.names.place(m.place), span(e.packet.Time-m.ends), span(n.g.StepTimeout))
}
