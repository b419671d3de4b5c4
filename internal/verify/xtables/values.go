package xtables

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tirl/internal/verify/ruleset"
)

// Protocols that have matches of their own.
const (
	icmp  = 1
	tcp   = 6
	udp   = 17
	icmp6 = 58
)

// protoNumber reads a protocol, with the names that iptables-save prints where
// the host has the usual /etc/protocols. 0 is all of them.
func protoNumber(name string) (uint32, bool) {
	if name != "" && '0' <= name[0] && name[0] <= '9' {
		n, err := strconv.ParseUint(name, 10, 8)
		return uint32(n), err == nil
	}
	switch strings.ToLower(name) {
	case "all":
		return 0, true
	case "icmp":
		return icmp, true
	case "igmp":
		return 2, true
	case "ipencap":
		return 4, true
	case "tcp":
		return tcp, true
	case "egp":
		return 8, true
	case "igp":
		return 9, true
	case "udp":
		return udp, true
	case "dccp":
		return 33, true
	case "ipv6":
		return 41, true
	case "rsvp":
		return 46, true
	case "gre":
		return 47, true
	case "esp", "ipv6-crypt":
		return 50, true
	case "ah", "ipv6-auth":
		return 51, true
	case "icmpv6", "ipv6-icmp":
		return icmp6, true
	case "eigrp":
		return 88, true
	case "ospf":
		return 89, true
	case "ipip":
		return 94, true
	case "etherip":
		return 97, true
	case "encap":
		return 98, true
	case "pim":
		return 103, true
	case "ipcomp":
		return 108, true
	case "vrrp":
		return 112, true
	case "l2tp":
		return 115, true
	case "sctp":
		return 132, true
	case "mh", "ipv6-mh", "mobility-header":
		return 135, true
	case "udplite":
		return 136, true
	}
	return 0, false
}

// ports reads a list of ports and of ranges with :, whose ends may be left out.
func ports(text string) ([]ruleset.Range, bool) {
	all := make([]ruleset.Range, 0, 1+strings.Count(text, ","))
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			last = first
		} else {
			if first == "" {
				first = "0"
			}
			if last == "" {
				last = "65535"
			}
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from > to {
			return nil, false
		}
		all = append(all, ruleset.Range{First: uint32(from), Last: uint32(to)})
	}
	return all, true
}

// prefix reads an address, with a length or a mask.
func prefix(text string) (netip.Prefix, bool) {
	host, mask, masked := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		return netip.Prefix{}, false
	}
	bits := addr.BitLen()
	if masked {
		n, err := strconv.ParseUint(mask, 10, 8)
		bits = int(n)
		if err != nil {
			var ok bool
			if bits, ok = maskBits(mask, addr.Is6()); !ok {
				return netip.Prefix{}, false
			}
		}
	}
	p, err := addr.Prefix(bits)
	return p, err == nil
}

// maskBits gives how many ones a mask begins with; there must be no others.
func maskBits(text string, v6 bool) (int, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Is6() != v6 {
		return 0, false
	}
	bits, ended := 0, false
	for _, b := range addr.AsSlice() {
		for i := 7; i >= 0; i-- {
			one := b>>i&1 == 1
			if one && ended {
				return 0, false
			}
			if one {
				bits++
			}
			ended = ended || !one
		}
	}
	return bits, true
}

// rate reads 20/sec. A unit may be cut short, and is a second if it is left out.
// The kernel keeps the time a packet takes: 60/min is 1/sec.
func rate(text string) (count uint32, per, unit time.Duration, ok bool) {
	number, name, named := strings.Cut(text, "/")
	if !named {
		name = "s"
	}
	name = strings.ToLower(name)
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"second", time.Second}, {"minute", time.Minute}, {"hour", time.Hour}, {"day", 24 * time.Hour}} {
		if name != "" && strings.HasPrefix(u.name, name) {
			unit = u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 || unit == 0 {
		return 0, 0, 0, false
	}
	for _, smaller := range []time.Duration{time.Second, time.Minute, time.Hour} {
		if times := uint64(unit / smaller); times > 1 && n%times == 0 {
			return uint32(n / times), smaller, unit, true
		}
	}
	return uint32(n), unit, unit, true
}

// number reads a number from 1.
func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n > 0
}

// seconds reads a time. No clock reaches as far as what does not fit.
func seconds(text string, unit time.Duration) (time.Duration, bool) {
	n, ok := number(text)
	if uint64(n) > math.MaxInt64/uint64(unit) {
		return 0, false
	}
	return time.Duration(n) * unit, ok
}

// tcpFlags reads a list of flags, as one byte of a TCP header.
func tcpFlags(text string) (uint8, bool) {
	var all uint8
	for name := range strings.SplitSeq(text, ",") {
		switch name {
		case "FIN":
			all |= 0x01
		case "SYN":
			all |= 0x02
		case "RST":
			all |= 0x04
		case "PSH":
			all |= 0x08
		case "ACK":
			all |= 0x10
		case "URG":
			all |= 0x20
		case "ALL":
			all |= 0x3f
		case "NONE":
		default:
			return 0, false
		}
	}
	return all, true
}

// icmpType reads a type of ICMP: a number, or a name that stands for all codes of
// a type. any is every type.
func icmpType(text string, v6 bool) (n uint32, any, ok bool) {
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		return uint32(n), !v6 && n == 255, true // ip_tables: 255 is any
	}
	name := strings.ToLower(text)
	if v6 {
		n, ok = icmp6Name(name)
	} else if name == "any" {
		return 0, true, true
	} else {
		n, ok = icmpName(name)
	}
	return n, false, ok
}

func icmpName(name string) (uint32, bool) {
	switch name {
	case "echo-reply", "pong":
		return 0, true
	case "destination-unreachable":
		return 3, true
	case "source-quench":
		return 4, true
	case "redirect":
		return 5, true
	case "echo-request", "ping":
		return 8, true
	case "router-advertisement":
		return 9, true
	case "router-solicitation":
		return 10, true
	case "time-exceeded", "ttl-exceeded":
		return 11, true
	case "parameter-problem":
		return 12, true
	case "timestamp-request":
		return 13, true
	case "timestamp-reply":
		return 14, true
	case "address-mask-request":
		return 17, true
	case "address-mask-reply":
		return 18, true
	}
	return 0, false
}

func icmp6Name(name string) (uint32, bool) {
	switch name {
	case "destination-unreachable":
		return 1, true
	case "packet-too-big":
		return 2, true
	case "time-exceeded", "ttl-exceeded":
		return 3, true
	case "parameter-problem":
		return 4, true
	case "echo-request", "ping":
		return 128, true
	case "echo-reply", "pong":
		return 129, true
	case "router-solicitation":
		return 133, true
	case "router-advertisement":
		return 134, true
	case "neighbour-solicitation", "neighbor-solicitation":
		return 135, true
	case "neighbour-advertisement", "neighbor-advertisement":
		return 136, true
	case "redirect":
		return 137, true
	}
	return 0, false
}
