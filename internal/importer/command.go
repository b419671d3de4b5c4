package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tirl/internal/firewall"
	"tirl/internal/port"
	"tirl/internal/shell"
)

// commands is what a line of shell commands does to services, all of it together.
type commands struct {
	opens     []port.Range // for the client, when all has been run
	closes    []port.Range
	opensAll  bool          // every port
	closesAll bool          // every port
	after     time.Duration // what it opens it closes by itself, if not 0
	v4, v6    bool          // the families that it opens for

	programs []string // of the firewalls, in their order
	remarks  []said
	unread   []said // commands that cannot be carried over
	comment  string // of the shell
}

// said is something to be said about a place of the line.
type said struct {
	at   int // offset in the line
	text string
	hint string
}

// readCommands reads a line that a shell would run for a client.
func readCommands(line, placeholder string) *commands {
	c := &commands{}
	parts, err := shell.Split(line)
	if err != nil {
		c.refuse(err, 0, line)
		return c
	}
	c.comment = parts.Comment
	var effects []step
	var list andOr
	for i, part := range parts.Commands {
		inner, err := shell.Unwrap(part)
		if err != nil {
			c.refuse(err, part.At, part.Text)
			list.next(part.After, nil, part.Text)
			continue
		}
		for _, cmd := range inner {
			e, err := firewall.Read(cmd, placeholder)
			if err == nil && e.Verb == firewall.Opens {
				err = list.doubt(cmd.After)
			}
			list.next(cmd.After, e, part.Text)
			if err != nil {
				whole := pipeline(parts.Commands, i)
				c.refuse(err, whole.At, line[whole.At:whole.End])
				break
			}
			effects = append(effects, step{e, part.At, list.checks})
		}
	}
	c.add(effects)
	return c
}

// andOr is a list of commands joined by && and ||, of which each runs only if those
// before it end in the right way.
type andOr struct {
	last    *firewall.Effect
	unknown string // a command of which nobody knows how it ends
	ends    string // one, before or in this list, that may end it all
	checks  bool   // one of them, or of those before, has looked whether a rule is there
}

// next takes a command that has been read, or could not be.
func (l *andOr) next(after string, e *firewall.Effect, text string) {
	if after != "&&" && after != "||" && after != "|" {
		*l = andOr{checks: l.checks, ends: l.ends}
	}
	l.last = e
	switch name := program(text); {
	case e != nil:
		l.checks = l.checks || e.Checks
	case name == "exit" || name == "set" || name == "return" || name == "trap":
		l.ends = text
	case l.unknown == "" && name != "echo" && name != "printf" && name != "logger" && name != "date": // these only tell
		l.unknown = text
	}
}

func program(text string) string {
	name, _, _ := strings.Cut(text, " ")
	return name[strings.LastIndexByte(name, '/')+1:]
}

// doubt says why a command may not be run at all. Looking for a rule and adding it
// if it is not there always ends with the rule.
func (l *andOr) doubt(after string) error {
	switch {
	case l.ends != "":
		return &firewall.Unread{Text: "whether it is run depends on " + quote(l.ends)}
	case after != "&&" && after != "||":
	case l.unknown != "":
		return &firewall.Unread{Text: "whether it is run depends on " + quote(l.unknown)}
	case (l.last != nil && l.last.Checks) != (after == "||"):
		return &firewall.Unread{Text: "whether it is run depends on the command before it"}
	}
	return nil
}

// step is an effect and where its command stands.
type step struct {
	*firewall.Effect
	at      int
	checked bool // a rule is only added if it is not there
}

// pipeline gives the whole pipeline that a command is a part of.
func pipeline(all []shell.Command, i int) shell.Command {
	first, last := i, i
	for first > 0 && all[first].After == "|" {
		first--
	}
	for last+1 < len(all) && all[last+1].After == "|" {
		last++
	}
	return shell.Command{At: all[first].At, End: all[last].End}
}

func (c *commands) refuse(err error, at int, text string) {
	r := said{at: at, text: "is not carried over: " + err.Error()}
	if e, ok := errors.AsType[*shell.Error](err); ok {
		r.at = at + min(e.At, len(text))
		r.text = "is not carried over: it " + e.Text
	}
	if u, ok := errors.AsType[*firewall.Unread](err); ok {
		r.hint = u.Hint
	}
	r.text = quote(text) + " " + r.text
	if n := len(c.unread); n == 0 || c.unread[n-1].at != r.at { // a pipeline once
		c.unread = append(c.unread, r)
	}
}

