package doctor

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/port"
)

// own is the table that tirl's rules are in.
const own = "tirl"

// expr is a statement or expression of libnftables-json(5): an object with one
// key, a string, a number or an array.
type expr = any

// listing is what nft -j prints.
type listing struct {
	Nftables []struct {
		Chain *struct {
			Family, Table, Name, Type, Hook, Policy string
			Prio                                    int
		}
		Rule *struct {
			Family, Table, Chain string
			Handle               int
			Expr                 []expr
		}
		Set, Map *struct {
			Family, Table, Name string
			Type                expr
			Elem                []expr
		}
	}
}

// sets looks up the elements of a named set or map.
type sets func(table *table, name string) ([]expr, bool)

// parseNft reads a listing, except tirl's table, tables of other families than
// IP's, and those that skip names.
func parseNft(text string, skip func(family, name string) bool, lookUp sets) ([]*table, error) {
	var l listing
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return nil, fmt.Errorf("read the listing of nft: %w", err)
	}
	var tables []*table
	find := func(family, name string) *table {
		if family != "ip" && family != "ip6" && family != "inet" || name == own && family == "inet" || skip(family, name) {
			return nil
		}
		for _, t := range tables {
			if t.family == family && t.name == name {
				return t
			}
		}
		t := &table{program: "nft", family: family, name: name, chains: make(map[string]*chain)}
		tables = append(tables, t)
		return t
	}
	for _, item := range l.Nftables {
		if c := item.Chain; c != nil {
			if t := find(c.Family, c.Table); t != nil {
				to := t.chain(c.Name)
				to.hook, to.nat, to.priority, to.policy = hook(c.Hook), c.Type == "nat", c.Prio, accept
				if c.Policy == "drop" {
					to.policy = drop
				}
			}
		}
		if r := item.Rule; r != nil {
			if t := find(r.Family, r.Table); t != nil {
				base := rule{
					text:   fmt.Sprintf("rule %d of chain %s %s %s", r.Handle, r.Family, r.Table, r.Chain),
					remove: fmt.Sprintf("nft delete rule %s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle),
				}
				c := t.chain(r.Chain)
				c.rules = append(c.rules, nftRules(base, r.Expr, t, lookUp)...)
			}
		}
	}
	return tables, nil
}

// nftRules reads the statements of one rule: it becomes several where a map
// holds verdicts.
func nftRules(r rule, statements []expr, t *table, lookUp sets) []rule {
	for _, s := range statements {
		name, body := only(s)
		switch name {
		case "accept", "queue":
			r.verb = accept
		case "drop", "reject":
			r.verb = drop
		case "return":
			r.verb = leave
		case "jump", "goto":
			r.aimNft(name, body)
		case "notrack":
			r.notrack = true
		case "dnat":
			r.dnat, r.verb = nftDestination(body), accept
		case "match":
			r.matches = append(r.matches, nftMatch(body, t, lookUp))
		case "limit":
			if m, _ := body.(map[string]any); m["inv"] == true {
				r.matches = append(r.matches, sometimes)
			}
			r.limited = true
		case "vmap":
			return nftVmap(r, body, t, lookUp)
		case "counter", "log", "mangle", "ct helper", "ct timeout", "ct expectation", "set", "map", "redirect", "masquerade", "snat", "tproxy", "flow", "dup", "fwd":
		default:
			// A statement that this does not know, or that nft 1.0.6 prints as a
			// string, may end the rule.
			r.matches = append(r.matches, sometimes)
		}
	}
	return []rule{r}
}

func (r *rule) aimNft(name string, body expr) {
	m, _ := body.(map[string]any)
	r.target, _ = m["target"].(string)
	r.verb = jump
	if name == "goto" {
		r.verb = branch
	}
}

// nftVmap makes a rule of each element of a verdict map.
func nftVmap(r rule, body expr, t *table, lookUp sets) []rule {
	m, _ := body.(map[string]any)
	elements, ok := elementsOf(m["data"], t, lookUp)
	if !ok {
		return nil
	}
	left := m["key"]
	var rules []rule
	for _, e := range elements {
		pair, _ := e.([]any)
		if len(pair) != 2 {
			continue
		}
		each := r
		key := pair[0]
		each.matches = append(slices.Clone(r.matches), func(p packet) truth { return compare(left, key, p) })
		rules = append(rules, nftRules(each, []expr{pair[1]}, t, lookUp)...)
	}
	return rules
}

func nftDestination(body expr) *destination {
	m, _ := body.(map[string]any)
	d := &destination{}
	if s, ok := m["addr"].(string); ok {
		d.addr, _ = netip.ParseAddr(s)
	}
	if n, ok := m["port"].(float64); ok {
		d.port = uint16(n)
	}
	return d
}

// only gives the key and value of an object that has one.
func only(e expr) (string, expr) {
	if m, ok := e.(map[string]any); ok && len(m) == 1 {
		for k, v := range m {
			return k, v
		}
	}
	return "", e
}

// elementsOf gives the elements of an anonymous or named set or map.
func elementsOf(e expr, t *table, lookUp sets) ([]expr, bool) {
	if s, ok := e.(string); ok && strings.HasPrefix(s, "@") {
		return lookUp(t, s[1:])
	}
	if name, body := only(e); name == "set" {
		list, ok := body.([]any)
		return list, ok
	}
	return nil, false
}

