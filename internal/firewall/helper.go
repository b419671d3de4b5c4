package firewall

import (
	"strings"
)

// helper reads knock_helper_ipt.sh, which comes with knockd and was named
// knock_add before.
func (r reader) helper(args []string) (*Effect, error) {
	e := &Effect{IPv4: true, Verb: Nothing, Adds: true}
	name, ports, test := "tcp", "", false
	w := words{args}
	for !w.empty() {
		flag := w.next()
		value := func() string {
			if _, v, ok := strings.Cut(flag, "="); ok && strings.HasPrefix(flag, "--") {
				return v
			}
			if len(flag) > 2 && !strings.HasPrefix(flag, "--") {
				return flag[2:]
			}
			return w.next()
		}
		var err error
		short, _, _ := strings.Cut(flag, "=")
		if !strings.HasPrefix(flag, "--") && len(flag) > 2 {
			short = flag[:2]
		}
		switch short {
		case "-a", "--append":
			e.Verb, e.Appended = Opens, true
		case "-i", "--insert":
			e.Verb = Opens
		case "-x", "--delete":
			e.Verb, e.Adds = Closes, false
		case "-f", "--srcaddr":
			e.Who, err = r.who(value())
		case "-d", "--dstport":
			ports = value()
		case "-p", "--proto":
			name = value()
		case "-c", "--chain":
			if e.Chain = value(); e.Chain == "INPUT" {
				e.Chain = ""
			}
		case "-m", "--comment", "-v", "--verbose": // the value of -m is joined to it, if it has one
		case "-t", "--test":
			test = true
		default:
			err = unread("", "%q is no flag of this script", flag)
		}
		if err != nil {
			return nil, err
		}
	}
	if test {
		return &Effect{}, nil
	}
	protos, err := proto(name)
	if err != nil {
		return nil, err
	}
	if e.Verb == Nothing || e.Who == Everybody || ports == "" || len(protos) == 0 {
		return nil, unread("", "the script does nothing without -a, -i or -x, -f and -d")
	}
	if e.Chain == "FORWARD" || e.Chain == "OUTPUT" {
		return nil, unread("", "it is about packets to other hosts (%s)", e.Chain)
	}
	e.Services, err = list(ports, ":", protos...)
	return e, err
}
