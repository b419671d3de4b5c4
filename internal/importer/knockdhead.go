package importer

import (
	"fmt"
	"slices"
	"strings"

	"tirl/internal/port"
	"tirl/internal/remark"
)

// options looks at what is not about doors.
func (k *knockdImport) options() {
	c := k.config
	for _, s := range c.Options {
		if !s.Used {
			k.warn(nil, "", s.From, "", "%s is given again: this one has no effect", strings.ToLower(s.Key))
		}
		if isQuoted(s.Text) {
			k.warn(nil, "", s.At, "", "knockd takes quotes as they are: they are a part of the value")
		}
		if n := strings.Index(s.Text, "#"); n >= 0 {
			k.warn(nil, "", s.At+n, "", "knockd knows no comments behind a value: this is a part of it")
		}
	}
	if c.Interface == nil {
		return
	}
	name, at := c.Interface.Text, c.Interface.At
	switch {
	case name == "" || len(name) > 15 || strings.ContainsAny(name, " \t/:"):
		k.warn(nil, "", at, "", "no interface has the name %s: knockd does not start with it", quote(name))
	case k.host != nil && k.host.Interfaces != nil && !slices.Contains(k.host.Interfaces, name):
		k.warn(nil, "", at, "", "this host has no interface %s: knockd would not start here", quote(name))
	default:
		k.warn(nil, "", at, "", "knockd hears knocks on %s only; tirl on every interface", name)
	}
}

// head writes what stands above the doors.
func (k *knockdImport) head() {
	say := func(text string) { k.out.Head = append(k.out.Head, remark.Say(text)) }
	say(fmt.Sprintf("A policy for tirl, made from %s by tirl import knockd. Read it, then: tirl check.", k.file))
	if k.left > 0 {
		say("What could not be carried over stands here as a comment.")
	}
	k.allow()
	say("")
	say("What tirl does otherwise than knockd, at every door:")
	say("- Between two knocks every other packet of the client that begins something, to whatever port, puts it back to the start, if some" +
		" knock has its protocol. In knockd only one to a port of some door does. What a client may use meanwhile belongs in public.")
	say("- A knock that comes twice does no harm; in knockd it ends the attempt.")
	say("- A client that has made a mistake begins anew at once, and no other client's mistake matters.")
	say("- A TCP knock is a connection attempt (SYN), and nothing else.")
	say("- open_for is for new connections. Those that are open go on.")
	var names []string
	for _, s := range k.config.Options {
		if s.Key != "USESYSLOG" && s.Key != "INTERFACE" {
			names = append(names, strings.ToLower(s.Key))
		}
	}
	if k.config.Syslog {
		names = append(names, "usesyslog")
	}
	if len(names) > 0 {
		say("- Not needed: " + strings.Join(names, ", ") + ". Events stand in the kernel log, and no process runs.")
	}
	if len(k.top) > 0 {
		say("")
		k.out.Head = append(k.out.Head, k.top...)
	}
}

// allow says how to let the services through the firewall that closed them: tirl
// only hides.
func (k *knockdImport) allow() {
	var lines []string
	for _, d := range k.doors {
		c, _ := d.acts()
		if d.table == nil || d.table.Off || c == nil {
			continue
		}
		for _, s := range c.opens {
			for _, l := range allowing(c.programs, s) {
				if !slices.Contains(lines, l) {
					lines = append(lines, l)
				}
			}
		}
	}
	if len(lines) == 0 {
		return
	}
	k.out.Head = append(k.out.Head, remark.Say(""),
		remark.Say("tirl hides a service, and opens nothing that the host's firewall closes. What knockd opened in it has to be open in it for good,"+
			" as soon as tirl is loaded:"))
	for _, l := range lines {
		k.out.Head = append(k.out.Head, remark.Show(l))
	}
}

func allowing(programs []string, s port.Range) []string {
	ports := strings.ReplaceAll(strings.SplitN(s.String(), "/", 2)[1], "-", ":")
	var lines []string
	for _, p := range programs {
		switch p {
		case "ufw":
			lines = append(lines, fmt.Sprintf("ufw allow %s/%s", ports, s.Proto))
		case "firewall-cmd":
			lines = append(lines, fmt.Sprintf("firewall-cmd --permanent --add-port=%s/%s && firewall-cmd --reload", strings.ReplaceAll(ports, ":", "-"), s.Proto))
		case "nft":
			lines = append(lines, fmt.Sprintf("nft insert rule inet filter input %s dport %s accept", s.Proto, strings.ReplaceAll(ports, ":", "-")))
		default:
			for _, program := range []string{"iptables", "ip6tables"} {
				lines = append(lines, fmt.Sprintf("%s -I INPUT -p %s --dport %s -j ACCEPT", program, s.Proto, ports))
			}
		}
	}
	return lines
}
