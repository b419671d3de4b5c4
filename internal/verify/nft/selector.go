package nft

import (
	"math/bits"
	"net/netip"

	"tirl/internal/verify/ruleset"
)

const (
	icmp   = 1
	tcp    = 6
	udp    = 17
	icmpv6 = 58
)

// selector is an expression that takes something from a packet, such as ip
// saddr or th dport.
type selector struct {
	at   token
	text string
	kind valueKind // other: not understood
	// As a field of a key, and as what a match looks at.
	field  *ruleset.Field
	attr   ruleset.Attr
	isAttr bool

	family   uint8 // 4 or 6: the words imply that the packet is of this family
	protocol uint8 // not 0: that it is of this protocol
	anyPorts bool  // the words leave open whether the protocol has ports
	raw6     bool  // raw payload of an IPv6 header, whatever the packet is
}

// selectors are those that are understood.
func selectors() map[string]selector {
	source := func(f ruleset.Family, bits int) *ruleset.Field {
		return &ruleset.Field{Kind: ruleset.FieldSrc, Family: f, Bits: bits}
	}
	field := func(k ruleset.FieldKind) *ruleset.Field { return &ruleset.Field{Kind: k} }
	foreign := func(name string) *ruleset.Field { return &ruleset.Field{Kind: ruleset.FieldOther, Name: name} }
	dport, sport := field(ruleset.FieldDPort), foreign("source port")
	return map[string]selector{
		"ip saddr":    {kind: addr4, field: source(ruleset.IPv4, 32), attr: ruleset.Src, isAttr: true, family: 4},
		"ip6 saddr":   {kind: addr6, field: source(ruleset.IPv6, 128), attr: ruleset.Src, isAttr: true, family: 6},
		"ip daddr":    {kind: addr4, field: foreign("destination address"), family: 4},
		"ip6 daddr":   {kind: addr6, field: foreign("destination address"), family: 6},
		"ip protocol": {kind: proto, field: field(ruleset.FieldProto), attr: ruleset.Proto, isAttr: true, family: 4},
		"ip ttl":      {kind: octet, field: field(ruleset.FieldTTL), family: 4},
		"ip6 hoplimit": {
			kind: octet, field: field(ruleset.FieldTTL), family: 6},
		"tcp dport":      {kind: service, field: dport, attr: ruleset.DPort, isAttr: true, protocol: tcp},
		"udp dport":      {kind: service, field: dport, attr: ruleset.DPort, isAttr: true, protocol: udp},
		"th dport":       {kind: service, field: dport, attr: ruleset.DPort, isAttr: true, anyPorts: true},
		"tcp sport":      {kind: service, field: sport, attr: ruleset.SPort, isAttr: true, protocol: tcp},
		"udp sport":      {kind: service, field: sport, attr: ruleset.SPort, isAttr: true, protocol: udp},
		"th sport":       {kind: service, field: sport, attr: ruleset.SPort, isAttr: true, anyPorts: true},
		"udp length":     {kind: service, attr: ruleset.UDPLength, isAttr: true, protocol: udp},
		"tcp flags":      {kind: tcpFlag, attr: ruleset.TCPFlags, isAttr: true, protocol: tcp},
		"icmp type":      {kind: icmpType, attr: ruleset.ICMPType, isAttr: true, family: 4, protocol: icmp},
		"icmpv6 type":    {kind: icmpv6Type, attr: ruleset.ICMPType, isAttr: true, family: 6, protocol: icmpv6},
		"meta l4proto":   {kind: proto, field: field(ruleset.FieldProto), attr: ruleset.Proto, isAttr: true},
		"meta nfproto":   {kind: family, field: field(ruleset.FieldNFProto), attr: ruleset.NFProto, isAttr: true},
		"meta protocol":  {kind: etherType, field: field(ruleset.FieldNFProto), attr: ruleset.NFProto, isAttr: true},
		"meta priority":  {kind: handle, field: field(ruleset.FieldRegister), attr: ruleset.Register, isAttr: true},
		"meta iif":       {kind: ifname, attr: ruleset.Iface, isAttr: true},
		"meta iifname":   {kind: ifname, attr: ruleset.Iface, isAttr: true},
		"iif":            {kind: ifname, attr: ruleset.Iface, isAttr: true},
		"iifname":        {kind: ifname, attr: ruleset.Iface, isAttr: true},
		"ct state":       {kind: connKind, attr: ruleset.Conn, isAttr: true},
		"fib daddr type": {kind: destKind, attr: ruleset.Dest, isAttr: true},
	}
}

