// Package doctor looks for what on a host defeats a policy, however well its
// rules are loaded: another firewall in the way, a port that is published around
// a door, connection tracking that is off or full, a reload that flushes
// everything. Gather collects facts and changes nothing; Judge draws conclusions
// from them alone.
//
// What it says of other firewalls is a judgement about common shapes, not a proof:
// it follows a new connection from an address, and by an interface, that no rule
// names. A rule for some addresses or interfaces only is told apart, never counted.
package doctor

import (
	"cmp"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/host"
)

// Severity says how bad a finding is.
type Severity string

const (
	// Error is a door that does not hide what it should.
	Error Severity = "error"
	// Warning is what keeps a door from opening, or from working before long.
	Warning Severity = "warning"
	// Note is good to know.
	Note Severity = "note"
)

func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Note}, s) }

// IDs of findings. They are a part of the interface.
const (
	NotLoaded      = "not-loaded"      // the kernel holds no policy
	Drifted        = "drifted"         // the rules are not what was loaded
	PolicyChanged  = "policy-changed"  // the policy is not what is loaded
	OneFamily      = "one-family"      // rules for IPv4 or IPv6 only
	Blocked        = "blocked"         // another firewall drops a door's service
	KnockBlocked   = "knock-blocked"   // another firewall drops a knock before it is heard
	SomeOnly       = "some-only"       // another firewall lets in only some
	NoListener     = "no-listener"     // nothing is behind a door
	Unguarded      = "unguarded"       // an administrator's service has no door
	OpenIPv6       = "open-ipv6"       // closed for IPv4, open for IPv6
	Published      = "published"       // a published port can be reached around a door
	Forwarded      = "forwarded"       // firewall mode does not see what is forwarded
	FlushOnReload  = "flush-on-reload" // nftables.service removes everybody's rules
	FirewalldFlush = "firewalld-flush" // firewalld's reload flushes the rules of iptables
	ConntrackOff   = "conntrack-off"   // connections are not tracked
	ConntrackFull  = "conntrack-full"  // or soon will not be
	Untracked      = "notrack"         // rules exempt a door's packets from tracking
	RecentLimit    = "recent-limit"    // xt_recent holds fewer sources than the policy wants
	ClockUnsynced  = "clock"           // the clock is not synchronised
	UserValues     = "user-values"     // a user has no one-time values, or soon has none
)

// Finding is one thing that is wrong, or may be.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	Hint     string   `json:"hint,omitempty"` // the command that mends it
}

// Subject is what a host is judged for.
type Subject struct {
	Program *automaton.Program // nil if no policy is known
	Backend string             // that holds rules; empty: nothing is loaded
	Drifted bool               // the rules are not what was loaded
	Changed bool               // Program is not what is loaded
}

// Facts are what Gather found out about a host.
type Facts struct {
	Rules       Rules
	Listeners   []host.Listening
	Connections int // TCP, with other hosts
	// Conntrack entries in use and at most; -1 if connection tracking is not there.
	Tracked, TrackedMax int
	RecentTotal         int  // xt_recent's ip_list_tot; 0 if unknown
	FlushFile           File // /etc/nftables.conf or its like, if it flushes and is loaded at boot
	Healed              bool // a timer of tirl's brings flushed rules back
	ClockKnown          bool
	ClockSynced         bool
	IPv6                bool // an interface other than lo has an IPv6 address
	Unread              []error
}

// File is a file with its text.
type File struct{ Name, Text string }

// Judge gives what is wrong, the worst first.
func Judge(s Subject, f Facts) []Finding {
	j := &judge{Subject: s, Facts: f}
	j.loaded()
	j.host()
	if s.Program != nil {
		j.firewalls()
		j.listeners()
		j.published()
		j.notrack()
	}
	slices.SortStableFunc(j.found, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	return j.found
}

// Sick says whether there is more than notes.
func Sick(found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.Severity != Note })
}

type judge struct {
	Subject
	Facts
	found []Finding
}

func (j *judge) add(id string, severity Severity, hint string, text ...string) {
	j.found = append(j.found, Finding{id, severity, strings.Join(text, ""), hint})
}
