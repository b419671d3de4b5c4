package nftables

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// syn is a TCP packet that can open a connection.
const syn = "tcp flags & (fin | syn | rst | ack) == syn"

// chains writes all chains with their rules.
func (w *writer) chains(g *automaton.Program, fams [2]family) {
	w.chain("about", func() {
		w.rule("policy "+g.PolicyHash, "return")
	})
	if g.Firewall {
		w.chain("input", func() { w.input(g) })
	} else {
		w.chain("prerouting", func() { w.prerouting(g) })
	}
	if g.Firewall {
		w.chain("unheard", w.unheard)
	}
	if dhcp(g) {
		w.chain("dhcp", func() { w.dhcp(g) })
	}
	w.chain("door", func() { w.door(g) })
	w.chain("asked", func() {
		w.rule("no part of any flow", "ct state invalid drop")
		w.byFamily(fams, "asked")
	})
	for _, f := range fams {
		w.asking(g, f)
	}
	if hasTimed(g) {
		w.chain("held", func() { w.held(g) })
	}
	w.chain("shut", func() {
		w.refuse(g)
		w.rule("closed", "drop")
	})
	w.chain("listen", func() { w.byFamily(fams, "listen") })
	for _, f := range fams {
		w.listening(g, f)
		w.moving(g, f)
	}
	w.opening(g, fams)
	w.oneTime(g, fams)
	w.events(g, fams)
	w.chain("clean", func() { w.clean(g, "leave no trace of a place") })
}

// byFamily goes on to the chain of a packet's family. The table is of no other.
func (w *writer) byFamily(fams [2]family, chain string) {
	w.rule("each family has its own sources", "meta nfproto %s goto %s%s", fams[0].nfproto, chain, fams[0].digit)
	w.rule("each family has its own sources", "goto %s%s", chain, fams[1].digit)
}

// prerouting is guard mode: only the doors' services are ever refused. After
// conntrack (-200) and before DNAT (-100), so that ports that are published by
// DNAT, as Docker does, are covered.
func (w *writer) prerouting(g *automaton.Program) {
	w.line("\t\ttype filter hook prerouting priority mangle; policy accept;")
	w.exempt(g)
	w.known(g)
	if g.Heard(port.TCP) {
		w.rule("hear TCP", "%s ct state new,untracked goto listen", syn)
	}
	if g.Heard(port.UDP) {
		w.rule("hear UDP", "meta l4proto udp ct state new,untracked goto listen")
	}
}

// input is firewall mode: what nothing accepts is dropped.
func (w *writer) input(g *automaton.Program) {
	// The last rule drops, not the policy: should somebody flush this table, or
	// load guard mode over it by hand, an empty chain must not lock everybody out.
	w.line("\t\ttype filter hook input priority filter; policy accept;")
	w.exempt(g)
	w.needs(g)
	w.known(g)
	w.rule("what begins nothing is not heard", "ct state related,invalid goto unheard")
	w.rule("hear everything else", "jump listen")
	if g.Reset {
		w.rule("not to this host alone", "fib daddr type != local drop")
	}
	w.refuse(g)
	w.rule("what nothing accepts is dropped", "drop")
}

// unheard judges in firewall mode what belongs to no service and begins nothing.
func (w *writer) unheard() {
	w.rule("part of an accepted flow", "ct state related accept")
	w.rule("no part of any flow", "drop")
}

// known judges by the port alone.
func (w *writer) known(g *automaton.Program) {
	w.rule("public and hidden services", portPart+" vmap @%s", knownPorts(g).name)
}

// needs accepts what a host in firewall mode needs besides its services; see leases.
func (w *writer) needs(g *automaton.Program) {
	if g.ICMP {
		w.rule("ICMP", "meta l4proto icmp meta nfproto ipv4 accept")
		w.rule("ICMPv6", "meta l4proto ipv6-icmp meta nfproto ipv6 accept")
	} else {
		w.rule("neighbour discovery", "meta nfproto ipv6 icmpv6 type { %s } accept", numbers(automaton.AlwaysICMPv6()))
	}
	if len(g.Protos) > 0 {
		w.rule("public protocols", "meta l4proto { %s } accept", numbers(g.Protos))
	}
}

// dhcp judges packets to the ports of a DHCP client, which no others need pass.
func (w *writer) dhcp(g *automaton.Program) {
	w.leases()
	for _, p := range dhcpClients() {
		if holds(g.Hidden(), p) {
			w.rule("a hidden service", "udp dport %d goto door", p.Number)
		}
	}
}

// leases accepts what DHCP servers answer.
func (w *writer) leases() {
	w.rule("DHCP client", "meta nfproto ipv4 udp sport 67 udp dport 68 accept")
	w.rule("DHCPv6 client", "ip6 saddr fe80::/10 udp dport 546 accept")
}

// exempt accepts what is never judged.
func (w *writer) exempt(g *automaton.Program) {
	w.rule("flows that were answered", "ct state established accept")
	w.rule("loopback", `iif "lo" accept`)
	w.tokens(g)
	w.welcome(g)
}

