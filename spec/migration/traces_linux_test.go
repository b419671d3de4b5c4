package migration

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/knockd"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// trace is what a client does at a door, and who lets it in then, if commands and
// families allow.
type trace struct {
	name         string
	steps        func(c client, k ...port.Port) []step
	when         func(d *knockd.Door) bool // nil: at every door
	ipv6         bool
	knockd, tirl func(d *knockd.Door) bool
	why          string // of the difference; empty: there is none
}

// client is who knocks.
type client struct {
	src, other netip.Addr
	elsewhere  port.Port // the first knock of another door; the zero Port: there is none
}

func yes(*knockd.Door) bool { return true }
func no(*knockd.Door) bool  { return false }

// knock is a packet that begins something.
func knock(src netip.Addr, to port.Port) step {
	s := step{src: src, to: to}
	if to.Proto == port.TCP {
		s.flags = automaton.SYN
	}
	return s
}

func knocks(src netip.Addr, to ...port.Port) []step {
	all := make([]step, len(to))
	for i, p := range to {
		all[i] = knock(src, p)
	}
	return all
}

func after(wait time.Duration, steps []step) []step {
	for i := range steps[1:] {
		steps[i+1].wait = wait
	}
	return steps
}

func lastAfter(wait time.Duration, steps []step) []step {
	steps[len(steps)-1].wait = wait
	return steps
}

func three(d *knockd.Door) bool { return len(d.Sequence) > 2 }
func short(d *knockd.Door) bool { return d.SeqTimeout == 2*time.Second }
func tcp(d *knockd.Door) bool {
	return slices.ContainsFunc(d.Sequence, func(k knockd.Knock) bool { return k.Proto == port.TCP })
}

func ascending(d *knockd.Door) bool { return slices.IsSortedFunc(d.Ports(), byNumber) }

func byNumber(a, b port.Port) int { return int(a.Number) - int(b.Number) }

// scan is every port of the sequence, and others, upward.
func scan(k []port.Port) (all []port.Port) {
	for _, p := range k {
		all = append(all, p, port.Port{Proto: p.Proto, Number: p.Number + 300})
	}
	slices.SortStableFunc(all, byNumber)
	return slices.Compact(all)
}

// The reasons for which knockd and tirl differ. The policy that tirl import prints
// and docs/from-knockd.md say each of them.
const (
	whyOther    = "between two knocks knockd minds only ports of some door, tirl every packet of a protocol that is heard"
	whyRepeat   = "a repeated knock ends an attempt in knockd, and does nothing in tirl"
	whyHead     = "what becomes of one client's attempt ends other clients' attempts in knockd"
	whyScan     = "a scan in the order of the sequence opens knockd's door"
	whyFlags    = "with tcpflags = syn, or none, SYN and ACK is a knock in knockd; in tirl a SYN alone is"
	whyTime     = "seq_timeout is the time for the whole sequence, step_timeout that from one knock to the next"
	whyFamily   = "knockd runs the command for IPv4 with an IPv6 address, which fails"
	whyConsumed = "the packet that ends an attempt begins none in knockd, and in tirl it does"
)