// add takes the effects in their order: what is closed after it was opened is not
// open any more.
func (c *commands) add(steps []step) {
	var open []step
	var waited time.Duration
	for _, s := range steps {
		if s.Verb == firewall.Opens || s.Verb == firewall.Closes {
			if !slices.Contains(c.programs, s.Program) {
				c.programs = append(c.programs, s.Program)
			}
			c.tell(s)
		}
		switch s.Verb {
		case firewall.Waits:
			waited += s.Time
		case firewall.Opens:
			open = append(open, s)
			c.after = max(c.after, s.Time)
		case firewall.Closes:
			rest := slices.DeleteFunc(slices.Clone(open), func(o step) bool { return within(o.Services, s.Services) })
			switch {
			case len(rest) == len(open):
				c.closes = append(c.closes, s.Services...)
				c.closesAll = c.closesAll || isAll(s.Services)
			case waited > 0:
				c.after = waited
			default:
				open = rest
			}
		}
	}
	for _, s := range open {
		c.opens = append(c.opens, s.Services...)
		c.opensAll = c.opensAll || isAll(s.Services)
		c.v4, c.v6 = c.v4 || s.IPv4, c.v6 || s.IPv6
	}
	c.opens, c.closes = tidy(c.opens), tidy(c.closes)
	if len(c.opens) > 0 {
		// What opens a service and closes it first only avoids a second rule.
		c.closes = slices.DeleteFunc(c.closes, func(r port.Range) bool { return slices.Contains(c.opens, r) })
	}
}

func (c *commands) tell(s step) {
	say := func(hint, format string, args ...any) {
		c.remarks = append(c.remarks, said{s.at, fmt.Sprintf(format, args...), hint})
	}
	opens := s.Verb == firewall.Opens
	if opens && s.Who == firewall.Everybody {
		say("", "this opened to everybody; tirl opens to the client that knocks")
	}
	if opens && s.Who == firewall.Network {
		say("", "this opened to the client's whole network; tirl opens to the one address that knocks")
	}
	if s.Chain != "" {
		say("", "this works on the chain %s: which packets come there is not in this file", s.Chain)
	}
	if opens && s.Narrow != "" {
		say("", "this opened with %q only; tirl opens to the client wherever it comes in", s.Narrow)
	}
	if opens && s.Appended {
		say("", "this appends to the chain, so that a rule before it that drops comes first; tirl does not depend on an order")
	}
	if opens && s.Place > 1 {
		say("", "this adds rule %d of the chain, and what stands before it comes first; tirl does not depend on an order", s.Place)
	}
	if opens && s.Adds && !s.checked {
		say("to see the rules that are left: "+leftover(s.Program),
			"this adds a rule at each knock, also where there is one already, and closing takes out one")
	}
	if s.Verb == firewall.Closes && (s.Program == "knock_helper_ipt.sh" || s.Program == "knock_add") {
		say("to see the rules that are left: iptables -S INPUT",
			"this removes nothing: the script puts \"Insert\" or \"Append\" into the comment of a rule, and looks for one with \"Delete\"")
	}
	if s.Note != "" {
		say("", "%s", s.Note)
	}
}

func leftover(program string) string {
	switch program {
	case "ip6tables":
		return "ip6tables -S INPUT"
	case "nft":
		return "nft -a list ruleset"
	}
	return "iptables -S INPUT"
}

// within says whether services are among others.
func within(services, others []port.Range) bool {
	return isAll(others) || len(services) > 0 && !slices.ContainsFunc(services, func(s port.Range) bool {
		return !slices.ContainsFunc(others, func(o port.Range) bool {
			return o.Proto == s.Proto && o.First <= s.First && s.Last <= o.Last
		})
	})
}

// isAll says whether services are all of a protocol.
func isAll(services []port.Range) bool {
	return len(services) == 0 || slices.ContainsFunc(services, func(r port.Range) bool { return r.First == 1 && r.Last == 65535 })
}

// tidy sorts services and puts those together that overlap: a policy takes each
// port once.
func tidy(services []port.Range) []port.Range {
	services = slices.Clone(services)
	slices.SortFunc(services, port.Range.Compare)
	var all []port.Range
	for _, s := range services {
		if n := len(all) - 1; n >= 0 && all[n].Proto == s.Proto && s.First <= all[n].Last {
			all[n].Last = max(all[n].Last, s.Last)
			continue
		}
		all = append(all, s)
	}
	return all
}

func texts(services []port.Range) []string {
	all := make([]string, len(services))
	for i, s := range services {
		all[i] = s.String()
	}
	return all
}

// quote shows a part of a file in a message.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
