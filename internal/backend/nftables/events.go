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

// openedSet holds the ends of all doors, with a counter each.
const openedSet = "opened_at"

const (
	// owedTime is how long a source has to come to a hidden service for its event
	// to be told. Of what it has opened it is until the door is shut.
	owedTime = 30 * time.Second
	// eventSources is how many sources can have an event of one kind that is owed, or
	// was told. The log takes 10 lines a second; a flood need not take more memory.
	eventSources = 4096
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
	return []string{backend.EventOpened, backend.EventAccepted, backend.EventWrong, backend.EventLimited}
}

// letIn ends the way of a packet that a door lets in.
func letIn(g *automaton.Program) string {
	if tells(g) {
		return "goto accepted"
	}
	return "accept"
}

// silenced is where a packet goes whose source has an empty bucket.
func silenced(g *automaton.Program, f family) string {
	if tells(g) {
		return "limited" + f.digit
	}
	return "clean"
}

func eventChains(g *automaton.Program) []string {
	switch {
	case !tells(g):
		return nil
	case defers(g):
		return []string{"opened", "accepted", "first_accepted", "wrong", "limited4", "limited6", "owing4", "owing6", "owing_wrong", "owing_limited"}
	}
	return []string{"opened", "accepted", "wrong", "limited4", "limited6"}
}

func eventSets(g *automaton.Program, f family) []set {
	if !tells(g) {
		return nil
	}
	attrs := fmt.Sprintf("size %d; flags dynamic,timeout;", eventSources)
	var list []set
	for _, kind := range counters(g) {
		list = append(list, set{name: f.told(kind), typeof: fromAddr(f), attrs: attrs})
		if kind != backend.EventAccepted && defers(g) {
			list = append(list, set{name: f.owed(kind), typeof: f.addrType, attrs: attrs})
		}
	}
	return list
}

// owed names the set of sources of which an event of a kind is to be told, and told
// the set of those of which it was. A set for each kind needs no register, which
// takes as long to write as a set takes to look up.
func (f family) owed(kind string) string { return "owed_" + kind + f.digit }
func (f family) told(kind string) string { return "told_" + kind + f.digit }

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

// events writes what happens at an event.
func (w *writer) events(g *automaton.Program, fams [2]family) {
	if !tells(g) {
		return
	}
	happens := func(kind string, fams ...family) {
		w.rule("how often", "counter name %q", kind)
		for _, f := range fams {
			if kind == backend.EventLimited && defers(g) {
				w.owing(f, kind, "clean") // a flood's packets need not all write
			}
			if defers(g) {
				w.owe(g, f, kind)
			} else {
				w.tell(g, f, kind, 0)
			}
		}
	}
	w.chain("opened", func() {
		happens(backend.EventOpened, fams[:]...)
		w.clean(g, "leave no trace of a place")
	})
	w.chain("accepted", func() {
		w.rule("how often", "counter name %q", backend.EventAccepted)
		if defers(g) {
			for _, f := range fams {
				w.owing(f, backend.EventOpened, "first_accepted")
			}
		}
		w.tellAll(g, fams, backend.EventAccepted)
		w.rule("let in", "accept")
	})
	w.chain("wrong", func() { happens(backend.EventWrong, fams[:]...) })
	for _, f := range fams {
		w.chain("limited"+f.digit, func() {
			happens(backend.EventLimited, f)
			w.clean(g, "leave no trace of a place")
		})
	}
	if !defers(g) {
		return
	}
	w.chain("first_accepted", func() {
		w.told(fams, backend.EventOpened)
		w.tellAll(g, fams, backend.EventOpened)
		w.rule("let in", "accept")
	})
	for _, f := range fams {
		w.chain("owing"+f.digit, func() {
			w.owing(f, backend.EventWrong, "owing_wrong")
			w.owing(f, backend.EventLimited, "owing_limited")
		})
	}
	w.chain("owing_wrong", func() {
		w.told(fams, backend.EventWrong)
		w.tellAll(g, fams, backend.EventWrong)
	})
	w.chain("owing_limited", func() {
		// It stays owed: packets that are not heard would free and make elements of
		// one key faster than the kernel collects them.
		w.tellAll(g, fams, backend.EventLimited)
	})
}

// owe notes an event.
func (w *writer) owe(g *automaton.Program, f family, kind string) {
	wait := owedTime
	if kind == backend.EventOpened {
		wait = max(wait, g.StepTimeout)
		for _, d := range g.OpenTimes() {
			wait = max(wait, d)
		}
	}
	w.rule("to be told at a packet whose port is no knock", "update @%s { %s timeout %s }", f.owed(kind), f.addr, span(wait))
}

// owing goes to a chain if an event of a kind is owed.
func (w *writer) owing(f family, kind, chain string) {
	w.rule("something has happened before", "%s @%s goto %s", f.addr, f.owed(kind), chain)
}

// told takes a note away. Only packets that are heard make one, so that the
// bucket bounds how many elements wait for the kernel to collect them.
func (w *writer) told(fams [2]family, kind string) {
	for _, f := range fams {
		w.rule("it is told", "delete @%s { %s }", f.owed(kind), f.addr)
	}
}

// tellAll logs a packet to a hidden service, whose ports may be seen.
func (w *writer) tellAll(g *automaton.Program, fams [2]family, kind string) {
	for _, f := range fams {
		w.tell(g, f, kind, portsSize)
	}
}

// tell logs the packet as an event of a kind, and of it so much behind the header.
// The kernel log knows no length.
func (w *writer) tell(g *automaton.Program, f family, kind string, beyond int) {
	rate := "limit rate 6/minute burst 5 packets"
	if kind == backend.EventLimited {
		rate = "limit rate 2/minute burst 1 packets"
	}
	source, header := "ip saddr", headerSize4
	if f.digit == "6" {
		source, header = "ip6 saddr"+net64, headerSize6
	}
	where := " level info"
	if !defers(g) {
		where = fmt.Sprintf(" group %d snaplen %d", backend.EventGroup, header+beyond)
	}
	w.rule("not too often", "update @%s { %s timeout %s %s } limit rate 10/second burst 50 packets log prefix \"%s%s: \"%s",
		f.told(kind), source, span(toldTime), rate, backend.EventPrefix, kind, where)
}
