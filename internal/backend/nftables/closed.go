package nftables

import (
	"net/netip"
	"strconv"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/port"
)

// Closed gives a small ruleset that shuts the doors' services to everybody but
// trust, for a host that cannot load what Render gives. In firewall mode all
// else is dropped too. Sessions go on: of TCP only what would open one is
// judged. It takes the place of any table inet tirl.
//
// The minimal form has no sets and needs neither conntrack nor fib. It hangs
// from input, where what is forwarded to others does not pass; so a port that is
// published by DNAT stays open. In either mode it only shuts the doors' services.
func Closed(g *automaton.Program, minimal bool) backend.Ruleset {
	w := &writer{}
	name, hook := "prerouting", "type filter hook prerouting priority mangle; policy accept;"
	if g.Firewall || minimal {
		name, hook = "input", "type filter hook input priority filter; policy accept;"
	}
	w.line("# tirl: closed, since policy %s could not be loaded", g.PolicyHash)
	w.line("# Load with: nft -f FILE")
	w.line("table %s {", table)
	w.line("\tchain about { }")
	w.line("\tchain %s { %s }", name, hook)
	w.line("}")
	w.line("flush table %s", table)
	w.line("table %s {", table)
	w.chain("about", func() { w.rule("closed: policy "+g.PolicyHash, "return") })
	w.chain(name, func() { w.closed(g, minimal) })
	w.line("}")
	return backend.Ruleset{{Name: "tirl.nft", Load: []string{"nft", "-f", "-"}, Text: w.String()}}
}

func (w *writer) closed(g *automaton.Program, minimal bool) {
	if !minimal {
		w.rule("flows that were answered", "ct state established accept")
	}
	w.rule("loopback", `iif "lo" accept`)
	for _, n := range disjoint(g.Trust) {
		w.rule("trusted source", "%s saddr %s accept", network(n), n)
	}
	for _, name := range g.Ifaces {
		w.rule("trusted interface", "iifname %s accept", strconv.Quote(name))
	}
	for _, r := range g.Public {
		w.rule("public service", "%s accept", dport(r))
	}
	w.rule("only a SYN can open a connection", "tcp flags & (fin | syn | rst | ack) != syn accept")
	if !g.Firewall && !minimal {
		w.rule("routed on to another host", "fib daddr type != { local, broadcast, multicast, anycast } accept")
	}
	for _, r := range g.Hidden() {
		w.rule("a hidden service", "%s drop", dport(r))
	}
	if g.Firewall && !minimal {
		w.closedHost(g)
	}
}

// closedHost drops what the doors' services are not a part of, but for what a
// host needs.
func (w *writer) closedHost(g *automaton.Program) {
	w.needs(g)
	if g.DHCP {
		w.leases()
	}
	w.rule("part of an accepted flow", "ct state related accept")
	w.rule("what nothing accepts is dropped", "drop")
}

func network(n netip.Prefix) string {
	if n.Addr().Is6() {
		return "ip6"
	}
	return "ip"
}

// dport matches a range without a set.
func dport(r port.Range) string {
	text := r.Proto.String() + " dport " + strconv.Itoa(int(r.First))
	if r.Last != r.First {
		text += "-" + strconv.Itoa(int(r.Last))
	}
	return text
}
