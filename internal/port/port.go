// Package port names what a packet is addressed to: a transport protocol and a
// destination port, or a range of them. It is the vocabulary that the policy,
// the automaton, the backends and the client share.
package port

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Proto is an IP protocol number (IANA "Assigned Internet Protocol Numbers").
type Proto uint8

// The protocols that carry knocks and services, and those that firewall mode
// has to know by name.
const (
	ICMP   Proto = 1
	TCP    Proto = 6
	UDP    Proto = 17
	ICMPv6 Proto = 58
)

// String gives the name that a policy uses: tcp, udp, or proto/N.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMP:
		return "icmp"
	case ICMPv6:
		return "icmpv6"
	}
	return "proto/" + strconv.Itoa(int(p))
}

// Port is one destination: a knock, or where a packet goes. For a protocol
// without ports Number is 0.
type Port struct {
	Proto  Proto
	Number uint16
}

// String gives the form that a policy uses, such as udp/12345. A protocol
// without ports is its name alone.
func (p Port) String() string {
	if p.Proto != TCP && p.Proto != UDP {
		return p.Proto.String()
	}
	return p.Proto.String() + "/" + strconv.Itoa(int(p.Number))
}

// Compare orders by protocol, then by number.
func (p Port) Compare(q Port) int {
	return cmp.Or(cmp.Compare(p.Proto, q.Proto), cmp.Compare(p.Number, q.Number))
}

// Parse reads a single TCP or UDP port, such as udp/12345. Only the canonical
// form is accepted: lower case, no sign, no leading zero.
func Parse(s string) (Port, error) {
	proto, rest, err := splitProto(s)
	if err != nil {
		return Port{}, err
	}
	n, err := parseNumber(rest)
	if err != nil {
		return Port{}, err
	}
	return Port{proto, n}, nil
}

// Range is the ports First to Last of one protocol, both included.
type Range struct {
	Proto       Proto
	First, Last uint16
}

// ParseRange reads tcp/22 or tcp/8000-8010.
func ParseRange(s string) (Range, error) {
	proto, rest, err := splitProto(s)
	if err != nil {
		return Range{}, err
	}
	low, high, isRange := strings.Cut(rest, "-")
	first, err := parseNumber(low)
	if err != nil {
		return Range{}, err
	}
	last := first
	if isRange {
		if last, err = parseNumber(high); err != nil {
			return Range{}, err
		}
	}
	if last < first {
		return Range{}, fmt.Errorf("the range %s ends before it begins", rest)
	}
	return Range{proto, first, last}, nil
}

// String gives the form that a policy uses, such as tcp/8000-8010.
func (r Range) String() string {
	if r.First == r.Last {
		return Port{r.Proto, r.First}.String()
	}
	return fmt.Sprintf("%s/%d-%d", r.Proto, r.First, r.Last)
}

// Contains says whether p is in the range.
func (r Range) Contains(p Port) bool {
	return r.Proto == p.Proto && r.First <= p.Number && p.Number <= r.Last
}

// Compare orders by protocol, first and last port.
func (r Range) Compare(s Range) int {
	return cmp.Or(cmp.Compare(r.Proto, s.Proto), cmp.Compare(r.First, s.First), cmp.Compare(r.Last, s.Last))
}

func splitProto(s string) (Proto, string, error) {
	name, rest, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return 0, "", fmt.Errorf("%q is not of the form tcp/PORT or udp/PORT", s)
	case name == "tcp":
		return TCP, rest, nil
	case name == "udp":
		return UDP, rest, nil
	}
	return 0, "", fmt.Errorf("the protocol %q is neither tcp nor udp", name)
}

func parseNumber(s string) (uint16, error) {
	if s == "" || strings.TrimLeft(s, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a port number", s)
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < 1 || n > math.MaxUint16 {
		return 0, fmt.Errorf("port %s is outside 1 to 65535", s)
	}
	if s[0] == '0' {
		return 0, fmt.Errorf("port %s has a leading zero", s)
	}
	return uint16(n), nil
}
