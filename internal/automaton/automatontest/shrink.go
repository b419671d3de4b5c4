package automatontest

import (
	"math/bits"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// Shrink makes a case smaller and plainer as long as it keeps a property: fewer
// packets, fewer doors, shorter sequences, fewer keys that state anything but a
// default, plain packets that come at once.
func Shrink(c Case, keeps func(Case) bool) Case {
	for {
		before := c.weight()
		c = c.fewerPackets(keeps)
		for _, simpler := range []func(Case) []Case{fewerDoors, shorterDoors, fewerKeys, plainerPackets} {
			c = c.first(simpler, keeps)
		}
		if c.weight() >= before {
			return c
		}
	}
}

// first takes the first simpler case that keeps the property, again and again.
func (c Case) first(simpler func(Case) []Case, keeps func(Case) bool) Case {
	for {
		i := slices.IndexFunc(simpler(c), func(s Case) bool { return s.weight() < c.weight() && keeps(s) })
		if i < 0 {
			return c
		}
		c = simpler(c)[i]
	}
}

func (c Case) fewerPackets(keeps func(Case) bool) Case {
	for size := max(len(c.Packets)/2, 1); size > 0; size /= 2 {
		for at := 0; at+size <= len(c.Packets) && len(c.Packets) > 1; {
			less := Case{c.Policy, slices.Delete(slices.Clone(c.Packets), at, at+size)}
			if len(less.Packets) > 0 && keeps(less) {
				c = less
			} else {
				at += size
			}
		}
	}
	return c
}

// with gives the case with another policy.
func (c Case) with(change func(p *policy.Policy)) Case {
	p := *c.Policy
	p.Doors = slices.Clone(p.Doors)
	change(&p)
	return Case{&p, c.Packets}
}

func fewerDoors(c Case) []Case {
	var all []Case
	for i := range c.Policy.Doors {
		if len(c.Policy.Doors) > 1 {
			all = append(all, c.with(func(p *policy.Policy) { p.Doors = slices.Delete(p.Doors, i, i+1) }))
		}
	}
	return all
}

// shorterDoors leaves out knocks, services, and who may enter.
func shorterDoors(c Case) []Case {
	var all []Case
	change := func(i int, change func(d *policy.Door)) {
		all = append(all, c.with(func(p *policy.Policy) { change(&p.Doors[i]) }))
	}
	for i, d := range c.Policy.Doors {
		for n := range d.Knocks {
			change(i, func(d *policy.Door) { d.Knocks = slices.Delete(slices.Clone(d.Knocks), n, n+1) })
		}
		for n := range d.Opens {
			change(i, func(d *policy.Door) { d.Opens = []port.Range{d.Opens[n]} })
		}
		for n := range d.Users {
			change(i, func(d *policy.Door) { d.Users = slices.Delete(slices.Clone(d.Users), n, n+1) })
		}
		change(i, func(d *policy.Door) { d.From = nil })
		change(i, func(d *policy.Door) { d.Once, d.OpenFor = false, usualOpenFor })
	}
	return all
}

// What a policy says that says nothing, or nearly: policies that are drawn have
// no default for times, which are longer than those of a test.
const (
	usualOpenFor     = 30 * time.Second
	usualStepTimeout = 10 * time.Second
)

func fewerKeys(c Case) []Case {
	return []Case{
		c.with(func(p *policy.Policy) { p.Trust = policy.Trust{} }),
		c.with(func(p *policy.Policy) { p.Public = policy.Public{} }),
		c.with(func(p *policy.Policy) { p.Firewall = policy.FirewallOptions{ICMP: true, DHCP: true} }),
		c.with(func(p *policy.Policy) {
			p.Mode, p.Firewall = policy.Guard, policy.FirewallOptions{ICMP: true, DHCP: true}
		}),
		c.with(func(p *policy.Policy) { p.Refuse = policy.Drop }),
		c.with(func(p *policy.Policy) { p.Log.Events = policy.NoEvents }),
		c.with(func(p *policy.Policy) { p.Knocking.MatchTTL = false }),
		c.with(func(p *policy.Policy) { p.Knocking.IPv6Prefix = 128 }),
		c.with(func(p *policy.Policy) { p.Knocking.PerSource = 20 }),
		c.with(func(p *policy.Policy) { p.Knocking.StepTimeout = usualStepTimeout }),
		c.with(func(p *policy.Policy) { p.Knocking.Duplicates = policy.IgnoreDuplicates }),
	}
}

// plainerPackets makes one packet after another plain in one way. Time comes
// last: it is taken out of the trace as a whole.
func plainerPackets(c Case) []Case {
	var all []Case
	change := func(i int, change func(p *automaton.Packet)) {
		packets := slices.Clone(c.Packets)
		change(&packets[i])
		all = append(all, Case{c.Policy, packets})
	}
	for i, p := range c.Packets {
		change(i, func(p *automaton.Packet) { p.With, p.Cut = 0, automaton.Uncut })
		change(i, func(p *automaton.Packet) { p.With = 0 })
		for h := automaton.Headers(1); h != 0; h <<= 1 {
			change(i, func(p *automaton.Packet) { p.With &^= h })
		}
		change(i, func(p *automaton.Packet) { p.Cut = automaton.Uncut })
		change(i, func(p *automaton.Packet) { p.TTL = 64 })
		if p.Conn == automaton.New || p.Conn == automaton.Untracked {
			change(i, func(p *automaton.Packet) { p.Conn = automaton.New })
			change(i, func(p *automaton.Packet) {
				if p.Flags != 0 {
					p.Flags = automaton.SYN
				}
			})
		}
	}
	packets := slices.Clone(c.Packets)
	for i := range packets {
		packets[i].Time = 0
	}
	return append(all, Case{c.Policy, packets})
}

// weight is what shrinking makes less.
func (c Case) weight() int {
	n := 0
	count := func(odd bool, by int) {
		if odd {
			n += by
		}
	}
	p := c.Policy
	for _, d := range p.Doors {
		n += 20 + 4*len(d.Knocks) + 4*len(d.Opens) + 4*len(d.From) + 10*len(d.Users)
		count(d.OpenFor != usualOpenFor, 1)
		count(d.Once, 1)
	}
	k := p.Knocking
	for _, odd := range []bool{
		p.Trust.Prefixes != nil, p.Public.Services != nil, p.Public.Protocols != nil, p.Mode != policy.Guard,
		p.Mode == policy.Firewall && p.Firewall != policy.FirewallOptions{ICMP: true, DHCP: true},
		p.Refuse != policy.Drop, p.Log.Events != policy.NoEvents, k.MatchTTL, k.IPv6Prefix != 128, k.PerSource != 20,
		k.StepTimeout != usualStepTimeout, k.Duplicates != policy.IgnoreDuplicates,
	} {
		count(odd, 1)
	}
	for _, q := range c.Packets {
		n += 10
		n += bits.OnesCount8(uint8(q.With))
		count(q.Cut != automaton.Uncut, 1)
		count(q.TTL != 64, 1)
		count(q.Conn != automaton.New, 1)
		count(q.Flags != 0 && q.Flags != automaton.SYN, 1)
		count(q.Time != 0, 1)
	}
	return n
}
