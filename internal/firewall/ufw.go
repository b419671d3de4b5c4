package firewall

import (
	"strconv"
	"strings"

	"tirl/internal/port"
)

// ufw reads ufw(8): [delete] [insert N] allow|deny|reject|limit RULE.
func (r reader) ufw(args []string) (*Effect, error) {
	w := words{args}
	for w.take("--force") || w.take("-f") {
	}
	if w.take("--dry-run") {
		return &Effect{}, nil
	}
	isDelete := w.take("delete")
	if w.take("insert") {
		w.next()
	}
	w.take("prepend")
	e := &Effect{IPv4: true, IPv6: true, Verb: Opens}
	action := w.next()
	switch action {
	case "allow", "limit":
	case "deny", "reject":
		e.Verb = Closes
	case "reload", "status":
		return &Effect{}, nil
	case "route":
		return nil, unread("a door guards this host, and the ports that it sends on by DNAT", "it is about packets to other hosts (ufw route)")
	default:
		if _, err := strconv.Atoi(action); err == nil && isDelete {
			return nil, unread("", "it removes rule %s of ufw, whatever that is then", action)
		}
		return nil, unread("", "%q is no rule of ufw that is known here", strings.Join(args, " "))
	}
	if isDelete {
		e.Verb = Opens + Closes - e.Verb
	}
	if action == "limit" {
		e.Note = "ufw's limit on connections is not carried over"
	}
	if err := r.ufwRule(&w, e); err != nil {
		return nil, err
	}
	return e, nil
}

func (r reader) ufwRule(w *words, e *Effect) (err error) {
	var protos []port.Proto
	ports, to, end := "", "", ""
	for !w.empty() && err == nil {
		switch word := w.next(); word {
		case "in":
		case "out":
			*e = Effect{Note: "tirl never stops what goes out"}
			return nil
		case "on":
			e.Narrow = "on " + w.next()
		case "log", "log-all":
		case "proto":
			protos, err = proto(w.next())
		case "from":
			end = word
			e.Who, err = r.who(w.next())
		case "to":
			end = word
			if to = w.next(); to != "any" {
				e.Narrow = strings.TrimSpace(e.Narrow + " to " + to)
			}
		case "port":
			if end == "from" {
				return unread("", "it is about the client's port")
			}
			ports = w.next()
		case "app":
			ports = w.next()
		case "comment":
			w.next()
		default:
			if ports != "" || end != "" {
				return unread("", "%q is not known in a rule of ufw", word)
			}
			ports = word
		}
	}
	if err != nil {
		return err
	}
	if ports == "OpenSSH" { // the profile that openssh-server installs
		ports, protos = "22", []port.Proto{port.TCP}
	}
	if number, name, ok := strings.Cut(ports, "/"); ok {
		ports = number
		if protos, err = proto(name); err != nil {
			return err
		}
	}
	if ports == "" {
		return nil
	}
	if len(protos) == 0 {
		protos = []port.Proto{port.TCP, port.UDP}
		e.Note = "ufw takes this for TCP and UDP: leave out what the service does not use"
	}
	e.Services, err = list(ports, ":", protos...)
	return err
}

// words are arguments that are taken one by one.
type words struct{ rest []string }

func (w *words) empty() bool { return len(w.rest) == 0 }

// next is "" at the end.
func (w *words) next() string {
	if w.empty() {
		return ""
	}
	word := w.rest[0]
	w.rest = w.rest[1:]
	return word
}

func (w *words) take(word string) bool {
	if w.empty() || w.rest[0] != word {
		return false
	}
	w.rest = w.rest[1:]
	return true
}
