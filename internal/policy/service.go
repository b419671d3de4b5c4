package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"tirl/internal/port"
)

// words reads an array of strings and hands each to read. It says no to an
// array in which something is not a string.
func (d *reader) words(e *entry, example string, read func(v value)) bool {
	hint := ""
	if e.value.kind == unstable.String {
		hint = fmt.Sprintf("put it in brackets: [%s]", quote(e.value.text))
	}
	if !d.scalar(e, unstable.Array, "an array of strings such as "+example, hint) {
		return false
	}
	ok := true
	for _, v := range e.value.elems {
		if v.kind == unstable.String {
			read(v)
			continue
		}
		ok = false
		if v.at < 0 || d.r.isFull(Error) { // an earlier element of the kind has been reported
			continue
		}
		hint := ""
		if v.kind == unstable.Integer {
			hint = portHint(v.text)
		}
		d.wrongType(v, "an element of "+e.name, "a string", hint)
	}
	return ok
}

// maxPortText bounds what is looked at as a port; longer is no port.
const maxPortText = 64

// services reads ranges of tcp and udp ports.
func (d *reader) services(_ string, e *entry) []served {
	var all []served
	ok := d.words(e, `["tcp/22"]`, func(v value) {
		if r, ok := d.service(v); ok {
			all = append(all, served{r, v.at})
		}
	})
	if ok && len(e.value.elems) == 0 {
		d.r.errorf(e.value.at, `name a service, such as opens = ["tcp/22"]`, "%s is empty", e.name)
	}
	d.overlaps(all, d.r.errorf)
	return all
}

// service reads one range of ports.
func (d *reader) service(v value) (port.Range, bool) {
	if len(v.text) > maxPortText {
		d.r.errorf(v.at, "", "%s is not of the form tcp/PORT or udp/PORT", quote(v.text))
		return port.Range{}, false
	}
	r, err := port.ParseRange(v.text)
	if err != nil {
		d.r.errorf(v.at, portHint(v.text), "%s", err)
		return port.Range{}, false
	}
	return r, true
}

// overlaps reports each range of an array that shares a port with another one,
// except the first of them in the order of ports.
func (d *reader) overlaps(all []served, report func(offset int, hint, format string, args ...any)) {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b served) int {
		return cmp.Or(a.ports.Compare(b.ports), cmp.Compare(a.at, b.at))
	})
	for i, widest := 1, 0; i < len(sorted); i++ {
		s, w := sorted[i], sorted[widest].ports
		if s.ports.Proto == w.Proto && s.ports.First <= w.Last {
			if s.ports == w {
				report(s.at, "leave one of them out", "%s stands here twice", w)
			} else {
				report(s.at, "leave one of them out, or make one range of them", "%s overlaps %s", s.ports, w)
			}
			if s.ports.Last <= w.Last {
				continue
			}
		}
		widest = i
	}
}

// knocks reads a door's sequence. Broken says that some of it is missing.
func (d *reader) knocks(_ string, e *entry) (all []port.Port, at []int, broken bool) {
	ok := d.words(e, `["udp/40213", "udp/7719", "udp/28816"]`, func(v value) {
		if p, ok := d.knock(v); ok {
			all, at = append(all, p), append(at, v.at)
		} else {
			broken = true
		}
	})
	if !ok {
		return all, at, true
	}
	switch n := len(e.value.elems); {
	case n == 0:
		d.r.errorf(e.value.at, "three knocks to ports chosen at random are a fair start", "a door needs 1 to %d knocks, not none", MaxKnocks)
		broken = true
	case n > MaxKnocks:
		d.r.errorf(e.value.elems[MaxKnocks].at, "", "a door needs 1 to %d knocks, not %d", MaxKnocks, n)
		broken = true
	}
	return all, at, broken
}

func (d *reader) knock(v value) (port.Port, bool) {
	if len(v.text) > maxPortText {
		d.r.errorf(v.at, "", "%s is not of the form tcp/PORT or udp/PORT", quote(v.text))
		return port.Port{}, false
	}
	p, err := port.Parse(v.text)
	if err == nil {
		return p, true
	}
	if r, rangeErr := port.ParseRange(v.text); rangeErr == nil {
		d.r.errorf(v.at, "write "+strconv.Quote(port.Port{Proto: r.Proto, Number: r.First}.String()), "a knock is one port, not the range %s", r)
	} else {
		d.r.errorf(v.at, portHint(v.text), "%s", err)
	}
	return port.Port{}, false
}