// welcome accepts what a door never judges, wherever it comes from.
func (w *writer) welcome(g *automaton.Program) {
	for _, f := range families(g) {
		if slices.ContainsFunc(g.Trust, f.has) {
			w.rule("trusted sources", "%s @trust%s accept", fromAddr(f), f.digit)
		}
	}
	if len(g.Ifaces) > 0 {
		quoted := make([]string, len(g.Ifaces))
		for i, name := range g.Ifaces {
			quoted[i] = strconv.Quote(name)
		}
		w.rule("trusted interfaces", "iifname { %s } accept", strings.Join(quoted, ", "))
	}
}

// door judges packets to a hidden service.
func (w *writer) door(g *automaton.Program) {
	if !g.Firewall {
		w.rule("only a SYN can open a connection", "tcp flags & (fin | syn | rst | ack) != syn accept")
	}
	w.rule("to this host", "fib daddr type local goto asked")
	if !g.Firewall {
		w.rule("routed on to another host", "fib daddr type != { broadcast, multicast, anycast } accept")
	}
	w.rule("a broadcast reaches the service too", "drop")
}

// asking looks whether a source may use the service.
func (w *writer) asking(g *automaton.Program, f family) {
	w.chain("asked"+f.digit, func() {
		for _, class := range classMaps(g) {
			w.rule("does the source hold a grant", "meta priority set "+portPart+" map @%s jump granted%s", class.name, f.digit)
		}
		w.rule("may be let in once; counts as a wrong packet", "jump listen%s", f.digit)
		if defers(g) {
			w.rule("tell what led here", "jump owing%s", f.digit)
		}
		w.rule("closed", "goto shut")
	})
	if !hasTimed(g) {
		return
	}
	w.chain("granted"+f.digit, func() {
		w.rule("the source holds a grant", "%s . meta priority @%s goto held", f.addr, f.grant)
		w.rule("an administrator has let the source in", "%s . meta priority @%s goto held", f.addr, f.given)
	})
}

// held lets in who holds a grant.
func (w *writer) held(g *automaton.Program) {
	w.rule("an administrator has blocked all doors", "meta nfproto @%s goto shut", blockedSet)
	w.rule("leave no trace of a grant", "meta priority set none")
	w.rule("let in", letIn(g))
}

// clean frees the register at the end of a packet's way through listen. Firewall mode
// drops what comes from there, so that nobody reads it.
func (w *writer) clean(g *automaton.Program, why string) {
	if !g.Firewall {
		w.rule(why, "meta priority set none")
	}
}

// refuse turns a packet away as a closed port does, if the policy says so.
func (w *writer) refuse(g *automaton.Program) {
	if g.Reset {
		w.rule("as a closed port answers", "meta l4proto tcp reject with tcp reset")
		w.rule("as a closed port answers", "meta l4proto udp reject with icmpx type port-unreachable")
	}
}

// listening finds a source's place and makes it pay. Most packets of strangers are
// of a source at the start that has no bucket, and no first knock: they change
// nothing, so that whether they would be heard need not be asked.
func (w *writer) listening(g *automaton.Program, f family) {
	w.chain("listen"+f.digit, func() {
		w.rule("the place after one knock", "meta priority set %s map @%s goto at%s", f.place, f.started, f.digit)
		w.rule("the place after more", "meta priority set %s map @%s goto at%s", f.place, f.advanced, f.digit)
		w.rule("a first knock", portPart+" @first goto root%s", f.digit)
		// Not the other way round: an element that matches takes a token (nft_lookup_eval,
		// net/netfilter/nft_lookup.c).
		w.rule("a stranger", "%s != @%s return", f.bucketKey, f.bucket)
		w.rule("at the start, but not long", "goto root%s", f.digit)
	})
	w.chain("root"+f.digit, func() {
		w.rule("not to this host alone", "fib daddr type != local return")
		w.rule("while blocked nobody is heard", "meta nfproto @%s return", blockedSet)
		w.pay(g, f)
		w.rule("no room for a bucket: not heard", "%s != @%s return", f.bucketKey, f.bucket)
		w.rule("a first knock", "meta priority set "+portPart+" map @first goto start%s", f.digit)
	})
	// A block takes all places away: there are some behind it only if a packet was under way.
	w.chain("at"+f.digit, func() {
		w.rule("not to this host alone", "fib daddr type != local goto clean")
		w.rule("no bucket yet", "%s != @%s goto idle%s", f.bucketKey, f.bucket, f.digit)
		w.pay(g, f)
		w.rule("while blocked nobody is heard", "meta nfproto @%s goto clean", blockedSet)
		w.stays(g, f)
		w.rule("move on", "goto move%s", f.digit)
	})
	w.chain("idle"+f.digit, func() {
		w.rule("while blocked nobody is heard", "meta nfproto @%s goto clean", blockedSet)
		w.stays(g, f)
		w.pay(g, f)
		w.rule("no room for a bucket: not heard", "%s != @%s goto clean", f.bucketKey, f.bucket)
		w.rule("move on", "goto move%s", f.digit)
	})
}

