package xtables

import (
	"strings"

	"tirl/internal/verify/ruleset"
)

// match builds what one match looks at and does.
func (b *builder) match(x *context, m *module) error {
	if x.never {
		x = &context{rule: x.rule, spec: x.spec, table: x.table, family: x.family, never: true}
	}
	switch m.name {
	case "tcp":
		return x.transport(m, tcp)
	case "udp":
		return x.transport(m, udp)
	case "icmp":
		return x.icmp(m, icmp, "--icmp-type")
	case "icmp6":
		return x.icmp(m, icmp6, "--icmpv6-type")
	case "multiport":
		return x.multiport(m)
	case "conntrack":
		return x.conntrack(m, "--ctstate")
	case "state":
		return x.conntrack(m, "--state")
	case "addrtype":
		return x.addrtype(m)
	case "recent":
		return b.recent(x, m)
	case "hashlimit":
		return b.hashlimit(x, m)
	case "limit":
		return x.limit(m)
	case "comment":
		return nil
	}
	return unknown(x.line, "match `%s`", m.name)
}

// transport reads the matches tcp and udp.
func (x *context) transport(m *module, proto uint32) error {
	if !x.isProto(proto) {
		return fail(x.line, "match %s without -p %s", m.name, m.name)
	}
	for _, o := range m.options {
		switch o.name {
		case "--dport", "--sport":
			if strings.Contains(o.args[0], ",") {
				return fail(x.line, "%q is no port", clip(o.args[0]))
			}
			if err := x.ports(o); err != nil {
				return err
			}
		case "--syn":
			x.put(ruleset.Match{Attr: ruleset.TCPFlags, Not: o.not, Mask: 0x17, Value: 0x02})
		case "--tcp-flags":
			mask, ok1 := tcpFlags(o.args[0])
			value, ok2 := tcpFlags(o.args[1])
			if !ok1 || !ok2 {
				return fail(x.line, "%s", "no flags of TCP: "+clip(strings.Join(o.args, " ")))
			}
			x.put(ruleset.Match{Attr: ruleset.TCPFlags, Not: o.not, Mask: mask, Value: value})
		}
	}
	return nil
}

// ports puts a match of ports, unless every port fits.
func (x *context) ports(o option) error {
	all, ok := ports(o.args[0])
	if !ok {
		return fail(x.line, "%q is no number of a port", clip(o.args[0]))
	}
	if !o.not && len(all) == 1 && all[0] == (ruleset.Range{Last: 65535}) {
		return nil
	}
	attr := ruleset.DPort
	if strings.HasPrefix(o.name, "--s") {
		attr = ruleset.SPort
	}
	x.put(ruleset.Match{Attr: attr, Not: o.not, Ranges: all})
	return nil
}

func (x *context) multiport(m *module) error {
	if !x.isProto(tcp, udp) {
		return unknown(x.line, "match `multiport` without -p tcp or udp")
	}
	if len(m.options) != 1 {
		return fail(x.line, "match multiport takes one list of ports")
	}
	return x.ports(m.options[0])
}

func (x *context) icmp(m *module, proto uint32, name string) error {
	if !x.isProto(proto) {
		return fail(x.line, "match %s without its protocol", m.name)
	}
	o := m.find(name)
	if o == nil {
		return nil
	}
	n, isAny, ok := icmpType(o.args[0], proto == icmp6)
	switch {
	case !ok:
		return unknown(x.line, "%s `%s`", name, clip(o.args[0]))
	case !isAny:
		x.put(ruleset.Match{Attr: ruleset.ICMPType, Not: o.not, Ranges: one(n)})
	case o.not:
		return unknown(x.line, "`! %s any`", name)
	}
	return nil
}

// conntrack reads states. A packet in the table raw has none yet.
func (x *context) conntrack(m *module, name string) error {
	if x.table.name == "raw" {
		return unknown(x.line, "match `%s` in table raw", m.name)
	}
	o := m.find(name)
	if o == nil {
		return fail(x.line, "match %s without %s", m.name, name)
	}
	var all ruleset.Conns
	for state := range strings.SplitSeq(o.args[0], ",") {
		switch strings.ToUpper(state) {
		case "NEW":
			all |= ruleset.New
		case "ESTABLISHED":
			all |= ruleset.Established
		case "RELATED":
			all |= ruleset.Related
		case "INVALID":
			all |= ruleset.Invalid
		case "UNTRACKED":
			all |= ruleset.Untracked
		default:
			return unknown(x.line, "state `%s`", clip(state))
		}
	}
	x.put(ruleset.Match{Attr: ruleset.Conn, Not: o.not, Conns: all})
	return nil
}

func (x *context) addrtype(m *module) error {
	o := m.find("--dst-type")
	if o == nil {
		return fail(x.line, "match addrtype without --dst-type")
	}
	var all ruleset.Dests
	list := strings.Split(o.args[0], ",")
	for _, name := range list {
		switch strings.ToUpper(name) {
		case "LOCAL":
			all |= ruleset.Local
		case "BROADCAST":
			all |= ruleset.Broadcast
		case "MULTICAST":
			all |= ruleset.Multicast
		case "ANYCAST":
			all |= ruleset.Anycast
		case "UNICAST":
			all |= ruleset.Unicast
		default:
			return unknown(x.line, "type of address `%s`", clip(name))
		}
	}
	if x.v6() {
		// match_type6 of net/netfilter/xt_addrtype.c: multicast and unicast are what
		// the address says, and must hold together with the rest of the list; every
		// address of a host is unicast.
		switch odd := all &^ (ruleset.Local | ruleset.Anycast); {
		case odd == 0, all == ruleset.Multicast:
		case all == ruleset.Unicast:
			all |= ruleset.Local | ruleset.Anycast
		default:
			return unknown(x.line, "type of address `%s` of IPv6", clip(o.args[0]))
		}
	}
	x.put(ruleset.Match{Attr: ruleset.Dest, Not: o.not, Dests: all})
	return nil
}
