// Package iptables carries an automaton with iptables and ip6tables, in the
// manner of the classic port knocking recipe: a chain for each state, a list of
// the recent match for each state, and a goto from one to the other. It drives
// iptables-restore, whichever variant (nf_tables or legacy) is installed.
//
// # Chains
//
// In firewall mode the chain TIRL hangs from INPUT of the filter table and
// accepts or drops everything. In guard mode it hangs from PREROUTING of the
// mangle table, after conntrack and before DNAT, so that ports which a container
// engine publishes are covered too; there tirl drops or returns, and never
// accepts, so that other people's rules are still traversed. Every step inside
// tirl is a goto: RETURN therefore leaves all of tirl's chains at once.
//
//	TIRL          what is never judged: loopback, trust, public services
//	TIRL_GATE     guard: packets to a door's service
//	TIRL_SERVICE  guard: those of them that are for this host
//	TIRL_RELATED  firewall: related packets
//	TIRL_HEAR     grants, the limit, and where the source stands
//	TIRL_STATEn   a source at place n; TIRL_STATE0 is the root
//	TIRL_KNOCKn   the first knock that leads to place n, from wherever
//	TIRL_LEAVE    takes a source out of all places of depth 1
//	TIRL_OPENn    the end n of a door that opens to some sources only
//	TIRL_END      how a heard packet is turned away
//	TIRL_OPENED, TIRL_ACCEPTED, TIRL_BEGUN, TIRL_LIMITED
//	              count, and tell or note, an event
//	TIRL_OWED     tells what was noted of the source of a refused packet
//	TIRL_OLD      exists while Load runs: holds the lists of the policy before
//
// # Lists
//
// Names begin with TIRL4_ or TIRL6_, since a list holds a fixed number of
// sources of both families together. KNOCKn_TAG holds the sources at place n and
// BUSY_TAG those that have a bucket; OWED_KIND_TAG and TOLD_KIND_TAG those of
// which an event is to be told, or was; TAG is the beginning of the policy's hash,
// for the numbers mean nothing in another policy. GRANT_ID holds the grants of a
// class; it outlives the policy, as long as some rule names it.
//
// # Limits of the recent match
//
// Times are whole seconds, and a list forgets its oldest source when it is full
// (ip_list_tot, net/netfilter/xt_recent.c). A source whose entry was forgotten
// is at the root, or has no bucket; what changes its place pays a token of the
// hashlimit table in any case, so that forgetting does not free it of the limit.
package iptables

import "tirl/internal/tool"

// Name is what a policy calls this backend.
const Name = "iptables"

// Backend drives iptables-restore and its kin through a runner.
type Backend struct {
	run tool.Runner
}

// New gives a backend that runs its programs with run.
func New(run tool.Runner) *Backend { return &Backend{run} }

// Name implements backend.Backend.
func (*Backend) Name() string { return Name }

// family is one of the two halves: each has its own programs, rules and lists.
type family struct {
	v6      bool
	file    string
	restore string
	save    string
	lists   string // prefix of the names of lists and hashlimit tables
	icmp    string // the protocol's name
	icmpUn  string // REJECT type for a closed UDP port
}

var families = [...]family{
	{false, "tirl.iptables", "iptables-restore", "iptables-save", "TIRL4_", "icmp", "icmp-port-unreachable"},
	{true, "tirl.ip6tables", "ip6tables-restore", "ip6tables-save", "TIRL6_", "ipv6-icmp", "icmp6-port-unreachable"},
}

// command loads a family's text from standard input in one transaction for each
// table. It waits for other users of the tools, who hold a lock only briefly.
func (f family) command() []string { return []string{f.restore, "--noflush", "-w", "10"} }
