package firewall

import (
	"fmt"
	"slices"
	"strings"

	"tirl/internal/port"
)

func (r reader) iptables(args []string, family int) (*Effect, error) {
	rule, err := ParseRule(args)
	if err != nil {
		return nil, err
	}
	e, err := r.rule(rule)
	if err != nil {
		return nil, err
	}
	e.IPv4, e.IPv6 = family == 4, family == 6
	return e, nil
}

// rule says what adding or removing a rule does to services of this host.
func (r reader) rule(rule *Rule) (*Effect, error) {
	e := &Effect{}
	switch rule.Command {
	case "check":
		return &Effect{Checks: true}, nil
	case "list", "list-rules", "zero":
		return e, nil
	case "append":
		e.Appended, e.Adds = true, true
	case "insert":
		e.Adds, e.Place = true, rule.Number
	case "delete":
		if rule.Number > 0 {
			return nil, unread("", "it removes rule %d of the chain, whatever that is then", rule.Number)
		}
	default:
		return nil, unread("", "it neither adds nor removes a rule")
	}
	if err := r.place(rule, e); err != nil {
		return nil, err
	}
	// Accepting lets in, refusing shuts out, and removing does the opposite.
	target, _ := rule.Option("jump")
	switch isDelete := rule.Command == "delete"; target.Value() {
	case "ACCEPT":
		e.Verb = Opens
		if isDelete {
			e.Verb = Closes
		}
	case "DROP", "REJECT":
		e.Verb = Closes
		if isDelete {
			e.Verb = Opens
		}
	case "LOG", "NFLOG", "ULOG":
		return &Effect{}, nil
	case "":
		return nil, unread("", "its rule has no target")
	default:
		return nil, unread("", "what its target %s does is not in this command", target.Value())
	}
	if rule.Chain == "OUTPUT" {
		return &Effect{Note: "tirl never stops what goes out"}, nil
	}
	if err := r.matches(rule, e); err != nil {
		return nil, err
	}
	return e, nil
}

// place looks at the table and the chain.
func (r reader) place(rule *Rule, e *Effect) error {
	to, isDNAT := rule.Option("to-destination")
	switch {
	case rule.Table == "nat" && isDNAT:
		port, _ := rule.Option("destination-port")
		proto, _ := rule.Option("protocol")
		service := "its port"
		if p, err := number(port.Value()); err == nil {
			service = fmt.Sprintf("%s/%d", strings.ToLower(proto.Value()), p)
		}
		return unread("keep the DNAT rule loaded for good, without an address of a client, and let a door open "+service+
			": tirl drops packets before DNAT", "it sends packets on to %s (DNAT), and a door only lets in", to.Value())
	case rule.Table != "filter":
		return unread("", "it is about the table %s", rule.Table)
	case rule.Chain == "FORWARD" || rule.Chain == "DOCKER-USER":
		return unread("a door guards this host, and the ports that it sends on by DNAT", "it is about packets to other hosts (%s)", rule.Chain)
	case rule.Chain == "":
		return unread("", "it names no chain")
	case rule.Chain != "INPUT" && rule.Chain != "OUTPUT":
		e.Chain = rule.Chain
	}
	return nil
}

// matches reads what a rule compares. A condition that is not known makes the
// command unread: a door without it would let in more.
func (r reader) matches(rule *Rule, e *Effect) error {
	var protos []port.Proto
	var ports []string
	var narrow []string
	for _, o := range rule.Options {
		v := o.Value()
		if o.Not {
			return unread("", "its rule has a ! in it")
		}
		var err error
		switch o.Name {
		case "protocol":
			protos, err = proto(v)
		case "source":
			e.Who, err = r.who(v)
		case "destination-port", "destination-ports":
			ports = append(ports, v)
		case "in-interface":
			narrow = append(narrow, "-i "+v)
		case "destination":
			narrow = append(narrow, "-d "+v)
		case "match":
			if !slices.Contains([]string{"tcp", "udp", "multiport", "comment", "state", "conntrack"}, v) {
				err = unread("", "its rule uses the match %s, which a door has not", v)
			}
		case "state", "ctstate":
			if !slices.Contains(strings.Split(strings.ToUpper(v), ","), "NEW") {
				*e = Effect{Note: "open connections go on with tirl without a rule"}
				return nil
			}
		case "comment", "syn", "jump", "reject-with":
		default:
			err = unread("", "its rule has --%s, which a door has not", o.Name)
		}
		if err != nil {
			return err
		}
	}
	e.Narrow = strings.Join(narrow, " ")
	for _, text := range ports {
		if len(protos) == 0 {
			return unread("", "it names ports of no protocol")
		}
		services, err := list(text, ":", protos...)
		if err != nil {
			return err
		}
		e.Services = append(e.Services, services...)
	}
	if len(ports) == 0 {
		for _, p := range protos {
			e.Services = append(e.Services, port.Range{Proto: p, First: 1, Last: 65535})
		}
	}
	return nil
}
