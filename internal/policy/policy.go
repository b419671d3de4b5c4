// Package policy reads the policy file: TOML in, a typed Policy and every
// diagnostic at once out. It is pure: what must be known of the host, such as
// its listening ports, is handed in. A client's file of hosts is read in the same
// way, by ParseHosts.
package policy

import (
	"net/netip"
	"time"

	"tirl/internal/port"
)

// Mode says how much of the host's traffic a policy governs.
type Mode string

const (
	// Guard touches the doors' services only; all other traffic, and every
	// other firewall, stays as it is.
	Guard Mode = "guard"
	// Firewall is the host's whole input firewall: what nothing accepts is dropped.
	Firewall Mode = "firewall"
)

// Refuse says how a fresh packet to a closed door is turned away.
type Refuse string

const (
	// Drop answers nothing.
	Drop Refuse = "drop"
	// Reset answers as a host answers on a closed port: a TCP reset, or an ICMP
	// port unreachable.
	Reset Refuse = "reset"
)

// Duplicates says what the repetition of a knock on the way to a place does.
type Duplicates string

const (
	// IgnoreDuplicates keeps the source where it is and refreshes its time.
	IgnoreDuplicates Duplicates = "ignore"
	// ResetDuplicates treats a repetition as any other wrong packet.
	ResetDuplicates Duplicates = "reset"
)

// Events says where the kernel reports what happens at the doors.
type Events string

const (
	KernelEvents Events = "kernel" // the kernel log
	NflogEvents  Events = "nflog"  // an nflog group
	NoEvents     Events = "none"
)

// OnFailure says what becomes of the doors when the host starts and none of the
// saved rulesets can be loaded.
type OnFailure string

const (
	// CloseOnFailure shuts the doors' services to everybody but trust.
	CloseOnFailure OnFailure = "close"
	// OpenOnFailure loads nothing.
	OpenOnFailure OnFailure = "open"
)

// Names of backends as a policy gives them.
const (
	BackendAuto     = "auto"
	BackendNftables = "nftables"
	BackendIptables = "iptables"
)

// Day is the step timeout that step_timeout = "none" stands for: a place must
// end some time, or the table of places fills for ever.
const Day = 24 * time.Hour

// Policy is one policy file, with all defaults filled in.
type Policy struct {
	Version  int
	Mode     Mode
	Backend  string
	Refuse   Refuse
	Public   Public
	Trust    Trust
	Firewall FirewallOptions
	Knocking Knocking
	Log      Log
	Boot     Boot
	Doors    []Door // in the order of the file

	places *places // nil unless Parse made it
}

// Public is what everybody may reach without knocking.
type Public struct {
	Services  []port.Range
	Protocols []port.Proto // protocols without ports, firewall mode only
}

// Trust is who is always let in and never heard.
type Trust struct {
	Prefixes   []netip.Prefix // masked; a single address has its full length
	Interfaces []string
}

// FirewallOptions are the keys of [firewall].
type FirewallOptions struct {
	ICMP bool // accept ICMP and ICMPv6; neighbour discovery is always accepted
	DHCP bool // accept a DHCP client's answers, v4 and v6
}

// Knocking are the keys of [knocking].
type Knocking struct {
	StepTimeout time.Duration // Day for "none"
	Duplicates  Duplicates
	MatchTTL    bool
	IPv6Prefix  int // 128 or 64
	PerSource   int // heard packets a second; the bucket is twice as deep
	Sources     int // sources tracked at once, for each family
}

// Log are the keys of [log].
type Log struct {
	Events Events
}

// Boot are the keys of [boot].
type Boot struct {
	OnFailure OnFailure
}

// Door is one hidden group of services with its own knock sequence.
type Door struct {
	Name    string
	Opens   []port.Range
	Knocks  []port.Port    // none only if there are users
	Once    bool           // open_for = "once": the next connection, once
	OpenFor time.Duration  // 0 if Once
	From    []netip.Prefix // masked; empty: from everywhere
	Users   []User         // by name; each has values of his own that open the door once

	Credential *Credential // in a hosts file only: what this client has instead of knocks
}

// Position is a place in the policy file: line and column count from 1, the
// column in characters. The zero Position means the file as a whole.
type Position struct {
	Line, Column int
}