// nftMatch reads a match: an operator with two sides.
func nftMatch(body expr, t *table, lookUp sets) match {
	m, _ := body.(map[string]any)
	op, left, right := m["op"], m["left"], m["right"]
	return func(p packet) truth {
		// A key of another protocol or family fails the rule, whatever the operator.
		if !applies(left, p) {
			return no
		}
		var result truth
		switch elements, isSet := elementsOf(right, t, lookUp); {
		case isSet:
			for _, e := range elements {
				result = max(result, compare(left, e, p))
			}
		case isNamed(right):
			result = some
		default:
			result = compare(left, right, p)
		}
		switch op {
		case "==", "in":
			return result
		case "!=":
			if isIface(left) {
				return max(result.not(), truthOf(result != yes))
			}
			return result.not()
		}
		return some
	}
}

func isNamed(e expr) bool {
	s, ok := e.(string)
	return ok && strings.HasPrefix(s, "@")
}

func isIface(left expr) bool {
	_, body := only(left)
	m, _ := body.(map[string]any)
	key, _ := m["key"].(string)
	return strings.HasPrefix(key, "iif")
}

// applies says whether a packet has the header that an expression looks into.
func applies(left expr, p packet) bool {
	name, body := only(left)
	switch name {
	case "payload":
		m, _ := body.(map[string]any)
		switch m["protocol"] {
		case "th":
			return true
		case "tcp", "udp":
			return m["protocol"] == p.to.Proto.String()
		case "ip":
			return !p.v6
		case "ip6":
			return p.v6
		case nil:
			return true
		}
		return false
	case "concat", "&":
		list, _ := body.([]any)
		return !slices.ContainsFunc(list, func(e any) bool { return !applies(e, p) })
	}
	return true
}

// compare says whether an expression has a value in a packet.
func compare(left, right expr, p packet) truth {
	if name, body := only(right); name == "elem" {
		m, _ := body.(map[string]any)
		right = m["val"]
	}
	name, body := only(left)
	m, _ := body.(map[string]any)
	switch name {
	case "concat":
		return compareAll(body, right, p)
	case "payload":
		return comparePayload(m, right, p)
	case "meta":
		return compareMeta(m, right, p)
	case "ct":
		switch m["key"] {
		case "state":
			return truthOf(holds(right, "new"))
		case "status":
			return no // of a new connection that nobody has changed
		}
	case "fib":
		if m["result"] == "type" {
			return truthOf(p.dst.IsValid() != holds(right, "local"))
		}
	case "&":
		list, _ := body.([]any)
		if len(list) == 2 && isFlags(list[0]) {
			return truthOf(p.to.Proto == port.TCP && (holds(right, "syn") || !holds(list[1], "syn") && right == 0.0))
		}
	}
	return some
}

func isFlags(e expr) bool {
	name, body := only(e)
	m, _ := body.(map[string]any)
	return name == "payload" && m["protocol"] == "tcp" && m["field"] == "flags"
}

func compareAll(left, right expr, p packet) truth {
	_, values := only(right)
	l, _ := left.([]any)
	r, _ := values.([]any)
	if len(l) != len(r) {
		return some
	}
	t := yes
	for i := range l {
		t = min(t, compare(l[i], r[i], p))
	}
	return t
}

func comparePayload(m map[string]any, right expr, p packet) truth {
	switch {
	case isFlags(map[string]any{"payload": m}):
		return truthOf(holds(right, "syn"))
	case m["field"] == "dport":
		return within(right, p.to.Number)
	case m["field"] == "protocol", m["field"] == "nexthdr":
		return truthOf(right == p.to.Proto.String() || right == float64(p.to.Proto))
	case m["field"] == "daddr":
		return nftAddress(right, p)
	}
	return some
}

// within compares a port with a number or a range.
func within(right expr, n uint16) truth {
	switch name, body := only(right); {
	case name == "range":
		if list, _ := body.([]any); len(list) == 2 {
			low, ok := list[0].(float64)
			high, ok2 := list[1].(float64)
			if ok && ok2 {
				return truthOf(low <= float64(n) && float64(n) <= high)
			}
		}
	case name == "":
		if number, ok := body.(float64); ok {
			return truthOf(number == float64(n))
		}
	}
	return some
}

func nftAddress(right expr, p packet) truth {
	name, body := only(right)
	if s, ok := right.(string); ok {
		return matchDestination(s, p)
	}
	if m, _ := body.(map[string]any); name == "prefix" {
		return matchDestination(fmt.Sprintf("%v/%v", m["addr"], m["len"]), p)
	}
	return some
}

func compareMeta(m map[string]any, right expr, p packet) truth {
	switch m["key"] {
	case "l4proto":
		return truthOf(right == p.to.Proto.String() || right == float64(p.to.Proto))
	case "nfproto":
		return truthOf(right == map[bool]string{false: "ipv4", true: "ipv6"}[p.v6])
	case "protocol":
		return truthOf(right == map[bool]string{false: "ip", true: "ip6"}[p.v6])
	case "iif", "iifname":
		if right == "lo" {
			return no
		}
	case "pkttype":
		return truthOf(right == "host")
	}
	return some
}

// holds says whether a value, an array or a set has a word.
func holds(e expr, word string) bool {
	if e == word {
		return true
	}
	if name, body := only(e); name == "set" || name == "|" {
		e = body
	}
	list, _ := e.([]any)
	return slices.ContainsFunc(list, func(v any) bool { return v == word })
}