// matchWords are the words that a match begins with, understood or not; whether
// it is more than one word. Others begin a statement.
func matchWords() map[string]bool {
	list := map[string]bool{}
	for _, w := range []string{
		"ah", "arp", "comp", "ct", "dccp", "dst", "esp", "ether", "exthdr", "fib", "fib daddr", "frag", "hbh", "icmp",
		"icmpv6", "igmp", "ip", "ip6", "ipsec", "meta", "mh", "rt", "sctp", "socket", "tcp", "th", "tunnel", "udp",
		"udplite", "vlan",
	} {
		list[w] = true
	}
	for _, w := range []string{
		"cpu", "day", "hour", "ibrname", "iif", "iifgroup", "iifname", "iiftype", "jhash", "mark", "numgen", "obrname", "oif",
		"oifgroup", "oifname", "oiftype", "osf", "pkttype", "priority", "protocol", "rtclassid", "skgid", "skuid", "symhash",
		"time",
	} {
		list[w] = false
	}
	return list
}

// selector reads one selector. Its kind is other if it is not understood: then
// only its first words are read.
func (w *words) selector(c *cursor) selector {
	at := c.next()
	if at.is("@") {
		return w.payload(c, at)
	}
	if at.kind != word {
		c.fail(at.errorf("%v where a match should be", at))
		return selector{at: at}
	}
	text := at.text
	s, ok := w.selectors[text]
	for range 2 {
		if ok || c.peek(0).kind != word {
			break
		}
		if !w.begins[text] {
			break
		}
		text += " " + c.next().text
		s, ok = w.selectors[text]
	}
	s.at, s.text = at, text
	if ok && s.attr == ruleset.Src && s.isAttr && c.accept("&") {
		w.mask(c, &s)
	}
	return s
}

// payload reads the raw payload @nh,64,64, the upper half of an IPv6 source
// address (RFC 8200, section 3), which tirl uses where nft cannot mask it, or
// @th,64,128, the first 16 bytes behind a UDP header (RFC 768).
func (w *words) payload(c *cursor, at token) selector {
	text := "@" + c.next().text
	for c.accept(",") {
		text += "," + c.next().text
	}
	s := selector{at: at, text: text}
	switch text {
	case "@th,64,128":
		s.kind, s.field = payload, &ruleset.Field{Kind: ruleset.FieldData}
	case "@nh,64,64":
		s.kind, s.raw6 = upper64, true
		s.field = &ruleset.Field{Kind: ruleset.FieldSrc, Family: ruleset.IPv6, Bits: 64}
	}
	return s
}

// mask reads what follows ip saddr &.
func (w *words) mask(c *cursor, s *selector) {
	t := c.next()
	a, err := netip.ParseAddr(t.text)
	if err != nil || !isKind(s.kind, a) {
		c.fail(t.errorf("%v is no mask of addresses", t))
		return
	}
	n, whole := 0, true
	for _, b := range a.AsSlice() {
		ones := bits.LeadingZeros8(^b)
		if !whole && b != 0 || b<<ones != 0 {
			c.unknown(t, "mask `%s`", t.text)
			return
		}
		n += ones
		whole = whole && ones == 8
	}
	if n == 0 {
		c.unknown(t, "mask `%s`", t.text)
	}
	masked := *s.field
	masked.Bits = n
	s.field, s.isAttr = &masked, false
	s.text += " & " + t.text
}
