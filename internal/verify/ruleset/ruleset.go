// Package ruleset is a netfilter ruleset as the verifier understands it: what
// nftables and iptables have in common, with one meaning for each kind of
// statement. Parsers of both turn text into it, and refuse by name whatever it
// cannot say. It is pure.
//
// A packet visits the base chains of its family in order of stage and priority.
// A chain is a list of rules, a rule a list of statements that are carried out
// from left to right: a match that does not hold ends the rule, a verdict
// ends it too.
package ruleset

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Ruleset is a whole ruleset. Indexes into Sets and Chains name sets and chains.
type Ruleset struct {
	Sets   []Set
	Chains []Chain
	Hooks  []Hook // in the order in which a packet meets them
}

// Join makes one ruleset of those of two families.
func Join(a, b *Ruleset) *Ruleset {
	sets, chains := len(a.Sets), len(a.Chains)
	out := &Ruleset{
		Sets:   append(slices.Clone(a.Sets), b.Sets...),
		Chains: slices.Clone(a.Chains),
		Hooks:  slices.Clone(a.Hooks),
	}
	for i := range b.Sets {
		s := &out.Sets[sets+i]
		s.Elements = slices.Clone(s.Elements)
		for j := range s.Elements {
			if e := &s.Elements[j]; e.Then == Jump || e.Then == Goto {
				e.Chain += chains
			}
		}
	}
	for _, c := range b.Chains {
		rules := make([]Rule, len(c.Rules))
		for i, r := range c.Rules {
			rules[i] = Rule{Line: r.Line, Text: r.Text}
			for _, st := range r.Statements {
				rules[i].Statements = append(rules[i].Statements, shifted(st, sets, chains))
			}
		}
		out.Chains = append(out.Chains, Chain{Name: c.Name, Rules: rules})
	}
	for _, h := range b.Hooks {
		h.Chain += chains
		out.Hooks = append(out.Hooks, h)
	}
	return out
}

// shifted is a statement whose sets and chains have other indexes.
func shifted(st Statement, sets, chains int) Statement {
	switch st := st.(type) {
	case Lookup:
		st.Set += sets
		return st
	case Load:
		st.Set += sets
		return st
	case Write:
		st.Set += sets
		return st
	case VerdictMap:
		st.Set += sets
		return st
	case Do:
		if st.Verdict == Jump || st.Verdict == Goto {
			st.Chain += chains
		}
		return st
	}
	return st
}

// Family is a set of address families.
type Family uint8

// The two families, and both (table inet).
const (
	IPv4 Family = 1 << iota
	IPv6
	Both = IPv4 | IPv6
)

// Stage is where in its way through the kernel a packet meets a base chain.
// Others than these see no packet on its way in, and are left out.
type Stage uint8

// A packet that is routed on to another host meets Prerouting only.
const (
	Prerouting Stage = iota
	Input
)

// Hook is a base chain.
type Hook struct {
	Chain    int
	Families Family
	Stage    Stage
	Policy   Verdict // Accept or Drop, at the chain's end
}

// Chain is a named list of rules.
type Chain struct {
	Name  string
	Rules []Rule
}

// Rule is one line of a ruleset.
type Rule struct {
	Line       int    // in the text that it was parsed from, from 1
	Text       string // as written there
	Statements []Statement
}

// Set is a set, a map, or a list of the recent match.
type Set struct {
	Name string
	Line int
	// Dynamic sets are changed by packets; what they hold at the start is not
	// looked at. The elements of other sets are as in Elements.
	Dynamic  bool
	Elements []Element
	// Limited: elements hold a limit that a look-up carries out too.
	Limited bool
	// Drained: packets only take elements out.
	Drained bool
}

// Element is one element of a set that packets do not change. Each field of its
// key is a range of numbers or a prefix.
type Element struct {
	Key   []Range
	Value uint32  // of a map to meta priority
	Then  Verdict // of a verdict map
	Chain int     // that Then jumps or goes to
}

// Range is one field of an element's key, or of what a match compares with:
// Prefix if it is valid, else the numbers from First to Last.
type Range struct {
	First, Last uint32
	Prefix      netip.Prefix
}

// Statement is one of the types below that have a method of this name.
type Statement interface{ statement() }

// Attr is what a Match looks at.
type Attr uint8

// Attributes of packets. DPort and SPort are those of TCP and UDP: a parser puts
// a match of Proto in front of them, as the words of a ruleset imply it.
const (
	NFProto   Attr = iota // Ranges of 4 and 6
	Iface                 // Names: the device that the packet came in by
	Src                   // Prefixes
	Conn                  // Conns
	Dest                  // Dests
	Proto                 // Ranges
	DPort                 // Ranges
	SPort                 // Ranges
	TCPFlags              // flags & Mask == Value; Proto is TCP
	ICMPType              // Ranges; Proto is ICMP or ICMPv6
	Register              // Ranges: the number in meta priority
	UDPLength             // Ranges: what the header says; Proto is UDP
)

// Match holds if the attribute is one of those named, or with Not if it is none
// of them.
type Match struct {
	Attr     Attr
	Not      bool
	Ranges   []Range
	Prefixes []netip.Prefix
	Names    []string // a trailing * stands for any rest
	Conns    Conns
	Dests    Dests
	Mask     uint8
	Value    uint8
}

