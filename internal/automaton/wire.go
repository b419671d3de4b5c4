package automaton

import "strings"

// Headers are what a packet has between its link layer and its transport header,
// as a set. Doors look through all of them, so that they make no difference.
type Headers uint8

const (
	PriorityTag  Headers = 1 << iota // IEEE 802.1Q with VLAN 0: a priority, no network
	NoOperation                      // IPv4 options: RFC 791, section 3.1
	RecordRoute                      //
	Timestamp                        //
	RouterAlert                      // RFC 2113
	HopByHop                         // IPv6 extension headers: RFC 8200, section 4
	Routing                          //
	Destinations                     //
)

var headerNames = [...]string{"priority", "nop", "record", "timestamp", "alert", "hop", "routing", "destination"}

// String lists the names of the headers.
func (h Headers) String() string {
	var names []string
	for i, name := range headerNames {
		if h&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Header gives the header of a name.
func Header(name string) (Headers, bool) {
	for i, n := range headerNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// IPv4 says whether packets of IPv4 can have all of these headers.
func (h Headers) IPv4() bool { return h&(HopByHop|Routing|Destinations) == 0 }

// IPv6 says whether packets of IPv6 can have all of these headers.
func (h Headers) IPv6() bool { return h&(NoOperation|RecordRoute|Timestamp|RouterAlert) == 0 }

// Cut is how a packet comes in fragments. Connection tracking puts them together
// before doors look at them, so that only a packet of which all have come is one.
type Cut uint8

const (
	Uncut       Cut = iota
	Fragments       // all fragments come, in order
	Reversed        // all come, the last one first
	Tiny            // all come, and the first has no more than eight bytes of the transport header
	Atomic          // the one fragment is the whole packet (RFC 6946); IPv6
	First           // only the first comes
	Later           // the first does not come
	Overlapping     // two of them differ about the same bytes
)

func (c Cut) String() string {
	return [...]string{"whole", "fragments", "reversed", "tiny", "atomic", "first", "later", "overlapping"}[c]
}

// Comes says whether the fragments make a packet.
func (c Cut) Comes() bool { return c < First }
