package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"tirl/internal/port"
)

// MaxSweepStep is the largest step between knocks that a port sweep may take. A
// sequence in steps of one same number up to this one, up or down, is refused:
// somebody who tries every port in order would open the door.
const MaxSweepStep = 16

// check reports what one key alone does not show.
func (d *decoder) check() {
	if len(d.policy.Doors) == 0 && !d.r.hasErrors() {
		d.r.errorf(-1, "write [door.ssh], and below it opens and knocks, or have sudo tirl init write a policy", "the policy has no door")
	}
	if d.policy.Mode == Guard && !d.shape.modeBroken {
		for _, v := range d.shape.protocols {
			d.r.errorf(v.at, "leave it out: guard mode touches nothing but the doors' services", "%s has no ports, which only firewall mode takes", quote(v.text))
		}
	}
	d.checkPorts()
	for i := range d.doors {
		d.checkDoor(&d.policy.Doors[i], &d.doors[i])
	}
	d.checkBeginnings()
	d.checkUsers()
}

// owned is a range of ports, who offers it, and where that is written.
type owned struct {
	ports port.Range
	door  string // empty: public
	at    int
}

// cover makes the ranges disjoint, so that one look-up finds the owner of a
// port. Where ranges overlap, one of their owners has the ports.
func cover(all []owned) []owned {
	slices.SortStableFunc(all, func(a, b owned) int { return a.ports.Compare(b.ports) })
	var disjoint []owned
	for _, o := range all {
		if n := len(disjoint); n > 0 {
			last := disjoint[n-1].ports
			if last.Proto == o.ports.Proto && o.ports.First <= last.Last {
				if o.ports.Last <= last.Last {
					continue
				}
				o.ports.First = last.Last + 1
			}
		}
		disjoint = append(disjoint, o)
	}
	return disjoint
}

// owner finds a range of a cover that shares a port with r.
func owner(cover []owned, r port.Range) (owned, bool) {
	i := sort.Search(len(cover), func(i int) bool {
		c := cover[i].ports
		return c.Proto > r.Proto || c.Proto == r.Proto && c.Last >= r.First
	})
	if i == len(cover) || cover[i].ports.Proto != r.Proto || cover[i].ports.First > r.Last {
		return owned{}, false
	}
	return cover[i], true
}

// checkPorts looks for ports that are two things: a knock, a door's service and
// public exclude one another.
func (d *decoder) checkPorts() {
	var open, hidden []owned
	for _, s := range d.shape.public {
		open = append(open, owned{s.ports, "", s.at})
	}
	for i, door := range d.doors {
		for _, s := range door.services {
			hidden = append(hidden, owned{s.ports, d.policy.Doors[i].Name, s.at})
		}
	}
	open, hidden = cover(open), cover(hidden)
	const hint = "knock at another port: a packet to a service is never a knock"
	for i, door := range d.doors {
		for _, s := range door.services {
			if o, ok := owner(open, s.ports); ok {
				d.r.errorf(s.at, "take it out of public, or out of the door", "%s cannot be hidden: %s is public on line %d", s.ports, o.ports, d.line(o.at))
			}
		}
		knocks, steps := slices.Clone(d.policy.Doors[i].Knocks), slices.Clone(door.steps)
		for k, u := range d.policy.Doors[i].Users {
			if u.First.Number > 0 {
				knocks, steps = append(knocks, u.First), append(steps, door.users[k].first)
			}
		}
		for k, p := range knocks {
			at, r := steps[k], port.Range{Proto: p.Proto, First: p.Number, Last: p.Number}
			if o, ok := owner(open, r); ok {
				d.r.errorf(at, hint, "%s cannot be a knock: it is public on line %d", p, d.line(o.at))
			}
			if o, ok := owner(hidden, r); ok {
				d.r.errorf(at, hint, "%s cannot be a knock: door %s opens it on line %d", p, quote(o.door), d.line(o.at))
			}
		}
	}
}

func (d *reader) line(offset int) int { return d.r.src.position(offset).Line }

