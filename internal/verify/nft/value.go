package nft

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tirl/internal/verify/ruleset"
)

// valueKind is what the values of a field are.
type valueKind uint8

const (
	other valueKind = iota // nothing that is understood
	addr4
	addr6
	proto
	service
	handle // of meta priority
	family // 4 and 6
	etherType
	octet // TTL, hop limit
	icmpType
	icmpv6Type
	tcpFlag
	upper64  // the upper half of an IPv6 address, as raw payload
	connKind // bits of ruleset.Conns
	destKind // bits of ruleset.Dests
	payload  // 16 bytes, as one number; none of them is read
	ifname   // an index into the names of a list
	verdict  // of verdict maps only
	kinds    // how many there are
)

// vocabulary is how the values of one kind are written.
type vocabulary struct {
	what  string // for messages
	max   uint32
	names map[string]uint32
}

func vocabularies() [kinds]vocabulary {
	return [kinds]vocabulary{
		proto:      {"protocol", 255, protocols()},
		service:    {"service", 65535, services()},
		handle:     {"class handle", 1<<32 - 1, map[string]uint32{"none": 0, "root": 1<<32 - 1}},
		family:     {"address family", 0, families()},
		etherType:  {"protocol", 0, etherTypes()},
		octet:      {"number", 255, nil},
		icmpType:   {"ICMP type", 255, icmpTypes()},
		icmpv6Type: {"ICMPv6 type", 255, icmpv6Types()},
		tcpFlag:    {"TCP flag", 255, tcpFlags()},
		connKind: {"conntrack state", 0, map[string]uint32{
			"new": uint32(ruleset.New), "established": uint32(ruleset.Established), "related": uint32(ruleset.Related),
			"invalid": uint32(ruleset.Invalid), "untracked": uint32(ruleset.Untracked)}},
		destKind: {"address type", 0, map[string]uint32{
			"local": uint32(ruleset.Local), "broadcast": uint32(ruleset.Broadcast), "multicast": uint32(ruleset.Multicast),
			"anycast": uint32(ruleset.Anycast), "unicast": uint32(ruleset.Unicast)}},
	}
}

// words reads selectors and values. It holds their tables, which are made once
// for each text.
type words struct {
	kinds     [kinds]vocabulary
	selectors map[string]selector
	begins    map[string]bool // see matchWords
}

func newWords() *words { return &words{vocabularies(), selectors(), matchWords()} }

// value reads one value or a range of them, and appends it to dst. A range of
// addresses is appended as prefixes.
func (w *words) value(c *cursor, k valueKind, dst []ruleset.Range) []ruleset.Range {
	t := c.next()
	switch {
	case t.kind == word:
	case t.is("*"):
		c.unknown(t, "element `*`")
		return dst
	default:
		c.fail(t.errorf("%v where a value should be", t))
		return dst
	}
	if k == payload {
		if !startsDigit(t.text) {
			c.fail(t.errorf("%v is no payload", t))
		}
		return append(dst, ruleset.Range{})
	}
	if k == addr4 || k == addr6 {
		return w.addresses(c, k, t, dst)
	}
	v := &w.kinds[k]
	if v.what == "" {
		c.unknown(t, "value `%s`", t.text)
		return dst
	}
	r, ok := v.parse(k, t.text)
	if ok && c.accept("-") {
		var last ruleset.Range
		last, ok = v.parse(k, c.next().text)
		r.Last = last.Last
	}
	switch {
	case !ok && startsDigit(t.text):
		c.fail(t.errorf("`%s` is no %s", t.text, v.what))
	case !ok:
		c.unknown(t, "%s `%s`", v.what, t.text)
	case r.First > r.Last:
		c.fail(t.errorf("the range `%s` ends before it begins", t.text))
	}
	return append(dst, r)
}

func startsDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// parse reads a name, a number, or two numbers with a - between them.
func (v *vocabulary) parse(k valueKind, text string) (ruleset.Range, bool) {
	if !startsDigit(text) || k == handle {
		if n, ok := v.names[text]; ok {
			return ruleset.Range{First: n, Last: n}, true
		}
	}
	if k == handle {
		if major, minor, ok := strings.Cut(text, ":"); ok {
			hi, ok1 := parseUint(major, 16, 0xffff)
			lo, ok2 := parseUint(minor, 16, 0xffff)
			return ruleset.Range{First: hi<<16 | lo, Last: hi<<16 | lo}, ok1 && ok2
		}
	}
	if !startsDigit(text) || v.max == 0 {
		return ruleset.Range{}, false
	}
	first, last, isRange := strings.Cut(text, "-")
	lo, ok := number(first, v.max)
	if !isRange {
		return ruleset.Range{First: lo, Last: lo}, ok
	}
	hi, ok2 := number(last, v.max)
	return ruleset.Range{First: lo, Last: hi}, ok && ok2
}