var traces = []trace{
	{
		name:   "in order",
		steps:  func(c client, k ...port.Port) []step { return knocks(c.src, k...) },
		knockd: yes, tirl: yes,
	},
	{
		name: "backwards",
		steps: func(c client, k ...port.Port) []step {
			k = slices.Clone(k)
			slices.Reverse(k)
			return knocks(c.src, k...)
		},
		knockd: no, tirl: no,
	},
	{
		name:   "without the last",
		steps:  func(c client, k ...port.Port) []step { return knocks(c.src, k[:len(k)-1]...) },
		knockd: no, tirl: no,
	},
	{
		name: "another port between",
		steps: func(c client, k ...port.Port) []step {
			return knocks(c.src, slices.Insert(slices.Clone(k), 1, port.Port{Proto: k[0].Proto, Number: 60123})...)
		},
		knockd: yes, tirl: no, why: whyOther,
	},
	{
		name: "a port of the door too early, then again",
		when: three,
		steps: func(c client, k ...port.Port) []step {
			return knocks(c.src, append([]port.Port{k[0], k[len(k)-1]}, k...)...)
		},
		knockd: yes, tirl: yes,
	},
	{
		name: "each knock twice",
		steps: func(c client, k ...port.Port) (all []step) {
			for _, p := range k {
				all = append(all, knocks(c.src, p, p)...)
			}
			return all
		},
		knockd: no, tirl: yes, why: whyRepeat,
	},
	{
		name: "two knocks, then from the beginning",
		when: three,
		steps: func(c client, k ...port.Port) []step {
			return knocks(c.src, append(slices.Clone(k[:2]), k...)...)
		},
		knockd: no, tirl: yes, why: whyRepeat,
	},
	{
		name: "after the first knock of another door",
		when: three,
		steps: func(c client, k ...port.Port) []step {
			if c.elsewhere.Number == 0 {
				return nil
			}
			return knocks(c.src, append([]port.Port{c.elsewhere}, k...)...)
		},
		knockd: no, tirl: yes, why: whyConsumed,
	},
	{
		name: "another client fails in between",
		when: three,
		steps: func(c client, k ...port.Port) []step {
			last := len(k) - 1
			all := append(knocks(c.other, k[0]), knocks(c.src, k[:last]...)...)
			return append(all, knock(c.other, k[last]), knock(c.src, k[last]))
		},
		knockd: no, tirl: yes, why: whyHead,
	},
	{
		name: "another client fails in between, who began later",
		when: three,
		steps: func(c client, k ...port.Port) []step {
			last := len(k) - 1
			all := append(knocks(c.src, k[:last]...), knocks(c.other, k[0], k[last])...)
			return append(all, knock(c.src, k[last]))
		},
		knockd: yes, tirl: yes,
	},
	{
		name:   "an upward scan",
		steps:  func(c client, k ...port.Port) []step { return knocks(c.src, scan(k)...) },
		knockd: ascending, tirl: no, why: whyScan,
	},
	{
		name: "SYN and ACK",
		when: tcp,
		steps: func(c client, k ...port.Port) []step {
			all := knocks(c.src, k...)
			for i := range all {
				if all[i].flags != 0 {
					all[i].flags |= automaton.ACK
				}
			}
			return all
		},
		knockd: func(d *knockd.Door) bool { return d.Flags.Match(automaton.SYN | automaton.ACK) }, tirl: no, why: whyFlags,
	},
	{
		name:   "from an IPv6 address",
		ipv6:   true,
		steps:  func(c client, k ...port.Port) []step { return knocks(c.src, k...) },
		knockd: yes, tirl: yes, why: whyFamily,
	},
	{
		name:   "slowly, but each knock in time",
		when:   short,
		steps:  func(c client, k ...port.Port) []step { return after(1300*time.Millisecond, knocks(c.src, k...)) },
		knockd: no, tirl: yes, why: whyTime,
	},
	{
		name:   "too slowly",
		when:   short,
		steps:  func(c client, k ...port.Port) []step { return lastAfter(2200*time.Millisecond, knocks(c.src, k...)) },
		knockd: no, tirl: no,
	},
}

// runsFor says whether knockd's command opens the door for a family: iptables
// fails with an address of IPv6.
func runsFor(d *knockd.Door, ipv6 bool) bool {
	s := d.StartFor(ipv6)
	if s == nil || ipv6 && !strings.Contains(s.Text, "ip6") && !strings.Contains(s.Text, "ufw ") {
		return false
	}
	// What is tried is the service that the other family has.
	return !ipv6 || d.Start6 == nil || d.Start == nil || strings.NewReplacer("ip6tables", "iptables", "ip6 ", "ip ").Replace(s.Text) == d.Start.Text
}

func admits(d *policy.Door, ipv6 bool) bool {
	return len(d.From) == 0 || d.From[0].Addr().Is6() == ipv6
}