// portHint turns the notations of other tools, such as 22/tcp, 22:tcp, TCP 22
// and 8000:8010/tcp, into the policy's. It is empty where it sees no port.
func portHint(s string) string {
	if len(s) > maxPortText {
		return ""
	}
	var names, numbers []string
	for _, word := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return strings.ContainsRune("/:, ", r) }) {
		if word[0] >= '0' && word[0] <= '9' {
			numbers = append(numbers, word)
		} else {
			names = append(names, word)
		}
	}
	ports := strings.Join(numbers, "-")
	if _, err := port.ParseRange("tcp/" + ports); err != nil {
		ports = ""
	}
	isName := func(s string) bool { return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" }
	isPlain := len(names) == 1 && (names[0] == "tcp" || names[0] == "udp")
	switch {
	case len(names) == 0 && ports != "":
		return fmt.Sprintf("write \"tcp/%s\" or \"udp/%s\"", ports, ports)
	case isPlain && ports != "":
		return fmt.Sprintf("write \"%s/%s\"", names[0], ports)
	case len(names) == 1 && len(numbers) < 2 && isTransport(names[0]):
		return "doors know tcp and udp only"
	case len(numbers) == 0 && len(names) > 0 && !slices.ContainsFunc(names, func(s string) bool { return !isName(s) }):
		return "services have no names here: write the port's number, such as \"tcp/22\""
	}
	return ""
}

// isTransport says whether a word is a protocol that doors do not have.
func isTransport(name string) bool {
	return protocols()[name] != 0 || strings.HasPrefix(name, "icmp") || name == "proto"
}

// protocols are the protocols without ports that public takes by name, with
// their IANA numbers. Others are proto/N.
func protocols() map[string]port.Proto {
	return map[string]port.Proto{
		"igmp": 2, "ipip": 4, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
		"ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132,
	}
}

// protocolNames are the keys of protocols in the order of the alphabet.
func protocolNames() []string {
	var names []string
	for name := range protocols() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// public reads what everybody may reach.
func (d *decoder) public(_ string, e *entry) {
	p, named := d.policy, protocols()
	seen := map[port.Proto]bool{}
	d.words(e, `["tcp/80", "udp/443"]`, func(v value) {
		proto, isProtocol := named[v.text]
		if rest, ok := strings.CutPrefix(v.text, "proto/"); ok {
			if proto, ok = d.protocolNumber(v, rest); !ok {
				return
			}
			isProtocol = true
		}
		if isProtocol {
			if seen[proto] {
				d.r.warnf(v.at, "leave one of them out", "%s stands here twice", quote(v.text))
				return
			}
			seen[proto] = true
			d.shape.protocols = append(d.shape.protocols, v)
			p.Public.Protocols = append(p.Public.Protocols, proto)
			return
		}
		switch v.text {
		case "icmp", "icmpv6", "ipv6-icmp":
			d.r.errorf(v.at, "write icmp = true in [firewall]; it is the default", "%s is not given in public", quote(v.text))
			return
		case "tcp", "udp":
			d.r.errorf(v.at, fmt.Sprintf("name the ports: \"%s/80\", or \"%s/1-65535\"", v.text, v.text), "%s has no port", quote(v.text))
			return
		}
		if name, _, ok := strings.Cut(v.text, "/"); ok && named[name] != 0 {
			d.r.errorf(v.at, "write "+strconv.Quote(name), "%s has no ports here", name)
			return
		}
		if near := nearest(v.text, protocolNames()); near != "" {
			d.r.errorf(v.at, fmt.Sprintf("did you mean %q?", near), "%s is not of the form tcp/PORT or udp/PORT", quote(v.text))
			return
		}
		if r, ok := d.service(v); ok {
			d.shape.public = append(d.shape.public, served{r, v.at})
			p.Public.Services = append(p.Public.Services, r)
		}
	})
	d.overlaps(d.shape.public, d.r.warnf)
}

// protocolNumber reads the number of proto/N.
func (d *decoder) protocolNumber(v value, text string) (port.Proto, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < 1 || n > 254 || text[0] == '0' {
		d.r.errorf(v.at, "", "%s is not of the form proto/N with N from 1 to 254", quote(v.text))
		return 0, false
	}
	switch proto := port.Proto(n); proto {
	case port.TCP, port.UDP:
		d.r.errorf(v.at, fmt.Sprintf("name the ports: \"%s/80\", or \"%s/1-65535\"", proto, proto), "%s is %s, which has ports", quote(v.text), proto)
		return 0, false
	case port.ICMP, port.ICMPv6:
		d.r.errorf(v.at, "write icmp = true in [firewall]; it is the default", "%s is %s", quote(v.text), proto)
		return 0, false
	default:
		return proto, true
	}
}
