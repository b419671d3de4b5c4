package trace

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

const (
	expectedTargets = "tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait"
	expectedWords   = "from, sport, ttl, flags, type, state, to, via, with, as, data or gap"
)

// line is a packet that is being read.
type line struct {
	step  Step
	at    map[string]token // the words that it has
	sweep bool
}

// packet reads a packet that comes at a time and gives what follows it.
func (p *parser) packet(tokens []token, at time.Duration) ([]token, *Error) {
	target := tokens[0]
	l := line{at: make(map[string]token)}
	l.step.Line = target.line
	l.step.Packet.Time = at
	if err := l.target(target); err != nil {
		return nil, err
	}
	l.step.Packet.TTL, l.step.Packet.Src = DefaultTTL, p.source
	rest := tokens[1:]
	for len(rest) > 0 {
		word := rest[0]
		read := l.word(word.text)
		if read == nil {
			break
		}
		if _, twice := l.at[word.text]; twice {
			return nil, word.errorf("%s stands here twice", word.text)
		}
		if len(rest) < 2 {
			return nil, word.after().errorf("expected something after %s", word.text)
		}
		l.at[word.text] = word
		if err := read(rest[1]); err != nil {
			return nil, err
		}
		rest = rest[2:]
	}
	l.fill()
	if err := l.check(target); err != nil {
		return nil, err
	}
	if p.packets += l.step.Len(); p.packets > MaxPackets {
		return nil, target.errorf("expected at most %d packets in a trace", MaxPackets)
	}
	if err := p.advance(target, l.step.end()); err != nil {
		return nil, err
	}
	p.source = l.step.Packet.Src
	p.trace.Steps = append(p.trace.Steps, l.step)
	return rest, nil
}

// target reads what a packet is addressed to.
func (l *line) target(t token) *Error {
	to := &l.step.Packet.To
	name, number, hasNumber := strings.Cut(t.text, "/")
	switch {
	case name == "icmp" && !hasNumber:
		to.Proto = port.ICMP
	case name == "icmpv6" && !hasNumber:
		to.Proto = port.ICMPv6
	case name == "proto" && hasNumber:
		n, ok := decimal(number, 0, 255)
		switch proto := port.Proto(n); {
		case !ok:
			return t.errorf("expected proto/N with N from 0 to 255, not %s", t)
		case proto == port.TCP || proto == port.UDP:
			return t.errorf("expected %s/PORT for protocol %d", proto, n)
		case proto == port.ICMP || proto == port.ICMPv6:
			return t.errorf("expected %s for protocol %d", proto, n)
		default:
			to.Proto = proto
		}
	case (name == "tcp" || name == "udp") && hasNumber:
		return l.ports(t, name, number)
	default:
		return t.errorf("expected %s, or a time, not %s", expectedTargets, t)
	}
	return nil
}

// ports reads a port, or the ports of a sweep in either direction.
func (l *line) ports(t token, proto, numbers string) *Error {
	low, high, sweep := strings.Cut(numbers, "-")
	first, ok := decimal(low, 1, 65535)
	last := first
	if sweep && ok {
		last, ok = decimal(high, 1, 65535)
	}
	if !ok {
		return t.errorf("expected %s/PORT or %[1]s/PORT-PORT with ports from 1 to 65535, not %s", proto, t)
	}
	l.step.Packet.To = port.Port{Proto: port.TCP, Number: uint16(first)}
	if proto == "udp" {
		l.step.Packet.To.Proto = port.UDP
	}
	l.step.Last, l.sweep = uint16(last), first != last
	return nil
}

// word gives what reads the value of a word, nil if there is no such word.
func (l *line) word(name string) func(token) *Error {
	p := &l.step.Packet
	switch name {
	case "from":
		return l.from
	case "sport":
		return number(&p.SrcPort, 1, 65535)
	case "ttl":
		return number(&p.TTL, 1, 255)
	case "type":
		return number(&p.ICMP, 0, 255)
	case "flags":
		return l.flags
	case "state":
		return choice(&p.Conn, automaton.Untracked)
	case "to":
		return choice(&p.Dest, automaton.ToElsewhere)
	case "via":
		return l.via
	case "with":
		return l.with
	case "as":
		return choice(&p.Cut, automaton.Overlapping)
	case "data":
		return l.data
	case "gap":
		return func(t token) (err *Error) {
			l.step.Gap, err = span(t, t.text)
			return err
		}
	}
	return nil
}

func (l *line) from(t token) *Error {
	a, err := netip.ParseAddr(t.text)
	if err != nil || len(t.text) > 64 {
		return t.errorf("expected an address such as 192.0.2.7 or 2001:db8::7 after from, not %s", t)
	}
	if a.Zone() != "" || a.Is4In6() {
		return t.errorf("expected the address as %s", a.WithZone("").Unmap())
	}
	l.step.Packet.Src = a
	return nil
}

