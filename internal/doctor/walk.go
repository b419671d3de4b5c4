package doctor

import (
	"net/netip"
	"slices"

	"tirl/internal/port"
)

// truth says whether a match is for a packet of which not everything is known:
// above all not where it comes from.
type truth int8

const (
	no   truth = iota
	some       // for some packets like it
	yes
)

func (t truth) not() truth { return yes - t }

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// packet is the first of a new connection.
type packet struct {
	v6  bool
	to  port.Port
	dst netip.Addr // invalid: an address of this host
}

// verb is what a rule does with a packet that it matches.
type verb int8

const (
	pass verb = iota // on to the next rule
	accept
	drop
	jump
	branch // goto
	leave  // return
)

// match is a condition of a rule.
type match func(packet) truth

// rule is one rule of any firewall.
type rule struct {
	matches []match
	limited bool // it also has a limit on how often it matches
	verb    verb
	target  string // of jump and branch
	notrack bool
	dnat    *destination
	text    string // for people
	remove  string // the command that takes it out
}

// destination is where a DNAT rule sends packets. A port of 0 is the one that
// they had.
type destination struct {
	addr netip.Addr
	port uint16
}

func (r *rule) truth(p packet) truth {
	t := yes
	for _, m := range r.matches {
		t = min(t, m(p))
	}
	// A limit on an accept only delays; one on a drop spares most.
	if r.limited && r.verb != accept {
		t = min(t, some)
	}
	return t
}

// hook is a place in the kernel where base chains hang.
type hook string

const (
	prerouting hook = "prerouting"
	input      hook = "input"
	forward    hook = "forward"
)

// Priorities of the kernel's own places, include/uapi/linux/netfilter_ipv4.h.
const (
	prioRaw    = -300
	prioMangle = -150
	prioDNAT   = -100
	prioFilter = 0
)

// chain is a chain of a table. A base chain has a hook.
type chain struct {
	table    *table
	name     string
	hook     hook
	nat      bool
	priority int
	policy   verb
	rules    []rule
}

// table holds chains that lead to each other.
type table struct {
	program string // nft, iptables, ip6tables-legacy ...
	family  string // ip, ip6, inet
	name    string
	chains  map[string]*chain
	order   []*chain
}

func (t *table) sees(p packet) bool {
	return t.family == "inet" || (t.family == "ip6") == p.v6
}

func (t *table) chain(name string) *chain {
	if c := t.chains[name]; c != nil {
		return c
	}
	c := &chain{table: t, name: name}
	t.chains[name] = c
	t.order = append(t.order, c)
	return c
}

// Rules are all tables of a host but tirl's own.
type Rules struct {
	tables []*table
	// Families of tirl's own iptables rules: [0] IPv4, [1] IPv6.
	own [2]bool
}

// has says whether there is a table of a name.
func (r *Rules) has(name string) bool {
	return slices.ContainsFunc(r.tables, func(t *table) bool { return t.name == name })
}

// Firewalls names those, other than tirl, that look at what comes to the host.
func (r *Rules) Firewalls() []string {
	var names []string
	for _, t := range r.tables {
		for _, c := range t.order {
			if c.hook == input && !c.nat && (c.policy == drop || len(c.rules) > 0) && !slices.Contains(names, owner(c)) {
				names = append(names, owner(c))
			}
		}
	}
	return names
}

// at gives the base chains of a hook that a packet passes, but for NAT.
func (r *Rules) at(h hook, p packet) []*chain {
	var list []*chain
	for _, t := range r.tables {
		for _, c := range t.order {
			if c.hook == h && !c.nat && t.sees(p) {
				list = append(list, c)
			}
		}
	}
	return list
}

// outcome is what a chain does with a packet.
type outcome struct {
	end   verb // accept, drop, or pass: it comes back from the chain
	maybe bool // some packets like it are accepted on the way
	by    *chain
}

// Bounds of a walk. The kernel has NFT_JUMP_STACK_SIZE, 16, and no loops.
const (
	maxDepth = 64
	maxSteps = 1 << 18
)

type walker struct {
	packet packet
	steps  int
	visit  func(*rule, truth) // each rule that may match
}

// walk follows a packet that no rule knows through a base chain.
func walk(c *chain, p packet) outcome {
	w := &walker{packet: p, visit: func(*rule, truth) {}}
	return w.base(c)
}

func (w *walker) base(c *chain) outcome {
	o := w.chain(c, 0)
	if o.end == pass {
		o.end, o.by = c.policy, c
	}
	return o
}

func (w *walker) chain(c *chain, depth int) outcome {
	var o outcome
	for i := range c.rules {
		r := &c.rules[i]
		if w.steps++; w.steps > maxSteps || depth > maxDepth {
			return outcome{end: accept, maybe: true, by: c} // nothing is said of it
		}
		t := r.truth(w.packet)
		if t == no {
			continue
		}
		w.visit(r, t)
		end, by := r.verb, c
		switch r.verb {
		case pass:
			continue
		case jump, branch:
			to := c.table.chains[r.target]
			if to == nil {
				continue
			}
			sub := w.chain(to, depth+1)
			o.maybe = o.maybe || sub.maybe
			if end, by = sub.end, sub.by; end == pass {
				if r.verb == jump || t != yes {
					continue
				}
				end = leave
			}
		}
		switch {
		case t == yes && end == leave:
			return o
		case t == yes:
			o.end, o.by = end, by
			return o
		case end == accept:
			o.maybe = true
		}
	}
	return o
}