// checkDoor looks at one door's sequence and sources.
func (d *decoder) checkDoor(door *Door, at *doorSource) {
	if !at.broken && at.knocks >= 0 {
		if step, _ := constantStep(numbers(door.Knocks)); Sweep(door.Knocks) {
			d.r.errorf(at.knocks, "choose the ports at random", "%s: a plain sweep of the ports opens the door", stepText(step))
		}
		unlimited := slices.ContainsFunc(door.From, func(p netip.Prefix) bool { return p.Bits() == 0 })
		switch {
		case len(door.Knocks) > 1:
		case at.from < 0:
			d.r.errorf(at.knocks, "add knocks, or say with from whom the door opens to", "a single knock opens the door to every port sweep")
		case unlimited:
			d.r.errorf(at.from, "add knocks, or name the networks that you know", "a single knock opens the door to every port sweep, and this from admits everybody")
		}
	}
	if d.policy.Knocking.IPv6Prefix != 64 {
		return
	}
	for i, p := range door.From {
		if p.Addr().Is6() && p.Bits() > 64 {
			wide := netip.PrefixFrom(p.Addr(), 64).Masked()
			d.r.errorf(at.prefixes[i], fmt.Sprintf("write %q, or set ipv6_prefix = 128", wide), "%s is longer than /64, but ipv6_prefix = 64 tells only networks apart", p)
		}
	}
}

// Sweep says whether somebody who tries every port in order sends these knocks.
func Sweep(knocks []port.Port) bool {
	step, ok := constantStep(numbers(knocks))
	return ok && -MaxSweepStep <= step && step <= MaxSweepStep
}

// constantStep gives the number by which each port is above the one before it,
// if there is one.
func constantStep(ports []uint16) (step int, ok bool) {
	for i := 1; i < len(ports); i++ {
		n := int(ports[i]) - int(ports[i-1])
		if i > 1 && n != step {
			return 0, false
		}
		step = n
	}
	return step, len(ports) > 1
}

func numbers(knocks []port.Port) []uint16 {
	ports := make([]uint16, len(knocks))
	for i, k := range knocks {
		ports[i] = k.Number
	}
	return ports
}

func stepText(step int) string {
	switch {
	case step > 0:
		return fmt.Sprintf("the knocks go up by %d each", step)
	case step < 0:
		return fmt.Sprintf("the knocks go down by %d each", -step)
	}
	return "the knocks are all one port"
}

// checkBeginnings refuses a sequence that is the same as another's, or its
// beginning: the doors could not be told apart, or the longer one be reached. In
// sorted order a sequence stands right before those that it begins.
func (d *decoder) checkBeginnings() {
	order := make([]int, 0, len(d.doors))
	for i, door := range d.doors {
		if !door.broken && door.knocks >= 0 {
			order = append(order, i)
		}
	}
	doors := d.policy.Doors
	slices.SortStableFunc(order, func(a, b int) int {
		return slices.CompareFunc(doors[a].Knocks, doors[b].Knocks, port.Port.Compare)
	})
	for i, last := 1, 0; i < len(order); i++ {
		long, short := order[i], order[last]
		if !startsWith(doors[long].Knocks, doors[short].Knocks) {
			last = i
			continue
		}
		if len(doors[long].Knocks) == len(doors[short].Knocks) {
			d.r.errorf(d.doors[long].knocks, "each door needs a sequence of its own", "door %s has the knocks of door %s on line %d",
				quote(doors[long].Name), quote(doors[short].Name), d.line(d.doors[short].knocks))
			continue
		}
		d.r.errorf(d.doors[short].knocks, "change one of its knocks", "the knocks of door %s are the beginning of those of door %s on line %d",
			quote(doors[short].Name), quote(doors[long].Name), d.line(d.doors[long].knocks))
		last = i
	}
}

func startsWith(knocks, beginning []port.Port) bool {
	return len(beginning) <= len(knocks) && slices.Equal(knocks[:len(beginning)], beginning)
}
