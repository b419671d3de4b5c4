package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/host"
	"tirl/internal/port"
)

// listeners judges what listens on the host against what the doors open.
func (j *judge) listeners() {
	for _, s := range j.services() {
		j.nobody(s)
	}
	if j.Program.Firewall {
		return // everything that no door opens is closed
	}
	seen := map[port.Port]bool{}
	for _, l := range j.Listeners {
		if l.Loopback() || seen[l.Service] || j.known(l.Service) {
			continue
		}
		seen[l.Service] = true
		v4, _ := j.met(packet{to: l.Service})
		v6, _ := j.met(packet{v6: true, to: l.Service})
		if what := administrative(l); what != "" && (v4 == nil || j.IPv6 && v6 == nil) {
			j.add(Unguarded, Warning, fmt.Sprintf("add %q to opens of a door in the policy, or to public, and: sudo tirl apply", l.Service),
				fmt.Sprintf("%s listens on %s, and no door hides it", what, l.Service))
		}
		if v4 != nil && v6 == nil && j.IPv6 && j.onIPv6(l.Service) {
			hint := fmt.Sprintf("sudo ip6tables -A INPUT -p %s --dport %d -j DROP", l.Service.Proto, l.Service.Number)
			if owner(v4) == "ufw" {
				hint = "sudo sed -i s/^IPV6=no/IPV6=yes/ /etc/default/ufw && sudo ufw reload"
			}
			j.add(OpenIPv6, Warning, hint, fmt.Sprintf("%s closes %s over IPv4 only: over IPv6 it is open", owner(v4), l.Service))
		}
	}
}

// nobody finds doors that lead nowhere.
func (j *judge) nobody(s service) {
	local := false
	for _, l := range j.Listeners {
		if s.ports.Contains(l.Service) {
			if !l.Loopback() {
				return
			}
			local = true
		}
	}
	for _, to := range samples(s.ports) {
		for _, v6 := range []bool{false, true} {
			if len(j.translations(packet{v6: v6, to: to})) > 0 {
				return
			}
		}
	}
	option := map[port.Proto]string{port.TCP: "t", port.UDP: "u"}[s.ports.Proto]
	hint := fmt.Sprintf("sudo ss -Hlnp%s 'sport >= :%d and sport <= :%d'", option, s.ports.First, s.ports.Last)
	text := "nothing listens on %s: %s leads nowhere"
	if local {
		text = "what listens on %s does so on the loopback address only: %s leads nowhere"
	} else if s.ports == (port.Range{Proto: port.TCP, First: 22, Last: 22}) {
		hint = "sudo systemctl start ssh"
	}
	j.add(NoListener, Warning, hint, fmt.Sprintf(text, s.ports, s.names()))
}

// known says whether a policy says something of a port.
func (j *judge) known(p port.Port) bool {
	contains := func(r port.Range) bool { return r.Contains(p) }
	return slices.ContainsFunc(j.Program.Public, contains) ||
		slices.ContainsFunc(j.services(), func(s service) bool { return contains(s.ports) })
}

// onIPv6 says whether something listens on an IPv6 address that others reach.
func (j *judge) onIPv6(p port.Port) bool {
	return slices.ContainsFunc(j.Listeners, func(l host.Listening) bool {
		return l.Service == p && l.Addr.Is6() && !l.Addr.Is4In6() && !l.Loopback()
	})
}

// administrative names what only administrators should reach: by the program, or
// by the port that such a program has as a rule.
func administrative(l host.Listening) string {
	programs := []string{
		"sshd", "dropbear", "telnetd", "in.telnetd", "xrdp", "x11vnc", "Xvnc", "Xtigervnc", "cockpit-ws", "cockpit-tls",
		"dockerd", "mysqld", "mariadbd", "postgres", "redis-server", "mongod", "memcached", "libvirtd", "pveproxy",
	}
	switch {
	case slices.Contains(programs, l.Program):
		return l.Program
	case l.Service.Proto != port.TCP:
		return ""
	}
	what := map[uint16]string{
		22: "SSH", 23: "telnet", 2375: "Docker's API", 2376: "Docker's API", 3306: "MySQL", 3389: "RDP", 5432: "PostgreSQL",
		5900: "VNC", 5901: "VNC", 6379: "Redis", 8006: "Proxmox", 10000: "Webmin", 11211: "memcached", 27017: "MongoDB",
	}[l.Service.Number]
	if what != "" && l.Program != "" && !strings.HasPrefix(l.Program, "systemd") {
		return l.Program + ", at the port of " + what + ","
	}
	return what
}

// translations gives where a packet to this host is sent on to.
func (j *judge) translations(p packet) []*rule {
	var list []*rule
	for _, t := range j.Rules.tables {
		for _, c := range t.order {
			if c.hook != prerouting || !c.nat || !t.sees(p) {
				continue
			}
			w := &walker{packet: p, visit: func(r *rule, _ truth) {
				if r.dnat != nil && !r.dnat.addr.IsLoopback() && (!r.dnat.addr.IsValid() || r.dnat.addr.Is6() == p.v6) {
					list = append(list, r)
				}
			}}
			w.base(c)
		}
	}
	return list
}