func (l *line) flags(t token) *Error {
	if t.text == "none" {
		return nil
	}
	for name := range strings.SplitSeq(t.text, ",") {
		i := slices.Index(flagNames[:], name)
		if i < 0 {
			return t.errorf("expected flags such as syn or syn,ack (%s, none), not %s", strings.Join(flagNames[:], ", "), t)
		}
		l.step.Packet.Flags |= 1 << i
	}
	return nil
}

// via reads the name of an interface (dev_valid_name, net/core/dev.c).
func (l *line) via(t token) *Error {
	if len(t.text) > 15 || strings.ContainsAny(t.text, "/:") || t.text == "." || t.text == ".." || !printable(t.text) {
		return t.errorf("expected the name of an interface after via, of at most 15 characters, not %s", t)
	}
	l.step.Packet.Iface = t.text
	return nil
}

// with reads a list of headers.
func (l *line) with(t token) *Error {
	for name := range strings.SplitSeq(t.text, ",") {
		h, ok := automaton.Header(name)
		if !ok {
			return t.errorf("expected headers such as record or hop,routing (%s), not %s",
				strings.ReplaceAll((^automaton.Headers(0)).String(), ",", ", "), t)
		}
		l.step.Packet.With |= h
	}
	return nil
}

// maxData is how long a payload in a trace may be: longer than a token.
const maxData = 64

// data reads what a datagram carries, in hexadecimal.
func (l *line) data(t token) *Error {
	raw, err := hex.DecodeString(t.text)
	if err != nil || len(raw) > maxData {
		return t.errorf("expected up to %d bytes in hexadecimal after data, not %s", maxData, t)
	}
	l.step.Packet.Data = string(raw)
	return nil
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) < 0
}

// fill puts in what holds without a word for it.
func (l *line) fill() {
	p := &l.step.Packet
	if _, ok := l.at["flags"]; !ok {
		p.Flags = defaultFlags(*p)
	}
	if _, ok := l.at["type"]; !ok {
		p.ICMP = defaultType(p.To.Proto)
	}
	if _, ok := l.at["gap"]; !ok && l.sweep {
		l.step.Gap = SweepGap
	}
}

// check refuses packets that cannot be.
func (l *line) check(target token) *Error {
	p := l.step.Packet
	v4, v6 := p.Src.Is4(), p.Src.Is6()
	transport := p.To.Proto == port.TCP || p.To.Proto == port.UDP
	isICMP := p.To.Proto == port.ICMP || p.To.Proto == port.ICMPv6
	for _, rule := range []struct {
		word    string
		allowed bool
		text    string
	}{
		{"sport", transport, "only tcp and udp have ports"},
		{"flags", p.To.Proto == port.TCP, "only tcp has flags"},
		{"data", p.To.Proto == port.UDP, "only of udp it matters what it carries"},
		{"type", isICMP, "only icmp and icmpv6 have types"},
		{"gap", l.sweep, "only a sweep, such as udp/1-100, has a gap"},
		{"to", p.Dest != automaton.ToBroadcast || v4, "IPv6 has no broadcast"},
		{"with", v6 || p.With.IPv4(), "IPv4 has no extension headers"},
		{"with", v4 || p.With.IPv6(), "IPv6 has extension headers, not options"},
		{"as", v6 || p.Cut != automaton.Atomic, "an atomic fragment is one of IPv6"},
		{"as", v4 || p.Cut != automaton.Tiny || p.To.Proto != port.TCP || p.Conn == automaton.Invalid,
			"tiny fragments of TCP are invalid in IPv6 (RFC 8200, section 4.5)"},
	} {
		if word, ok := l.at[rule.word]; ok && !rule.allowed {
			return word.errorf("%s", rule.text)
		}
	}
	switch {
	case p.To.Proto == port.ICMP && p.Src.Is6():
		return target.errorf("expected icmpv6 from the IPv6 address %s", p.Src)
	case p.To.Proto == port.ICMPv6 && p.Src.Is4():
		return target.errorf("expected icmp from the IPv4 address %s", p.Src)
	}
	return nil
}

// decimal reads a number without sign or leading zero.
func decimal(s string, low, high int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && low <= n && n <= high && strconv.Itoa(n) == s
}

func number[T uint8 | uint16](to *T, low, high int) func(token) *Error {
	return func(t token) *Error {
		n, ok := decimal(t.text, low, high)
		if !ok {
			return t.errorf("expected a number from %d to %d, not %s", low, high, t)
		}
		*to = T(n)
		return nil
	}
}

// named is a list of constants from 0 on.
type named interface {
	~uint8
	String() string
}

func choice[T named](to *T, last T) func(token) *Error {
	return func(t token) *Error {
		var names []string
		for v := T(0); v <= last; v++ {
			if v.String() == t.text {
				*to = v
				return nil
			}
			names = append(names, v.String())
		}
		end := len(names) - 1
		return t.errorf("expected %s or %s, not %s", strings.Join(names[:end], ", "), names[end], t)
	}
}
