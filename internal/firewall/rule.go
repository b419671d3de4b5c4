package firewall

import (
	"strconv"
	"strings"
)

// Rule is one command of iptables(8) or one line of iptables-save(8).
type Rule struct {
	Table   string // filter unless -t says otherwise
	Command string // the long form without dashes: append, insert, delete, check, new-chain...
	Chain   string
	Number  int      // of insert, delete, replace; 0: none
	Args    []string // what else a command such as policy has
	Options []Option // in their order
}

// Option is a match, a target, or an option of one of them.
type Option struct {
	Not    bool
	Name   string // the long form without dashes: source, jump, match, destination-port, rcheck...
	Values []string
}

// Value is the first value, or "".
func (o Option) Value() string {
	if len(o.Values) == 0 {
		return ""
	}
	return o.Values[0]
}

// Option finds the first option of a name.
func (r *Rule) Option(name string) (Option, bool) {
	for _, o := range r.Options {
		if o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

// ParseRule reads the arguments of iptables or ip6tables, or the words of a line of
// iptables-save. It knows iptables' grammar, not what its extensions take:
// an option that it has never heard of has the values up to the next option.
func ParseRule(args []string) (*Rule, error) {
	p := ruleParser{rule: &Rule{Table: "filter"}, args: args}
	for len(p.args) > 0 {
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	if p.not {
		return nil, unread("", "a ! stands in front of nothing")
	}
	return p.rule, nil
}

type ruleParser struct {
	rule *Rule
	args []string
	not  bool
}

func (p *ruleParser) next() error {
	arg := p.args[0]
	p.args = p.args[1:]
	if arg == "!" {
		p.not = true
		return nil
	}
	name, value, ok := optionName(arg)
	if !ok {
		return unread("", "%q stands where an option should", arg)
	}
	if value != "" {
		p.args = append([]string{value}, p.args...)
	}
	switch kind := optionKind(name); kind {
	case command:
		return p.command(name)
	case ignored:
		return nil
	case waits:
		if len(p.args) > 0 && strings.Trim(p.args[0], "0123456789.") == "" {
			p.args = p.args[1:]
		}
		return nil
	default:
		return p.option(name, kind)
	}
}

func (p *ruleParser) option(name string, kind kind) error {
	o := Option{Name: name, Not: p.not}
	p.not = false
	if len(p.args) > 0 && p.args[0] == "!" && kind != bare {
		o.Not, p.args = true, p.args[1:] // the order of old versions
	}
	count := 0
	switch kind {
	case bare:
	case single:
		count = 1
	case double:
		count = 2
	default:
		for count < len(p.args) && p.args[count] != "!" && !strings.HasPrefix(p.args[count], "-") {
			count++
		}
	}
	if len(p.args) < count {
		return unread("", "--%s has no value", name)
	}
	o.Values, p.args = p.args[:count:count], p.args[count:]
	if name == "table" {
		p.rule.Table = o.Value()
		return nil
	}
	p.rule.Options = append(p.rule.Options, o)
	return nil
}

func (p *ruleParser) command(name string) error {
	if p.rule.Command != "" {
		return unread("", "--%s and --%s are two commands", p.rule.Command, name)
	}
	p.rule.Command = name
	var rest []string
	for len(p.args) > 0 && !strings.HasPrefix(p.args[0], "-") && p.args[0] != "!" {
		rest, p.args = append(rest, p.args[0]), p.args[1:]
	}
	if len(rest) > 0 {
		p.rule.Chain, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 && (name == "insert" || name == "delete" || name == "replace") {
		n, err := strconv.Atoi(rest[0])
		if err != nil || n < 1 {
			return unread("", "%q is no number of a rule", rest[0])
		}
		p.rule.Number, rest = n, rest[1:]
	}
	p.rule.Args = rest
	return nil
}

// kind says how many values an option has.
type kind int

const (
	open    kind = iota // as many as follow
	bare                // none
	single              // one
	double              // two
	command             // it is the command
	ignored             // no part of a rule, none
	waits               // no part of a rule, perhaps a number
)

func optionKind(name string) kind {
	switch name {
	case "append", "insert", "delete", "check", "replace", "list", "list-rules", "flush", "zero", "new-chain", "delete-chain", "policy", "rename-chain":
		return command
	case "wait", "wait-interval":
		return waits
	case "verbose", "numeric", "exact", "line-numbers", "ipv4", "ipv6":
		return ignored
	case "fragment", "syn", "set", "rcheck", "update", "remove", "rttl", "rsource", "rdest", "reap":
		return bare
	case "table", "source", "destination", "protocol", "in-interface", "out-interface", "jump", "goto", "match", "modprobe",
		"destination-port", "source-port", "destination-ports", "source-ports", "ports", "comment", "state", "ctstate",
		"seconds", "hitcount", "name", "mask", "to-destination", "to-source", "to-ports", "log-prefix", "log-level",
		"limit", "limit-burst", "reject-with", "icmp-type", "icmpv6-type", "length", "mac-source", "set-mark", "mark":
		return single
	case "tcp-flags", "match-set", "set-counters":
		return double
	}
	return open
}

// optionName gives the long form, and the value that is joined to it. Names are
// those of the option tables of iptables(8); an abbreviation is not looked up.
func optionName(arg string) (name, value string, ok bool) {
	if long, isLong := strings.CutPrefix(arg, "--"); isLong {
		name, value, _ = strings.Cut(long, "=")
		switch name {
		case "src":
			name = "source"
		case "dst":
			name = "destination"
		case "proto":
			name = "protocol"
		case "dport":
			name = "destination-port"
		case "sport":
			name = "source-port"
		case "dports":
			name = "destination-ports"
		case "sports":
			name = "source-ports"
		case "new":
			name = "new-chain"
		}
		return name, value, name != ""
	}
	if len(arg) < 2 || arg[0] != '-' {
		return "", "", false
	}
	name, ok = shortOptions()[arg[1]]
	if optionKind(name) == ignored && len(arg) > 2 {
		return name, "-" + arg[2:], ok // -nv
	}
	return name, arg[2:], ok
}

func shortOptions() map[byte]string {
	return map[byte]string{
		'A': "append", 'I': "insert", 'D': "delete", 'C': "check", 'R': "replace", 'L': "list", 'S': "list-rules", 'F': "flush",
		'Z': "zero", 'N': "new-chain", 'X': "delete-chain", 'P': "policy", 'E': "rename-chain",
		't': "table", 's': "source", 'd': "destination", 'p': "protocol", 'i': "in-interface", 'o': "out-interface", 'j': "jump",
		'g': "goto", 'm': "match", 'f': "fragment", 'c': "set-counters", 'w': "wait", 'W': "wait-interval",
		'v': "verbose", 'n': "numeric", 'x': "exact", '4': "ipv4", '6': "ipv6",
	}
}
