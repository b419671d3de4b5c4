package nftables

import (
	"fmt"
	"time"

	"tirl/internal/automaton"
)

// family is what differs between IPv4 and IPv6.
type family struct {
	digit      string // suffix of names
	nfproto    string
	addr       string // the source, as grants and restrictions see it
	place      string // key of a place
	bucketKey  string
	addrType   string // the same as types of sets
	placeType  string
	bucketType string

	// Names of sets.
	started, advanced, spent, bucket, grant, given string
}

const net64 = " & ffff:ffff:ffff:ffff::"

// families spells the keys out. The names of sets depend on the type of their
// key, so that a ruleset loaded by hand over one with other keys makes its own.
//
// The place of an IPv6 source with match_ttl is keyed by 20 bytes. nft 1.0.6
// cannot allocate registers for that in a map statement and aborts; with the
// hop limit first it would build a rule that overwrites a part of the address.
// The order here is the one that fails loudly. A /64 with a hop limit fits.
func families(g *automaton.Program) [2]family {
	v4 := family{digit: "4", nfproto: "ipv4", addr: "ip saddr", place: "ip saddr", addrType: "ip saddr"}
	v6 := family{digit: "6", nfproto: "ipv6", addr: "ip6 saddr", place: "ip6 saddr", addrType: "ip6 saddr"}
	v4.bucketKey = v4.place
	v6.bucketKey = v6.place + net64
	suffix := ""
	if g.IPv6Prefix == 64 {
		v6.addr, v6.place = "ip6 saddr"+net64, "ip6 saddr"+net64
	}
	v4.placeType, v6.placeType = "ip saddr", "ip6 saddr"
	v4.bucketType, v6.bucketType = "ip saddr", "ip6 saddr"
	if g.MatchTTL {
		suffix = "_ttl"
		v4.place, v4.bucketKey = "ip saddr . ip ttl", "ip saddr . ip ttl"
		v4.placeType, v4.bucketType = v4.place, v4.place
		v6.bucketKey += " . ip6 hoplimit"
		v6.bucketType = "ip6 saddr . ip6 hoplimit"
		v6.place, v6.placeType = "ip6 saddr . ip6 hoplimit", "ip6 saddr . ip6 hoplimit"
		if g.IPv6Prefix == 64 {
			suffix = "_ttl64"
			// The upper half of the source address, RFC 8200, section 3.
			v6.place, v6.placeType = "@nh,64,64 . ip6 hoplimit", "@nh,64,64 . ip6 hoplimit"
		}
	}
	for _, f := range []*family{&v4, &v6} {
		f.started = "started" + f.digit + suffix
		f.advanced = "advanced" + f.digit + suffix
		f.spent = "spent" + f.digit + suffix
		f.bucket = "bucket" + f.digit + suffix
		f.grant = "grant" + f.digit
		f.given = "given" + f.digit
	}
	return [2]family{v4, v6}
}

// render writes the ruleset: declare everything, empty what an older policy may
// have left in it, fill it. So the text can be loaded by hand, and twice.
func render(g *automaton.Program) string {
	w := &writer{}
	fams := families(g)
	list := sets(g, fams)
	chains := chainNames(g, fams)

	w.line("# tirl: %s of %d doors, policy %s", mode(g), len(g.Doors), g.PolicyHash)
	w.line("# Load with: nft -f FILE")
	w.line("table %s {", table)
	for _, s := range list {
		s.declare(w)
	}
	for _, c := range counters(g) {
		w.line("\tcounter %s { }", c)
	}
	for _, c := range chains {
		w.line("\tchain %s { }", c)
	}
	w.line("}")
	w.line("flush table %s", table)
	for _, s := range list {
		if !s.keeps {
			w.line("flush %s %s %s", s.kind(), table, s.name)
		}
	}
	w.line("table %s {", table)
	w.chains(g, fams)
	w.line("}")
	for _, s := range list {
		s.fill(w)
	}
	return w.String()
}

func (s set) kind() string {
	if s.isMap {
		return "map"
	}
	return "set"
}

func mode(g *automaton.Program) string {
	if g.Firewall {
		return "firewall"
	}
	return "guard"
}

// openChain names the chain that grants for one time: the timeout of an element
// is a constant of its rule.
func openChain(d time.Duration) string { return "open_" + span(d) }

// chainNames lists the chains that other chains or maps refer to.
func chainNames(g *automaton.Program, fams [2]family) []string {
	names := []string{"about", "door", "asked", "shut", "listen"}
	if hasTimed(g) {
		names = append(names, "held")
	}
	if g.Firewall {
		names = append(names, "unheard")
	}
	if dhcp(g) {
		names = append(names, "dhcp")
	}
	for _, d := range g.OpenTimes() {
		names = append(names, openChain(d))
	}
	for _, f := range fams {
		for _, c := range []string{"asked", "listen", "root", "at", "idle", "move", "start", "advance"} {
			names = append(names, c+f.digit)
		}
		if hasTimed(g) {
			names = append(names, "granted"+f.digit)
		}
		if hasOnce(g) {
			names = append(names, "let_in"+f.digit)
		}
	}
	names = append(names, oneTimeChains(g, fams)...)
	return append(append(names, eventChains(g)...), "clean")
}

func hasOnce(g *automaton.Program) bool {
	for _, c := range g.Classes {
		if c.Once {
			return true
		}
	}
	return false
}

// limit is the statement that takes a token and goes on if there was none.
func limit(g *automaton.Program, f family) string {
	return fmt.Sprintf("update @%s { %s timeout %s limit rate over %d/second burst %d packets }",
		f.bucket, f.bucketKey, span(automaton.BucketLife), g.PerSource, g.PerSource*automaton.BucketDepth)
}