// number reads a decimal or hexadecimal number. To nft a leading zero makes a
// number octal, to people it does not: it is refused.
func number(s string, limit uint32) (uint32, bool) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return parseUint(hex, 16, limit)
	}
	if len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	return parseUint(s, 10, limit)
}

// parseUint is strconv.ParseUint without signs and underscores.
func parseUint(s string, base int, limit uint32) (uint32, bool) {
	n, err := strconv.ParseUint(s, base, 32)
	return uint32(n), err == nil && n <= uint64(limit)
}

// count reads a number whose value does not matter.
func (c *cursor) count() {
	t := c.next()
	if _, err := strconv.ParseUint(t.text, 10, 64); err != nil || t.kind != word {
		c.fail(t.errorf("%v where a number should be", t))
	}
}

// addresses reads an address, a prefix or a range of addresses.
func (w *words) addresses(c *cursor, k valueKind, t token, dst []ruleset.Range) []ruleset.Range {
	first, last, isRange := strings.Cut(t.text, "-")
	if !isRange && c.accept("-") {
		last, isRange = c.next().text, true
	}
	if !isRange {
		p, ok := parsePrefix(k, t.text)
		if !ok {
			c.fail(t.errorf("`%s` is no %s address or network", t.text, ipName(k)))
		}
		return append(dst, ruleset.Range{Prefix: p})
	}
	lo, err1 := netip.ParseAddr(first)
	hi, err2 := netip.ParseAddr(last)
	if err1 != nil || err2 != nil || !isKind(k, lo) || !isKind(k, hi) || hi.Less(lo) {
		c.fail(t.errorf("`%s` is no range of %s addresses", t.text, ipName(k)))
		return dst
	}
	for _, p := range (span{lo, hi}).prefixes(nil) {
		dst = append(dst, ruleset.Range{Prefix: p})
	}
	return dst
}

func parsePrefix(k valueKind, text string) (netip.Prefix, bool) {
	if strings.IndexByte(text, '/') >= 0 {
		p, err := netip.ParsePrefix(text)
		return p.Masked(), err == nil && isKind(k, p.Addr())
	}
	a, err := netip.ParseAddr(text)
	return netip.PrefixFrom(a, a.BitLen()), err == nil && isKind(k, a)
}

func isKind(k valueKind, a netip.Addr) bool { return a.Zone() == "" && a.Is4() == (k == addr4) }

func ipName(k valueKind) string {
	if k == addr4 {
		return "IPv4"
	}
	return "IPv6"
}

// duration reads a time such as 1m30s, of nft's units.
func (c *cursor) duration() time.Duration {
	t := c.next()
	d, ok := parseDuration(t.text)
	if t.kind != word || !ok {
		c.fail(t.errorf("%v where a time such as 1m30s should be", t))
	}
	return d
}

// maxDuration is more than the kernel takes, and does not overflow.
const maxDuration = 100 * 365 * 24 * time.Hour

func parseDuration(s string) (sum time.Duration, ok bool) {
	for s != "" {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		v, ok := parseUint(s[:n], 10, 1<<32-1)
		if !ok {
			return 0, false
		}
		s = s[n:]
		unit := time.Duration(0)
		switch {
		case strings.HasPrefix(s, "ms"):
			unit, s = time.Millisecond, s[2:]
		case strings.HasPrefix(s, "s"):
			unit, s = time.Second, s[1:]
		case strings.HasPrefix(s, "m"):
			unit, s = time.Minute, s[1:]
		case strings.HasPrefix(s, "h"):
			unit, s = time.Hour, s[1:]
		case strings.HasPrefix(s, "d"):
			unit, s = 24*time.Hour, s[1:]
		default:
			return 0, false
		}
		if time.Duration(v) > (maxDuration-sum)/unit {
			return 0, false
		}
		sum += time.Duration(v) * unit
	}
	return sum, sum > 0
}
