package iptables

import (
	"fmt"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// Closed gives a small ruleset that shuts the doors' services to everybody but
// trust, for a host that cannot load what Render gives. In firewall mode all
// else is dropped too. Sessions go on: of TCP only what would open one is
// judged. Like what Render gives it adds to tables in which nothing of tirl is.
//
// The minimal form needs no match but those of addresses, interfaces, TCP and
// UDP. It hangs from INPUT, where what is forwarded to others does not pass; so a
// port that is published by DNAT stays open. In either mode it only shuts the
// doors' services.
//
// An interface that Check refuses is left out, and is not trusted.
func Closed(g *automaton.Program, minimal bool) backend.Ruleset {
	var files backend.Ruleset
	for _, fam := range families {
		c := &closer{g: g, fam: fam, pass: "-j RETURN", minimal: minimal}
		t := table{name: "filter"}
		if !g.Firewall && !minimal {
			t.name = "mangle"
		}
		if g.Firewall && !minimal {
			c.pass = "-j ACCEPT"
		}
		c.build()
		t.jumps = []jump{{1, "-j " + main}}
		t.chains = []chain{{main, c.rules}}
		files = append(files, backend.File{Name: fam.file, Load: fam.command(), Text: ruleset{[]table{t}}.restore(ruleset{})})
	}
	return files
}

// closer writes the one chain of one family.
type closer struct {
	g       *automaton.Program
	fam     family
	pass    string
	minimal bool
	rules   []string
}

func (c *closer) rule(format string, args ...any) {
	c.rules = append(c.rules, fmt.Sprintf(format, args...))
}

func (c *closer) build() {
	c.rule("-i lo %s", c.pass)
	if !c.minimal {
		c.rule("-m conntrack --ctstate ESTABLISHED %s", c.pass)
	}
	for _, name := range c.g.Ifaces {
		if matchable(name) {
			c.rule("-i %s %s", name, c.pass)
		}
	}
	for _, p := range c.g.Trust {
		if p.Addr().Is6() == c.fam.v6 {
			c.rule("-s %s %s", p.Masked(), c.pass)
		}
	}
	for _, r := range c.g.Public {
		c.rule("%s %s", dports(r), c.pass)
	}
	c.rule("-p tcp ! --tcp-flags FIN,SYN,RST,ACK SYN %s", c.pass)
	// One type a rule, as in guard.
	kinds := []string{"-m addrtype --dst-type LOCAL ", "-m addrtype --dst-type MULTICAST ", "-m addrtype --dst-type ANYCAST ", "-m addrtype --dst-type BROADCAST "}
	switch {
	case c.minimal || c.g.Firewall:
		kinds = []string{""}
	case c.fam.v6:
		kinds = kinds[:3]
	}
	for _, kind := range kinds {
		for _, r := range c.g.Hidden() {
			c.rule("%s %s-j DROP", dports(r), kind)
		}
	}
	if c.g.Firewall && !c.minimal {
		c.host()
	}
}

// host drops what the doors' services are not a part of, but for what a host
// needs.
func (c *closer) host() {
	if c.g.ICMP {
		c.rule("-p %s %s", c.fam.icmp, c.pass)
	} else if c.fam.v6 {
		for _, t := range automaton.AlwaysICMPv6() {
			c.rule("-p ipv6-icmp -m icmp6 --icmpv6-type %d %s", t, c.pass)
		}
	}
	if c.g.DHCP {
		match := "-p udp --sport 67 --dport 68"
		if c.fam.v6 {
			match = "-p udp -s fe80::/10 --dport 546"
		}
		c.rule("%s %s", match, c.pass)
	}
	for _, p := range c.g.Protos {
		if p != 0 {
			c.rule("-p %d %s", p, c.pass)
		}
	}
	c.rule("-m conntrack --ctstate RELATED %s", c.pass)
	c.rule("-j DROP")
}

// matchable says whether a rule can name an interface. A trailing plus sign
// stands for any rest (iptables(8), --in-interface).
func matchable(name string) bool {
	return name != "" && len(name) <= maxInterface && !strings.HasSuffix(name, "+") && !strings.ContainsAny(name, " \t\r\n\"\\")
}