// pay takes a token of the source's bucket, which it makes if there is none.
func (w *writer) pay(g *automaton.Program, f family) {
	w.rule("bucket empty: not heard", "%s goto %s", limit(g, f), silenced(g, f))
}

// stays refreshes a place that a repeated knock does not leave.
func (w *writer) stays(g *automaton.Program, f family) {
	for _, at := range []struct{ stay, places string }{{"stay_started", f.started}, {"stay_advanced", f.advanced}} {
		w.rule("a repeated knock", placeKey+" . "+portPart+" @%s update @%s { %s timeout %s : meta priority } goto clean",
			at.stay, at.places, f.place, span(g.StepTimeout))
	}
}

// moving changes the place of a source that is not at the start.
func (w *writer) moving(g *automaton.Program, f family) {
	w.chain("move"+f.digit, func() {
		if hasOnce(g) {
			// No knock leads on from the end of a once door, so the place is not needed any more.
			w.rule("at the end of a once door", "meta priority set meta priority map @once_class")
			w.rule("its service", placeKey+" . "+portPart+" @%s goto let_in%s", onceSet(g).name, f.digit)
		}
		w.leave(f)
		w.paths(g, f)
		w.rule("the knock expected here", "meta priority set "+placeKey+" . "+portPart+" map @step goto advance%s", f.digit)
		if tells(g) {
			w.rule("its progress is lost", "jump wrong")
		}
		w.rule("a first knock", "meta priority set "+portPart+" map @first goto start%s", f.digit)
		w.clean(g, "a wrong packet")
	})
	for _, c := range []struct{ chain, places string }{{"start", f.started}, {"advance", f.advanced}} {
		w.chain(c.chain+f.digit, func() { w.arriving(g, f, c.places) })
	}
	if hasOnce(g) {
		w.chain("let_in"+f.digit, func() {
			w.leave(f)
			w.rule("leave no trace of a place", "meta priority set none")
			// Two CPUs may both have found the place. Under the lock of the limit (nft_limit_eval,
			// net/netfilter/nft_limit.c) one of them passes; without room for an element, none.
			w.rule("the one connection", "update @%s { %s timeout 1m limit rate 1/hour burst 1 packets } %s", f.spent, f.place, letIn(g))
		})
	}
}

// leave takes a source from its place. The register keeps the place.
func (w *writer) leave(f family) {
	w.rule("leave the place", "delete @%s { %s : meta priority }", f.started, f.place)
	w.rule("leave the place", "delete @%s { %s : meta priority }", f.advanced, f.place)
}

// arriving enters a place, or opens the door that ends there.
func (w *writer) arriving(g *automaton.Program, f family, places string) {
	if restricted(g) {
		if fromFamily(g, f) {
			w.rule("a door that is not for this source", "meta priority @restricted meta priority . %s != @from%s goto clean", fromAddr(f), f.digit)
		} else {
			w.rule("a door that is not for this family", "meta priority @restricted goto clean")
		}
	}
	if hasTimed(g) {
		w.rule("the last knock opens", "meta priority vmap @opens")
	}
	if hasOnce(g) && places == f.started {
		w.rule("the next connection is one of its own", "delete @%s { %s }", f.spent, f.place)
	}
	w.rule("enter the place", "add @%s { %s timeout %s : meta priority }", places, f.place, span(g.StepTimeout))
	if tells(g) && hasOnce(g) {
		w.rule("the end of a once door", "meta priority @%s goto opened", openedSet)
	}
	w.clean(g, "leave no trace of a place")
}

// opening grants, one chain for each time that doors open for.
func (w *writer) opening(g *automaton.Program, fams [2]family) {
	for _, d := range g.OpenTimes() {
		w.chain(openChain(d), func() {
			if tells(g) {
				w.rule("count what the door opens", "meta priority @%s", openedSet)
			}
			w.rule("doors with equal services share their grants", "meta priority set meta priority map @class")
			for _, f := range fams {
				w.rule("open the door", "update @%s { %s . meta priority timeout %s }", f.grant, f.addr, span(d))
			}
			if tells(g) {
				w.rule("tell that it is open", "goto opened")
			} else {
				w.clean(g, "leave no trace of a place")
			}
		})
	}
}

func restricted(g *automaton.Program) bool {
	return slices.ContainsFunc(g.Doors, func(d automaton.Door) bool { return len(d.From) > 0 })
}

// fromFamily says whether some door is for sources of this family.
func fromFamily(g *automaton.Program, f family) bool {
	return slices.ContainsFunc(g.Doors, func(d automaton.Door) bool { return slices.ContainsFunc(d.From, f.has) })
}

// has says whether a prefix is of this family.
func (f family) has(n netip.Prefix) bool { return n.Addr().Is6() == (f.digit == "6") }

// fromAddr is the source's own address: a prefix of a policy is never longer
// than a source, so that its network need not be masked out.
func fromAddr(f family) string {
	if f.digit == "6" {
		return "ip6 saddr"
	}
	return "ip saddr"
}

func numbers[T ~uint8](list []T) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(int(n))
	}
	return strings.Join(words, ", ")
}
