package doctor

import (
	"fmt"
	"slices"
	"strings"

	"tirl/internal/port"
)

// service is a range of ports that some doors open.
type service struct {
	ports port.Range
	doors []string
}

// services are those of all doors, each once.
func (j *judge) services() []service {
	var list []service
	for _, d := range j.Program.Doors {
		for _, r := range j.Program.Classes[d.Class].Services {
			i := slices.IndexFunc(list, func(s service) bool { return s.ports == r })
			if i < 0 {
				list = append(list, service{ports: r})
				i = len(list) - 1
			}
			list[i].doors = append(list[i].doors, d.Name)
		}
	}
	return list
}

// names says which doors, of perhaps thousands.
func (s service) names() string {
	if n := len(s.doors); n > 3 {
		return fmt.Sprintf("doors %s and %d more", strings.Join(s.doors[:2], ", "), n-2)
	} else if n > 1 {
		return "doors " + strings.Join(s.doors, ", ")
	}
	return "door " + s.doors[0]
}

// samples are the ports of a range that are looked at: all of a small one.
func samples(r port.Range) []port.Port {
	const enough = 16
	var list []port.Port
	for n := int(r.First); n <= int(r.Last); n++ {
		if n < int(r.First)+enough || n == int(r.Last) {
			list = append(list, port.Port{Proto: r.Proto, Number: uint16(n)})
		}
	}
	return list
}

// families of packets that can reach the host: false is IPv4.
func (j *judge) families() []bool {
	if j.IPv6 {
		return []bool{false, true}
	}
	return []bool{false}
}

// obstacle is a firewall that drops packets.
type obstacle struct {
	owner  string
	chains []*chain // base chains, at most one a family
}

// met gives what a packet meets on its way to a socket of this host: what drops
// it, and whether that makes an exception for some.
func (j *judge) met(p packet) (by *chain, partly bool) {
	for _, h := range []hook{prerouting, input} {
		for _, c := range j.Rules.at(h, p) {
			if o := walk(c, p); o.end == drop {
				return c, o.maybe
			}
		}
	}
	return nil, false
}

// owner names the firewall that a chain belongs to.
func owner(c *chain) string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(c.table.order, func(o *chain) bool { return strings.HasPrefix(o.name, prefix) })
	}
	switch {
	case c.table.program != "nft" && has("ufw"):
		return "ufw"
	case c.table.name == "firewalld", c.table.program != "nft" && has("INPUT_ZONES"):
		return "firewalld"
	case c.table.program == "nft":
		return fmt.Sprintf("the nftables chain %s %s %s", c.table.family, c.table.name, c.name)
	}
	return "iptables"
}

// allow is the command that makes a firewall let a service in.
func (o obstacle) allow(r port.Range) string {
	numbers := func(dash string) string {
		if r.First == r.Last {
			return fmt.Sprint(r.First)
		}
		return fmt.Sprintf("%d%s%d", r.First, dash, r.Last)
	}
	switch o.owner {
	case "ufw":
		return fmt.Sprintf("sudo ufw allow %s/%s", numbers(":"), r.Proto)
	case "firewalld":
		return fmt.Sprintf("sudo firewall-cmd --permanent --add-port=%s/%s && sudo firewall-cmd --reload", numbers("-"), r.Proto)
	}
	var commands []string
	for _, c := range o.chains {
		if c.table.program == "nft" {
			commands = append(commands, fmt.Sprintf("sudo nft insert rule %s %s %s %s dport %s accept", c.table.family, c.table.name, c.name, r.Proto, numbers("-")))
			continue
		}
		where := ""
		if c.table.name != "filter" {
			where = "-t " + c.table.name + " "
		}
		commands = append(commands, fmt.Sprintf("sudo %s %s-I %s -p %s --dport %s -j ACCEPT", c.table.program, where, c.name, r.Proto, numbers(":")))
	}
	return strings.Join(commands, " && ")
}

// firewalls judges what stands between the doors and their clients.
func (j *judge) firewalls() {
	for _, s := range j.services() {
		var full, partly []obstacle
		for _, v6 := range j.families() {
			for _, to := range samples(s.ports) {
				p := packet{v6: v6, to: to}
				if len(j.translations(p)) > 0 {
					continue // it never comes to input
				}
				c, some := j.met(p)
				switch {
				case c == nil:
				case some:
					partly = note(partly, c)
				default:
					full = note(full, c)
				}
			}
		}
		for _, o := range full {
			j.add(Blocked, Warning, o.allow(s.ports), fmt.Sprintf("%s drops what comes to %s%s: %s cannot open what another firewall closes",
				o.owner, s.ports, o.families(), s.names()))
		}
		for _, o := range partly {
			if !slices.ContainsFunc(full, func(f obstacle) bool { return slices.Contains(f.chains, o.chains[0]) }) {
				j.add(SomeOnly, Note, o.allow(s.ports), fmt.Sprintf("%s lets in to %s%s only some: %s opens to nobody else",
					o.owner, s.ports, o.families(), s.names()))
			}
		}
	}
	j.knocks()
}

func note(list []obstacle, c *chain) []obstacle {
	name := owner(c)
	i := slices.IndexFunc(list, func(o obstacle) bool { return o.owner == name })
	if i < 0 {
		list = append(list, obstacle{owner: name})
		i = len(list) - 1
	}
	if !slices.Contains(list[i].chains, c) {
		list[i].chains = append(list[i].chains, c)
	}
	return list
}

// families says which, if it is not all.
func (o obstacle) families() string {
	seen := map[string]bool{}
	for _, c := range o.chains {
		seen[c.table.family] = true
	}
	switch {
	case seen["inet"], seen["ip"] && seen["ip6"]:
		return ""
	case seen["ip6"]:
		return " over IPv6"
	}
	return " over IPv4"
}

// knocks looks for what drops a knock before tirl hears it: it hears in
// prerouting at the priority of mangle, or in firewall mode at that of filter in input.
func (j *judge) knocks() {
	for _, d := range j.Program.Doors {
		var lost []string
		var by *chain
		for i, k := range d.Knocks {
			for _, v6 := range j.families() {
				if c := j.deaf(packet{v6: v6, to: k}); c != nil {
					by = c
					lost = append(lost, fmt.Sprintf("knock %d (%s)", i+1, k))
					break
				}
			}
		}
		if by != nil {
			o := obstacle{owner(by), []*chain{by}}
			var hints []string
			for _, k := range d.Knocks {
				if j.deaf(packet{v6: by.table.family == "ip6", to: k}) != nil {
					hints = append(hints, o.allow(port.Range{Proto: k.Proto, First: k.Number, Last: k.Number}))
				}
			}
			j.add(KnockBlocked, Warning, strings.Join(hints, " && "),
				fmt.Sprintf("%s drops %s of door %s before it can be heard", o.owner, strings.Join(lost, ", "), d.Name))
		}
	}
}

func (j *judge) deaf(p packet) *chain {
	for _, h := range []hook{prerouting, input} {
		for _, c := range j.Rules.at(h, p) {
			before := h == prerouting && (j.Program.Firewall || c.priority < prioMangle) ||
				h == input && j.Program.Firewall && c.priority < prioFilter
			if before {
				if o := walk(c, p); o.end == drop && !o.maybe {
					return c
				}
			}
		}
	}
	return nil
}
