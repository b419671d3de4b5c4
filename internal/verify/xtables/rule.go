package xtables

import (
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/verify/ruleset"
)

// context is a rule that is being built.
type context struct {
	rule
	*spec
	table  *table
	family ruleset.Family
	depth  *int // of the jumps in its chain
	out    []ruleset.Statement
	never  bool // no packet comes to what follows
}

func (x *context) put(s ruleset.Statement) { x.out = append(x.out, s) }

func (x *context) v6() bool { return x.family == ruleset.IPv6 }

// rule adds a rule to those of its chain: one for each source address, as
// iptables does.
func (b *builder) rule(rules []ruleset.Rule, x *context) ([]ruleset.Rule, error) {
	sources, err := x.sources()
	if err != nil {
		return nil, err
	}
	if n := len(x.spec.header) + len(x.modules) + len(x.jump); n > 0 {
		x.out = make([]ruleset.Statement, 0, n) // most often enough
	}
	if err := x.header(); err != nil {
		return nil, err
	}
	for i := range x.modules {
		if err := b.match(x, &x.modules[i]); err != nil {
			return nil, err
		}
	}
	if err := b.target(x); err != nil {
		return nil, err
	}
	if sources == nil {
		return append(rules, ruleset.Rule{Line: x.line, Text: x.text, Statements: x.out}), nil
	}
	for _, source := range sources {
		rules = append(rules, ruleset.Rule{Line: x.line, Text: x.text, Statements: append(source, x.out...)})
	}
	return rules, nil
}

// sources reads -s: for each rule that it makes, what that begins with. nil is one
// rule.
func (x *context) sources() ([][]ruleset.Statement, error) {
	o := find(x.spec.header, "-s")
	if o == nil {
		return nil, nil
	}
	var all [][]ruleset.Statement
	for text := range strings.SplitSeq(o.args[0], ",") {
		p, ok := prefix(text)
		if !ok || p.Addr().Is6() != x.v6() {
			return nil, fail(x.line, "%q is no network of this family", clip(text))
		}
		if p.Bits() == 0 && !o.not {
			all = append(all, nil)
			continue
		}
		all = append(all, []ruleset.Statement{ruleset.Match{Attr: ruleset.Src, Not: o.not, Prefixes: []netip.Prefix{p}}})
	}
	if o.not && len(all) > 1 {
		return nil, fail(x.line, "! cannot stand in front of several networks")
	}
	return all, nil
}

// header builds what the kernel looks at before any match (ip_packet_match,
// ip6_packet_match), in an order that does not depend on the text.
func (x *context) header() error {
	if o := find(x.spec.header, "-i"); o != nil {
		if err := x.iface(o); err != nil {
			return err
		}
	}
	if o := find(x.spec.header, "-o"); o != nil && (o.args[0] != "+" || o.not) {
		return unknown(x.line, "match `-o`")
	}
	if o := find(x.spec.header, "-d"); o != nil {
		if p, ok := prefix(o.args[0]); !ok || p.Bits() != 0 || o.not {
			return unknown(x.line, "match `-d`")
		}
	}
	if o := find(x.spec.header, "-p"); o != nil {
		return x.protocol(o)
	}
	return nil
}

func (x *context) iface(o *option) error {
	name := o.args[0]
	if name == "" || len(name) > 15 { // IFNAMSIZ
		return fail(x.line, "%q is no interface", clip(name))
	}
	// iptables-save leaves out ! -i +, and * means something else in a Match.
	if strings.Contains(name, "*") || o.not && name == "+" {
		return unknown(x.line, "interface `%s`", name)
	}
	if rest, ok := strings.CutSuffix(name, "+"); ok {
		name = rest + "*"
	}
	if name != "*" {
		x.put(ruleset.Match{Attr: ruleset.Iface, Not: o.not, Names: []string{name}})
	}
	return nil
}

func (x *context) protocol(o *option) error {
	n, ok := protoNumber(o.args[0])
	switch {
	case !ok:
		return unknown(x.line, "protocol `%s`", clip(o.args[0]))
	case n != 0:
		x.put(ruleset.Match{Attr: ruleset.Proto, Not: o.not, Ranges: one(n)})
	case o.not:
		return fail(x.line, "! cannot stand in front of all protocols")
	}
	return nil
}

func one(n uint32) []ruleset.Range { return []ruleset.Range{{First: n, Last: n}} }

// isProto says whether all packets that come here are of one of some protocols.
func (x *context) isProto(of ...uint32) bool {
	o := find(x.spec.header, "-p")
	if o == nil || o.not {
		return false
	}
	n, _ := protoNumber(o.args[0])
	return slices.Contains(of, n)
}

// target builds what a rule does in the end.
func (b *builder) target(x *context) error {
	do := ruleset.Do{}
	switch name := x.target.name; {
	case x.jump == "":
		return nil
	case x.jump == "-g":
		do.Verdict = ruleset.Goto
	case name == "ACCEPT":
		do.Verdict = ruleset.Accept
	case name == "DROP":
		do.Verdict = ruleset.Drop
	case name == "RETURN":
		do.Verdict = ruleset.Return
	case name == "REJECT":
		v, err := x.reject()
		if err != nil {
			return err
		}
		do.Verdict = v
	case name == "LOG" || name == "NFLOG":
		if !x.never {
			x.put(ruleset.Note{Text: name})
		}
		return nil
	default:
		do.Verdict = ruleset.Jump
	}
	if do.Verdict == ruleset.Jump || do.Verdict == ruleset.Goto {
		i, err := b.follow(x, x.target.name, do.Verdict == ruleset.Jump) // scans other rules
		if err != nil {
			return err
		}
		do.Chain = i
	}
	if !x.never {
		x.put(do)
	}
	return nil
}

// reject reads the target REJECT, which is for the table filter only
// (net/ipv4/netfilter/ipt_REJECT.c).
func (x *context) reject() (ruleset.Verdict, error) {
	if x.table.name != "filter" {
		return 0, fail(x.line, "REJECT in table %s", x.table.name)
	}
	with := x.target.find("--reject-with")
	if with == nil {
		return ruleset.RejectPort, nil
	}
	name := with.args[0]
	switch name {
	case "tcp-reset", "tcp-rst":
		if !x.isProto(tcp) {
			return 0, fail(x.line, "REJECT with %s without -p tcp", name)
		}
		return ruleset.RejectReset, nil
	case "port-unreach":
		return ruleset.RejectPort, nil
	}
	if x.v6() {
		switch name {
		case "icmp6-port-unreachable":
			return ruleset.RejectPort, nil
		case "icmp6-no-route", "no-route", "icmp6-adm-prohibited", "adm-prohibited", "icmp6-addr-unreachable", "addr-unreach",
			"icmp6-policy-fail", "policy-fail", "icmp6-reject-route", "reject-route":
			return ruleset.RejectOther, nil
		}
	} else {
		switch name {
		case "icmp-port-unreachable":
			return ruleset.RejectPort, nil
		case "icmp-net-unreachable", "net-unreach", "icmp-host-unreachable", "host-unreach", "icmp-proto-unreachable",
			"proto-unreach", "icmp-net-prohibited", "net-prohib", "icmp-host-prohibited", "host-prohib", "icmp-admin-prohibited",
			"admin-prohib":
			return ruleset.RejectOther, nil
		}
	}
	return 0, unknown(x.line, "REJECT with `%s`", clip(name))
}
