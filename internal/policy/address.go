package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// trust reads who is always let in: addresses, networks and interfaces.
func (d *decoder) trust(_ string, e *entry) {
	t := &d.policy.Trust
	prefixes, names := map[netip.Prefix]bool{}, map[string]bool{}
	d.words(e, `["198.51.100.7", "iface:wg0"]`, func(v value) {
		name, isName := strings.CutPrefix(v.text, "iface:")
		if isName {
			if hint := interfaceHint(name); hint != "" {
				d.r.errorf(v.at, hint, "%s is no name for an interface", quote(name))
			} else if !d.again(v, names[name]) {
				names[name] = true
				t.Interfaces = append(t.Interfaces, name)
			}
			return
		}
		prefix, ok := d.prefix(v)
		if !ok || d.again(v, prefixes[prefix]) {
			return
		}
		prefixes[prefix] = true
		t.Prefixes = append(t.Prefixes, prefix)
		if prefix.Bits() == 0 {
			d.r.warnf(v.at, "name the networks that you know", "%s trusts everybody: the doors are open to all of them", prefix)
		}
	})
}

// prefixes reads whom a door opens to.
func (d *reader) prefixes(_ string, e *entry) (all []netip.Prefix, at []int) {
	seen := map[netip.Prefix]bool{}
	ok := d.words(e, `["203.0.113.0/24"]`, func(v value) {
		prefix, ok := d.prefix(v)
		if !ok || d.again(v, seen[prefix]) {
			return
		}
		seen[prefix] = true
		all, at = append(all, prefix), append(at, v.at)
	})
	if ok && len(e.value.elems) == 0 {
		d.r.errorf(e.value.at, "leave from out to open to everybody who knocks", "from is empty: the door could open to nobody")
	}
	return all, at
}

// again warns of what stands in an array a second time.
func (d *reader) again(v value, known bool) bool {
	if known {
		d.r.warnf(v.at, "leave one of them out", "%s stands here twice", quote(v.text))
	}
	return known
}

// prefix reads an address or a network. It wants it as it will be compared: no
// zone, no host bits, no IPv4 address in IPv6 clothes.
func (d *reader) prefix(v value) (netip.Prefix, bool) {
	none := netip.Prefix{}
	const longest = 64 // an IPv6 prefix with an embedded IPv4 address has 49
	text := v.text
	if len(text) > longest {
		d.r.errorf(v.at, "", "%s is neither an address nor a network", quote(text))
		return none, false
	}
	if i := strings.IndexByte(text, '%'); i >= 0 {
		rest := ""
		if slash := strings.IndexByte(text, '/'); slash > i {
			rest = text[slash:]
		}
		d.r.errorf(v.at, fmt.Sprintf("write %q", text[:i]+rest), "%s has a zone", quote(text))
		return none, false
	}
	prefix, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(text); err == nil {
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	if err != nil {
		d.r.errorf(v.at, prefixHint(text), "%s is neither an address nor a network", quote(text))
		return none, false
	}
	if prefix.Addr().Is4In6() {
		hint := ""
		if bits := prefix.Bits() - 96; bits >= 0 {
			hint = fmt.Sprintf("write %q", shortPrefix(netip.PrefixFrom(prefix.Addr().Unmap(), bits)))
		}
		d.r.errorf(v.at, hint, "%s is an IPv4 address written as an IPv6 one", quote(text))
		return none, false
	}
	if masked := prefix.Masked(); masked != prefix {
		d.r.errorf(v.at, fmt.Sprintf("write %q for the network, or %q for the one address", masked, prefix.Addr()), "%s has bits beyond its prefix", quote(text))
		return none, false
	}
	return prefix, true
}

// shortPrefix leaves out the length of a single address.
func shortPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func prefixHint(text string) string {
	if strings.HasPrefix(text, "iface:") {
		return "only trust takes interfaces"
	}
	addr, bits, ok := strings.Cut(text, "/")
	switch _, err := netip.ParseAddr(addr); {
	case err == nil && ok && strings.Contains(bits, "."):
		return "write the prefix length: \"" + addr + "/24\""
	case err == nil && ok:
		return "a prefix length is at most 32 for IPv4 and 128 for IPv6"
	case err != nil && interfaceHint(text) == "" && !strings.ContainsAny(text, ".:"):
		return "an interface is written \"iface:" + text + "\", and only trust takes it"
	}
	return "host names are not looked up: write an address such as \"198.51.100.7\" or a network such as \"2001:db8::/32\""
}

// interfaceHint is empty for a name that an interface may have and that no tool
// reads as anything else. The kernel allows more (dev_valid_name: 15 bytes, no
// slash, colon or space); nft and iptables take a quote, * or + for syntax.
func interfaceHint(name string) string {
	const hint = "1 to 15 letters, digits, and . _ - @"
	if name == "" || len(name) > 15 || name == "." || name == ".." || name[0] == '-' {
		return hint
	}
	for i := range len(name) {
		if c := name[i]; !isBare(c) && c != '.' && c != '@' {
			return hint
		}
	}
	return ""
}