// published judges ports that are sent on to containers or other hosts. Guard
// mode looks before that happens, firewall mode does not see it.
func (j *judge) published() {
	guarded := map[*rule]bool{}
	for _, s := range j.services() {
		told := map[string]bool{}
		for _, to := range samples(s.ports) {
			for _, v6 := range []bool{false, true} {
				for _, r := range j.translations(packet{v6: v6, to: to}) {
					guarded[r] = true
					target := r.dnat.addr
					number := r.dnat.port
					if number == 0 {
						number = to.Number
					}
					where := fmt.Sprintf("%s port %d", target, number)
					if told[where] {
						continue
					}
					told[where] = true
					direct := packet{v6: v6, to: port.Port{Proto: to.Proto, Number: number}, dst: target}
					switch {
					case j.Program.Firewall:
						j.add(Published, Error, `set mode = "guard" in the policy, and: sudo tirl apply`,
							fmt.Sprintf("%s is sent on to %s before firewall mode sees it: %s does not hide it", to, where, s.names()))
					case target.IsValid() && j.reachable(direct):
						j.add(Published, Warning, direct.close(r), fmt.Sprintf("%s is sent on to %s: who routes to that address goes around %s", to, where, s.names()))
					}
				}
			}
		}
	}
	if j.Program.Firewall {
		j.forwarded(guarded)
	}
}

// reachable says whether a packet to another address is let through.
func (j *judge) reachable(p packet) bool {
	for _, h := range []hook{prerouting, forward} {
		for _, c := range j.Rules.at(h, p) {
			if o := walk(c, p); o.end == drop && !o.maybe {
				return false
			}
		}
	}
	return true
}

// close is the command that drops packets to an address of which only translated
// ones may come, as Docker 28 does by itself.
func (p packet) close(r *rule) string {
	if strings.HasPrefix(r.remove, "nft") {
		family := map[bool]string{false: "ip", true: "ip6"}[p.v6]
		return fmt.Sprintf("sudo nft 'add table %s direct; add chain %[1]s direct prerouting { type filter hook prerouting priority raw; }; add rule %[1]s direct prerouting %[1]s daddr %s %s dport %d drop'",
			family, p.dst, p.to.Proto, p.to.Number)
	}
	program, _, _ := strings.Cut(r.remove, " ")
	words := strings.Fields(r.text)
	iface := ""
	if i := slices.Index(words, "-i"); i > 0 && words[i-1] == "!" && i+1 < len(words) {
		iface = "! -i " + words[i+1] + " "
	}
	return fmt.Sprintf("sudo %s -t raw -I PREROUTING %s-d %s -p %s --dport %d -j DROP", program, iface, p.dst, p.to.Proto, p.to.Number)
}

// forwarded tells of published ports that have no door.
func (j *judge) forwarded(guarded map[*rule]bool) {
	var targets []string
	for _, t := range j.Rules.tables {
		for _, c := range t.order {
			for i := range c.rules {
				if r := &c.rules[i]; r.dnat != nil && !guarded[r] && !r.dnat.addr.IsLoopback() {
					targets = append(targets, fmt.Sprint(netip.AddrPortFrom(r.dnat.addr, r.dnat.port)))
				}
			}
		}
	}
	if len(targets) > 0 {
		slices.Sort(targets)
		targets = slices.Compact(targets)
		j.add(Forwarded, Warning, "publish on the loopback address only, such as: docker run -p 127.0.0.1:8080:80 IMAGE",
			"firewall mode does not close ports that are sent on to other addresses: ", strings.Join(targets, ", "))
	}
}

// notrack judges rules that keep a door's packets from being tracked.
func (j *judge) notrack() {
	told := map[*rule]bool{}
	look := func(p packet, severity Severity, text string) {
		for _, c := range j.Rules.at(prerouting, p) {
			w := &walker{packet: p, visit: func(r *rule, _ truth) {
				if r.notrack && !told[r] {
					told[r] = true
					j.add(Untracked, severity, "sudo "+r.remove, text, " (", r.text, ")")
				}
			}}
			w.base(c)
		}
	}
	for _, s := range j.services() {
		for _, to := range samples(s.ports) {
			for _, v6 := range j.families() {
				severity, text := Note, fmt.Sprintf("connections to %s are not tracked; guard mode does without", s.ports)
				if j.Program.Firewall || to.Proto == port.UDP {
					severity = Warning
					text = fmt.Sprintf("connections to %s are not tracked: those that are open through %s end with the grant", s.ports, s.names())
				}
				look(packet{v6: v6, to: to}, severity, text)
			}
		}
	}
	for _, d := range j.Program.Doors {
		for i, k := range d.Knocks {
			for _, v6 := range j.families() {
				look(packet{v6: v6, to: k}, Note, fmt.Sprintf("knock %d of door %s is not tracked; it is heard all the same", i+1, d.Name))
			}
		}
	}
}
