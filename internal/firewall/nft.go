package firewall

import (
	"slices"
	"strings"

	"tirl/internal/port"
)

// nft reads nft(8): add|insert rule [FAMILY] TABLE CHAIN RULE.
func (r reader) nft(args []string) (*Effect, error) {
	text := strings.Join(args, " ")
	if strings.ContainsAny(text, ";\n") {
		return nil, unread("", "it has several commands in one")
	}
	for _, sign := range []string{"{", "}", ","} {
		text = strings.ReplaceAll(text, sign, " "+sign+" ")
	}
	w := words{strings.Fields(text)}
	for !w.empty() && strings.HasPrefix(w.rest[0], "-") {
		w.next()
	}
	verb, object := w.next(), w.next()
	switch {
	case verb == "list":
		return &Effect{}, nil
	case verb == "delete" && object == "rule":
		return nil, unread("", "it removes a rule by its handle, whatever that is then")
	case object == "element":
		return nil, unread("", "it puts the address into a set, or takes it out: what the rules make of that set is not in this file")
	case (verb != "add" && verb != "insert") || object != "rule":
		return nil, unread("", "it neither adds nor removes a rule")
	}
	e := &Effect{Verb: Opens, IPv4: true, IPv6: true, Appended: verb == "add", Adds: true}
	family := "ip"
	if len(w.rest) > 0 && slices.Contains([]string{"ip", "ip6", "inet", "arp", "bridge", "netdev"}, w.rest[0]) {
		family = w.next()
	}
	switch family {
	case "ip":
		e.IPv6 = false
	case "ip6":
		e.IPv4 = false
	case "inet":
	default:
		return nil, unread("", "it is about the family %s", family)
	}
	w.next() // table
	chain := w.next()
	switch strings.ToLower(chain) {
	case "input":
	case "forward", "output", "prerouting", "postrouting":
		return nil, unread("a door guards this host, and the ports that it sends on by DNAT", "its chain is %s", chain)
	default:
		e.Chain = chain
	}
	if err := r.nftRule(&w, e); err != nil {
		return nil, err
	}
	return e, nil
}

func (r reader) nftRule(w *words, e *Effect) (err error) {
	var protos []port.Proto
	var narrow []string
	decided := false
	for !w.empty() && err == nil {
		switch word := w.next(); word {
		case "position", "handle", "index":
			w.next()
		case "counter", "log", "accept":
			decided = decided || word == "accept"
		case "drop", "reject":
			decided, e.Verb = true, Closes
		case "comment":
			w.rest = nil // the last of a rule
		case "iif", "iifname":
			narrow = append(narrow, word+" "+w.next())
		case "ip", "ip6":
			e.IPv4, e.IPv6 = e.IPv4 && word == "ip", e.IPv6 && word == "ip6"
			switch field := w.next(); field {
			case "saddr":
				e.Who, err = r.who(w.next())
			case "daddr":
				narrow = append(narrow, word+" daddr "+w.next())
			case "protocol", "nexthdr":
				protos, err = proto(w.next())
			default:
				err = unread("", "its rule has %s %s, which a door has not", word, field)
			}
		case "meta":
			if w.take("l4proto") {
				protos, err = proto(w.next())
				break
			}
			err = unread("", "its rule has %s %s, which a door has not", word, w.next())
		case "ct":
			if !w.take("state") {
				return unread("", "its rule has %s %s, which a door has not", word, w.next())
			}
			if !slices.Contains(strings.Split(w.set(), ","), "new") {
				*e = Effect{Note: "open connections go on with tirl without a rule"}
				return nil
			}
		case "tcp", "udp", "th":
			if word != "th" {
				protos, err = proto(word)
			}
			if err == nil && !w.take("dport") {
				err = unread("", "its rule has %s %s, which a door has not", word, w.next())
			}
			if err == nil {
				e.Services, err = list(w.set(), "-", protos...)
			}
		default:
			err = unread("", "its rule has %s, which a door has not", word)
		}
	}
	e.Narrow = strings.Join(narrow, " ")
	switch {
	case err != nil:
		return err
	case !decided:
		return unread("", "its rule neither accepts nor drops")
	case len(e.Services) == 0:
		for _, p := range protos {
			e.Services = append(e.Services, port.Range{Proto: p, First: 1, Last: 65535})
		}
	}
	return nil
}

// set takes a value, or { values }, and joins them with commas.
func (w *words) set() string {
	isSet := w.take("{")
	all := w.next()
	for w.take(",") {
		all += "," + w.next()
	}
	if isSet {
		w.take("}")
	}
	return all
}