// Conns is a set of states of connection tracking.
type Conns uint8

// States, as in the ctstate match of iptables-extensions(8).
const (
	New Conns = 1 << iota
	Established
	Related
	Invalid
	Untracked
)

// Dests is a set of types of the destination address, as the host's routing
// sees it (fib daddr type, the addrtype match).
type Dests uint8

// Unicast stands for every address that is none of the others: of another host.
const (
	Local Dests = 1 << iota
	Broadcast
	Multicast
	Anycast
	Unicast
)

// FieldKind is what a field of a key is taken from.
type FieldKind uint8

// Kinds of fields.
const (
	FieldSrc      FieldKind = iota // the source address, its first Bits bits
	FieldTTL                       // TTL or hop limit
	FieldProto                     // the transport protocol
	FieldDPort                     // the destination port
	FieldRegister                  // meta priority
	FieldNFProto                   // 4 or 6
	FieldConst                     // Const
	FieldData                      // the 16 bytes behind a header of 8 bytes
	FieldOther                     // anything else that differs from packet to packet: Name says what
)

// Field is one field of a key.
type Field struct {
	Kind   FieldKind
	Family Family // FieldSrc: the family whose address it is; a packet of the other ends the rule
	Bits   int    // FieldSrc: 32 or 128 for the whole address
	Const  uint32
	Name   string
}

// Lookup holds if the set has an element for the key, or with Not if it has
// none. In a dynamic set the element must be alive.
type Lookup struct {
	Set int
	Key []Field
	Not bool
	// Within is for lists of the recent match: the last mark must be younger. 0:
	// any age will do.
	Within time.Duration
	// Hits is how many marks must be that young; 0 and 1 are the same.
	Hits int
	// Touch sets the time anew if the lookup finds the element (recent --update).
	Touch bool
	// SameTTL is recent --rttl: the last mark must have had the packet's TTL.
	SameTTL bool
}

// Load puts the value of a map into the register, or ends the rule.
type Load struct {
	Set int
	Key []Field
}

// SetRegister puts a number into the register.
type SetRegister struct{ Value uint32 }

// WriteOp is how a Write changes a set.
type WriteOp uint8

const (
	// Add puts an element in; one that is there stays as it is.
	Add WriteOp = iota
	// Update puts an element in, or sets the time of one that is there anew. Its
	// value stays (net/netfilter/nft_dynset.c, nft_dynset_eval).
	Update
	// Delete takes an element out, and always goes on to the next statement.
	Delete
	// Mark puts an element in or sets its time anew, and always holds
	// (recent --set).
	Mark
	// Remove takes an element out, and holds if there was one, alive or not
	// (recent --remove).
	Remove
)

// Write changes a dynamic set.
type Write struct {
	Op      WriteOp
	Set     int
	Key     []Field
	Value   *Field        // of a map: the register or a constant
	Timeout time.Duration // 0: the element stays until it is taken out
	Not     bool          // Remove: holds if there was none
	// Limit is a bucket in the element. The statement then holds only if the limit
	// does.
	Limit *Limit
}

// Limit is a token bucket. Burst is its depth in packets.
type Limit struct {
	Count uint32
	Per   time.Duration
	Burst uint32
	Over  bool // holds if the bucket is empty; else if it is not
}

// HashLimit is the hashlimit match: a bucket for each key, which is forgotten after
// Expire.
type HashLimit struct {
	Name   string // matches of one name share their buckets
	Key    []Field
	Limit  Limit
	Expire time.Duration
}

// GlobalLimit is a bucket that all packets share. Nothing but logging may
// depend on it.
type GlobalLimit struct{ Limit Limit }

// Verdict ends a rule.
type Verdict uint8

const (
	// Accept ends the way through this base chain: the packet goes on.
	Accept Verdict = iota
	// Drop ends the packet.
	Drop
	// RejectReset ends a TCP packet with a reset.
	RejectReset
	// RejectPort ends a packet with ICMP port unreachable.
	RejectPort
	// RejectOther ends a packet with any other answer.
	RejectOther
	// Return goes back to the rule after the jump that led here, or to the policy.
	Return
	// Jump goes to a chain, and comes back at its end.
	Jump
	// Goto goes to a chain whose end is the end of the one with the goto.
	Goto
)

// Do is a verdict as a statement.
type Do struct {
	Verdict Verdict
	Chain   int // of Jump and Goto
}

// VerdictMap looks up a verdict; what it does not find goes on.
type VerdictMap struct {
	Set int
	Key []Field
}

// Note is a statement that changes neither the packet's way nor any set: a
// counter, a log line, a comment.
type Note struct{ Text string }

func (Match) statement()       {}
func (Lookup) statement()      {}
func (Load) statement()        {}
func (SetRegister) statement() {}
func (Write) statement()       {}
func (HashLimit) statement()   {}
func (GlobalLimit) statement() {}
func (Do) statement()          {}
func (VerdictMap) statement()  {}
func (Note) statement()        {}

// UnknownError names what a parser, or the verifier, does not understand. Nothing is proved
// of a ruleset with such a thing in it.
type UnknownError struct {
	Line int    // 0: it is not about one line
	What string // such as "match `hashlimit`"
}

func (e *UnknownError) Error() string {
	if e.Line == 0 {
		return e.What
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.What)
}
