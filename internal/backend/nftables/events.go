package nftables

import (
	"fmt"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
)

// An event is counted where it happens. The kernel log prints both ports of
// every packet that it is given (nf_log_dump_tcp_header and nf_log_dump_udp_header,
// net/netfilter/nf_log_syslog.c; nothing turns that off), so that logging a knock
// would print the knock. With events = "kernel" an event is therefore noted in a
// set, owed, and told at the next packet of the source to a hidden service, whose
// port is never a knock. With events = "nflog" it is told at once, cut off before
// the ports: the snaplen of a rule is the most that a reader can get
// (NF_LOG_F_COPY_LEN, nfulnl_log_packet, net/netfilter/nfnetlink_log.c).
//
// What is told is limited for each source and kind (told), and for each kind. A
// full set tells nothing and changes no verdict.

// Numbers of the kinds in sets. They are no places or classes: those stand in
// other sets.
const (
	kindOpened uint32 = 1 + iota
	kindWrong
	kindLimited
	kindAccepted
)

// openedSet holds the ends of all doors, with a counter each.
const openedSet = "opened_at"

const (
	// owedTime is how long a source has to come to a hidden service for its event
	// to be told. Of what it has opened it is until the door is shut.
	owedTime = 30 * time.Second
	// toldTime is longer than a source's limit takes to fill up.
	toldTime = time.Minute
	// Of IPv4 the header without options, of IPv6 the fixed header: no ports.
	headerSize4, headerSize6 = 20, 40
	portsSize                = 4
)

// tells says whether events are counted and logged.
func tells(g *automaton.Program) bool { return g.Events != policy.NoEvents }

// defers says whether events wait for a packet that may be logged.
func defers(g *automaton.Program) bool { return g.Events == policy.KernelEvents }

// counters names the counter of each kind.
func counters(g *automaton.Program) []string {
	if !tells(g) {
		return nil
	}
	return allCounters()
}

func allCounters() []string {
	return []string{backend.EventOpened, backend.EventAccepted, backend.EventWrong, backend.EventLimited}
}

// letIn ends the way of a packet that a door lets in.
func letIn(g *automaton.Program) string {
	if tells(g) {
		return "goto accepted"
	}
	return "accept"
}

// unheard is where a packet goes whose source has an empty bucket.
func unheard(g *automaton.Program) string {
	if tells(g) {
		return "limited"
	}
	return "clean"
}

func eventChains(g *automaton.Program) []string {
	switch {
	case !tells(g):
		return nil
	case defers(g):
		return []string{"opened", "accepted", "first_accepted", "wrong", "limited", "owing", "owing_wrong", "owing_limited"}
	}
	return []string{"opened", "accepted", "wrong", "limited"}
}

func eventSets(g *automaton.Program, f family) []set {
	if !tells(g) {
		return nil
	}
	s := set{typeof: f.addrType + " . meta priority", attrs: fmt.Sprintf("size %d; flags dynamic,timeout;", g.Sources)}
	told, owed := s, s
	told.name, owed.name = f.told, f.owed
	if defers(g) {
		return []set{told, owed}
	}
	return []set{told}
}

// openedAt has a counter for each door, which takes no rule for each.
func openedAt(g *automaton.Program) set {
	s := set{name: openedSet, typeof: placeKey, attrs: "counter;"}
	if tells(g) {
		for _, d := range g.Doors {
			s.add("%s", handle(uint32(d.End)))
		}
	}
	return s
}

// events writes what happens at an event. The register is free in all of these
// chains, and none again at their end.
func (w *writer) events(g *automaton.Program, fams [2]family) {
	if !tells(g) {
		return
	}
	clean := func() { w.rule("leave no trace of a kind", "meta priority set none") }
	happens := func(kind string, number uint32) {
		w.rule("how often", "counter name %q", kind)
		w.rule("the kind of event", "meta priority set %s", handle(number))
		if defers(g) {
			w.owe(g, fams, number)
		} else {
			w.tell(g, fams, kind, 0)
		}
	}
	w.chain("opened", func() {
		happens(backend.EventOpened, kindOpened)
		clean()
	})
	w.chain("accepted", func() {
		w.rule("how often", "counter name %q", backend.EventAccepted)
		if defers(g) {
			w.rule("the kind of event", "meta priority set %s", handle(kindOpened))
			w.owing(fams, "first_accepted")
		}
		w.rule("the kind of event", "meta priority set %s", handle(kindAccepted))
		w.tell(g, fams, backend.EventAccepted, portsSize)
		clean()
		w.rule("let in", "accept")
	})
	w.chain("wrong", func() {
		happens(backend.EventWrong, kindWrong)
		// Whoever comes from here sets the register, whatever happens.
	})
	w.chain("limited", func() {
		happens(backend.EventLimited, kindLimited)
		clean()
	})
	if !defers(g) {
		return
	}
	w.chain("first_accepted", func() {
		w.told(fams)
		w.tell(g, fams, backend.EventOpened, portsSize)
		clean()
		w.rule("let in", "accept")
	})
	w.chain("owing", func() {
		w.rule("the kind of event", "meta priority set %s", handle(kindWrong))
		w.owing(fams, "owing_wrong")
		w.rule("the kind of event", "meta priority set %s", handle(kindLimited))
		w.owing(fams, "owing_limited")
		clean()
	})
	w.chain("owing_wrong", func() {
		w.told(fams)
		w.tell(g, fams, backend.EventWrong, portsSize)
		clean()
	})
	w.chain("owing_limited", func() {
		// It stays owed: packets that are not heard would free and make elements of
		// one key faster than the kernel collects them.
		w.tell(g, fams, backend.EventLimited, portsSize)
		clean()
	})
}

// owe notes an event, whose kind is in the register.
func (w *writer) owe(g *automaton.Program, fams [2]family, number uint32) {
	wait := owedTime
	if number == kindOpened {
		wait = max(wait, g.StepTimeout)
		for _, d := range g.OpenTimes() {
			wait = max(wait, d)
		}
	}
	for _, f := range fams {
		w.rule("to be told at a packet whose port is no knock", "update @%s { %s . meta priority timeout %s }", f.owed, f.addr, span(wait))
	}
}

// owing goes to a chain if the kind in the register is owed.
func (w *writer) owing(fams [2]family, chain string) {
	for _, f := range fams {
		w.rule("something has happened before", "%s . meta priority @%s goto %s", f.addr, f.owed, chain)
	}
}

// told takes a note away. Only packets that are heard make one, so that the
// bucket bounds how many elements wait for the kernel to collect them.
func (w *writer) told(fams [2]family) {
	for _, f := range fams {
		w.rule("it is told", "delete @%s { %s . meta priority }", f.owed, f.addr)
	}
}

// tell logs the packet as an event of the kind in the register, and of it so much
// behind the header. The kernel log knows no length.
func (w *writer) tell(g *automaton.Program, fams [2]family, kind string, beyond int) {
	rate := "limit rate 6/minute burst 5 packets"
	if kind == backend.EventLimited {
		rate = "limit rate 2/minute burst 1 packets"
	}
	for i, f := range fams {
		where := " level info"
		if !defers(g) {
			where = fmt.Sprintf(" group %d snaplen %d", backend.EventGroup, [2]int{headerSize4, headerSize6}[i]+beyond)
		}
		source := "ip saddr"
		if f.digit == "6" {
			source = "ip6 saddr" + net64
		}
		w.rule("not too often", "update @%s { %s . meta priority timeout %s %s } limit rate 10/second burst 50 packets log prefix \"%s%s: \"%s",
			f.told, source, span(toldTime), rate, backend.EventPrefix, kind, where)
	}
}
