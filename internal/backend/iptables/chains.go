package iptables

import (
	"fmt"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// Chains with one name each.
const (
	hear    = main + "_HEAR"
	gate    = main + "_GATE"
	service = main + "_SERVICE"
	related = main + "_RELATED"
	leave   = main + "_LEAVE"
	end     = main + "_END"
	old     = main + "_OLD"
)

const mask64 = "ffff:ffff:ffff:ffff::"

// builder writes the chains of one family.
type builder struct {
	g    *automaton.Program
	fam  family
	pass string // the target of what is let in
	end  string // the target of a heard packet that is not let in

	chains   []chain
	opens    []opening
	index    map[string]int
	children map[automaton.State][]port.Port // the knocks that lead on, in the order of the doors
	stays    map[automaton.State][]port.Port
	doors    map[automaton.State][]int // whose sequences lead through a place
}

// build makes the whole ruleset of one family.
func build(g *automaton.Program, fam family) ruleset {
	b := newBuilder(g, fam)
	t := table{name: "mangle"}
	if g.Firewall {
		t.name = "filter"
	}
	b.all()
	t.jumps = []jump{{1, comment("tirl: port knocking") + " -j " + main}}
	t.chains = b.chains
	return ruleset{[]table{t}}
}

func newBuilder(g *automaton.Program, fam family) *builder {
	b := &builder{
		g: g, fam: fam, pass: "-j RETURN", end: "-g " + end,
		index:    make(map[string]int),
		children: make(map[automaton.State][]port.Port),
		stays:    make(map[automaton.State][]port.Port),
		doors:    make(map[automaton.State][]int),
	}
	for i, d := range g.Doors {
		for s := d.End; s != automaton.Root; s = g.Places[s].Parent {
			b.doors[s] = append(b.doors[s], i)
		}
	}
	for _, e := range g.Edges() {
		b.children[e.From] = append(b.children[e.From], e.On)
	}
	for _, s := range g.Stays() {
		b.stays[s.At] = append(b.stays[s.At], s.On)
	}
	if g.Firewall {
		b.pass = "-j ACCEPT"
		if !g.Reset {
			b.end = "-j DROP"
		}
	}
	return b
}

// all writes all chains.
func (b *builder) all() {
	if b.g.Firewall {
		b.firewall()
	} else {
		b.guard()
	}
}

// firewall is the whole input firewall: what is never judged is accepted.
func (b *builder) firewall() {
	b.exempt()
	if b.g.ICMP {
		b.rule(main, "-p "+b.fam.icmp, b.pass, "public: "+b.fam.icmp)
	} else if b.fam.v6 {
		for _, t := range automaton.AlwaysICMPv6() {
			b.rule(main, fmt.Sprintf("-p ipv6-icmp -m icmp6 --icmpv6-type %d", t), b.pass, "needed to be on the network at all")
		}
	}
	if b.g.DHCP {
		match := "-p udp --sport 67 --dport 68"
		if b.fam.v6 {
			match = "-p udp -s fe80::/10 --dport 546"
		}
		b.rule(main, match, b.pass, "answers to the DHCP client")
	}
	for _, p := range b.g.Protos {
		b.rule(main, fmt.Sprintf("-p %d", p), b.pass, "public: "+p.String())
	}
	b.rule(main, "-m conntrack --ctstate RELATED", "-g "+related, "belongs to an open connection")
	b.rule(main, "", "-g "+hear, "all else must knock")

	b.chain(related)
	for _, services := range b.hidden() {
		b.rule(related, services, "-g "+hear, "hidden: a connection tracking helper opens no door")
	}
	b.rule(related, "", b.pass, "belongs to an open connection")

	b.chain(hear)
	b.rule(hear, "-m addrtype ! --dst-type LOCAL", "-j DROP", "broadcast and multicast open nothing")
	b.rule(hear, "-m conntrack --ctstate INVALID", "-j DROP", "changes nothing")
	b.grants(hear)
	if b.tells() {
		for _, services := range b.hidden() {
			b.rule(hear, services, "-j "+owed, "tell what has happened before")
		}
	}
	b.hear(hear)
	b.events()
	if b.g.Reset {
		b.chain(end)
		b.rule(end, "-p tcp", "-j REJECT --reject-with tcp-reset", "answers as a closed port")
		b.rule(end, "-p udp", "-j REJECT --reject-with "+b.fam.icmpUn, "answers as a closed port")
		b.rule(end, "", "-j DROP", "refused")
	}
}

// guard keeps the doors' services and leaves all else alone.
func (b *builder) guard() {
	b.exempt()
	b.rule(main, "-p tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", b.pass, "only a SYN can open a connection")
	for _, services := range b.hidden() {
		b.rule(main, services, "-g "+gate, "hidden")
	}
	for _, p := range []port.Proto{port.TCP, port.UDP} {
		if b.g.Heard(p) {
			b.rule(main, "-p "+p.String()+" -m conntrack --ctstate NEW,UNTRACKED -m addrtype --dst-type LOCAL", "-g "+hear, "may be a knock")
		}
	}

	// One type a rule: for IPv6 several types mean all of them at once
	// (match_type6, net/netfilter/xt_addrtype.c).
	b.chain(gate)
	b.rule(gate, "-m addrtype --dst-type LOCAL", "-g "+service, "to this host")
	for _, kind := range []string{"MULTICAST", "ANYCAST", "BROADCAST"} {
		if kind != "BROADCAST" || !b.fam.v6 {
			b.rule(gate, "-m addrtype --dst-type "+kind, "-j DROP", "hidden from broadcast and multicast too")
		}
	}
	b.rule(gate, "", b.pass, "to another host")

	b.chain(service)
	b.rule(service, "-m conntrack --ctstate INVALID", "-j DROP", "changes nothing")
	b.grants(service)
	if b.tells() {
		b.rule(service, "", "-j "+owed, "tell what has happened before")
	}
	b.rule(service, "", "-g "+hear, "must knock")

	b.chain(hear)
	b.hear(hear)
	b.events()
	b.chain(end)
	for _, services := range b.hidden() {
		b.rule(end, services, "-j DROP", "hidden")
	}
	b.rule(end, "", b.pass, "goes on, whether it was a knock or not")
}

// exempt lets through what is never judged in either mode.
func (b *builder) exempt() {
	b.chain(main)
	b.rule(main, "", "", about+plain(b.g.PolicyHash))
	b.rule(main, "-i lo", b.pass, "loopback")
	b.rule(main, "-m conntrack --ctstate ESTABLISHED", b.pass, "open connections live on")
	for _, i := range b.g.Ifaces {
		b.rule(main, "-i "+i, b.pass, "trust")
	}
	for _, p := range b.g.Trust {
		if p.Addr().Is6() == b.fam.v6 {
			b.rule(main, "-s "+p.Masked().String(), b.pass, "trust")
		}
	}
	for _, r := range b.g.Public {
		b.rule(main, dports(r), b.pass, "public")
	}
}

// grants lets in the sources that hold a timed grant for the service.
func (b *builder) grants(chain string) {
	for i, c := range b.g.Classes {
		if c.Once {
			continue
		}
		seconds := fmt.Sprintf("--rcheck --seconds %d", c.OpenFor/time.Second)
		for _, r := range c.Services {
			b.rule(chain, dports(r)+" "+b.recent(seconds, b.grantList(i), b.sourceMask()), b.letIn(), "open to a source that has knocked")
		}
	}
}

func (b *builder) chain(name string) {
	b.index[name] = len(b.chains)
	b.chains = append(b.chains, chain{name: name})
}

// rule adds a rule to a chain. An empty target only runs the matches.
func (b *builder) rule(chain, match, target, why string) {
	var parts []string
	for _, p := range []string{strings.TrimSpace(match), comment(why), target} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	c := &b.chains[b.index[chain]]
	c.rules = append(c.rules, strings.Join(parts, " "))
}

func (b *builder) recent(how, list, mask string) string {
	if mask != "" {
		mask = " --mask " + mask
	}
	return "-m recent " + how + " --name " + list + mask
}

// sourceMask is what counts as one source for places and grants.
func (b *builder) sourceMask() string {
	if b.fam.v6 && b.g.IPv6Prefix == 64 {
		return mask64
	}
	return ""
}

func dport(k port.Port) string { return fmt.Sprintf("-p %s --dport %d", k.Proto, k.Number) }

func dports(r port.Range) string {
	if r.First == r.Last {
		return dport(port.Port{Proto: r.Proto, Number: r.First})
	}
	return fmt.Sprintf("-p %s --dport %d:%d", r.Proto, r.First, r.Last)
}

// maxMultiport is how many numbers a multiport match holds, XT_MULTI_PORTS in
// xt_multiport.h. A range takes two.
const maxMultiport = 15

// hidden gives matches for all services of all doors. They are few, since the
// kernel follows every way through the chains when it validates a ruleset of the
// nf_tables variant (nft_chain_validate, net/netfilter/nf_tables_api.c).
func (b *builder) hidden() []string {
	var matches []string
	var group []port.Range
	numbers := 0
	flush := func() {
		switch len(group) {
		case 0:
			return
		case 1:
			matches = append(matches, dports(group[0]))
		default:
			list := make([]string, len(group))
			for i, r := range group {
				_, list[i], _ = strings.Cut(dports(r), " --dport ")
			}
			matches = append(matches, fmt.Sprintf("-p %s -m multiport --dports %s", group[0].Proto, strings.Join(list, ",")))
		}
		group, numbers = nil, 0
	}
	for _, r := range b.g.Hidden() {
		n := 2
		if r.First == r.Last {
			n = 1
		}
		if len(group) > 0 && group[0].Proto != r.Proto || numbers+n > maxMultiport {
			flush()
		}
		group, numbers = append(group, r), numbers+n
	}
	flush()
	return matches
}
