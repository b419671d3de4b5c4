package firewall

import (
	"strings"
	"time"

	"tirl/internal/port"
	"tirl/internal/shell"
)

// firewalld reads firewall-cmd(1).
func (r reader) firewalld(args []string) (*Effect, error) {
	e := &Effect{IPv4: true, IPv6: true}
	w := words{args}
	var permanent bool
	for !w.empty() {
		name, value, hasValue := strings.Cut(w.next(), "=")
		if !hasValue {
			switch name {
			case "--zone", "--timeout", "--add-rich-rule", "--remove-rich-rule", "--add-port", "--remove-port",
				"--add-service", "--remove-service", "--add-source", "--remove-source":
				value = w.next()
			}
		}
		adds := strings.HasPrefix(name, "--add-")
		if adds || strings.HasPrefix(name, "--remove-") {
			if e.Verb != Nothing {
				return nil, unread("", "it does several things at once")
			}
			if e.Verb = Closes; adds {
				e.Verb = Opens
			}
		}
		var err error
		switch name {
		case "--permanent":
			permanent = true
		case "--quiet", "-q", "--zone", "--reload":
		case "--timeout":
			e.Time, err = timeout(value)
		case "--add-rich-rule", "--remove-rich-rule":
			err = r.richRule(value, e)
		case "--add-port", "--remove-port":
			ports, name, _ := strings.Cut(value, "/")
			var protos []port.Proto
			if protos, err = proto(name); err == nil {
				e.Services, err = list(ports, "-", protos...)
			}
		case "--add-service", "--remove-service":
			e.Services, err = service(value)
		case "--add-source", "--remove-source":
			e.Who, err = r.who(value)
		default:
			err = unread("", "%s of firewall-cmd is not known here", name)
		}
		if err != nil {
			return nil, err
		}
	}
	if permanent && e.Verb != Nothing {
		return nil, unread("", "with --permanent it changes what the next reload or boot will load, not what is")
	}
	return e, nil
}

// timeout reads 60, 60s, 5m or 1h.
func timeout(text string) (time.Duration, error) {
	if strings.Trim(text, "0123456789") == "" {
		text += "s"
	}
	t, err := time.ParseDuration(text)
	if err != nil {
		return 0, unread("", "the timeout cannot be read")
	}
	return t, nil
}

// service knows the services of firewalld that consist of one port.
func service(name string) ([]port.Range, error) {
	if name == "ssh" || name == "http" || name == "https" || name == "imaps" || name == "pop3s" || name == "mysql" || name == "postgresql" {
		n, err := number(name)
		return []port.Range{{Proto: port.TCP, First: n, Last: n}}, err
	}
	return nil, unread("", "which ports the service %s has is not known here", name)
}

// richRule reads firewalld.richlanguage(5).
func (r reader) richRule(text string, e *Effect) error {
	line, err := shell.Split(text) // the same quotes
	if err != nil || len(line.Commands) != 1 || line.Commands[0].Words[0].Text != "rule" {
		return unread("", "its rich rule cannot be read")
	}
	w := words{line.Commands[0].Args()}
	element := ""
	var ports string
	var action string
	for !w.empty() {
		word, value, isAttribute := strings.Cut(w.next(), "=")
		if !isAttribute {
			switch word {
			case "accept", "drop", "reject":
				action = word
			case "source", "service", "port", "log", "counter":
				element = word
			default:
				return unread("", "its rich rule has %q, which is not known here", word)
			}
			continue
		}
		switch {
		case element == "" && word == "family":
			e.IPv4, e.IPv6 = value == "ipv4", value == "ipv6"
		case element == "" && word == "priority", element == "log", action != "" && word == "type":
		case element == "source" && word == "address":
			e.Who, err = r.who(value)
		case element == "service" && word == "name":
			e.Services, err = service(value)
		case element == "port" && word == "port":
			ports = value
		case element == "port" && word == "protocol":
			var protos []port.Proto
			if protos, err = proto(value); err == nil {
				e.Services, err = list(ports, "-", protos...)
			}
		default:
			return unread("", "its rich rule has %s=%s, which is not known here", word, value)
		}
		if err != nil {
			return err
		}
	}
	switch action {
	case "accept":
	case "drop", "reject":
		e.Verb = Opens + Closes - e.Verb
	default:
		return unread("", "its rich rule does nothing that is known here")
	}
	return nil
}
