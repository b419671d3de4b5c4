// Package recipe finds out what a ruleset of port knocking does: its doors, their
// knocks and times, and what it lets in without a knock. It goes by no names and by no
// shape of rules. It sends packets at the ruleset, in verify's simulator, and looks
// which of them get in and after which others. Ports between which no rule tells a
// difference are tried as one.
//
// What it finds is what the ruleset does with these packets, not all that it does: hold
// the policy that comes of it against the ruleset (package verify). It is pure.
package recipe

import (
	"net/netip"
	"slices"
	"time"

	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// Forever is a time that does not end.
const Forever time.Duration = -1

// Recipe is what a ruleset does in one family.
type Recipe struct {
	Family   ruleset.Family
	Firewall bool         // what nothing lets in is refused
	Answers  bool         // refuses with an answer
	Open     []port.Range // what is let in without a knock
	Public   []port.Range // Open in a firewall; else what of it does not put a source back
	Protos   []port.Proto // without ports, that are let in
	ICMP     bool
	DHCP     bool
	MatchTTL bool
	Trust    []netip.Prefix // everything is let in
	Ifaces   []string       // everything is let in
	Partly   []string       // sources and interfaces from which something more is let in
	Doors    []Door
	Idle     []Idle
	Cut      bool // not all was tried that could have been
}

// Door is a sequence that opens something.
type Door struct {
	Knocks []port.Port
	Ranges []port.Range // of ports that count as each of the knocks
	Opens  []port.Range
	Line   int   // of the rule that lets in; 0: the policy of a chain
	Lines  []int // of the rules that ended the way of each knock
	From   []netip.Prefix
	Iface  string // by which knocks have to come in; empty: any
	// Once: one connection ends it.
	Once bool
	// Steps is how long each knock but the last is good for, OpenFor the last.
	Steps   []time.Duration
	OpenFor time.Duration
	Slides  bool         // a connection opens it for as long again
	Stays   bool         // a repeated knock does no harm
	Wrong   bool         // a wrong packet between two knocks ends the attempt
	Guards  []port.Range // that put a source back where other ports do not
	Counts  bool         // some knock has to come several times, as a rule counts them
}

// Options bound the search.
type Options struct {
	// Packets is how many to send in search of doors. 0: 300,000.
	Packets int
}

const defaultPackets = 300_000

// maxKnocks is how long sequences may be: a little more than a policy takes.
const maxKnocks = 18

// Find tries a ruleset in one family.
func Find(rs *ruleset.Ruleset, family ruleset.Family, o Options) (*Recipe, error) {
	if o.Packets == 0 {
		o.Packets = defaultPackets
	}
	t := newTrial(rs, family, o.Packets)
	r := &Recipe{Family: family, MatchTTL: t.sameTTL}
	var usual *view
	for _, v := range t.views {
		if err := t.look(v); err != nil {
			return nil, err
		}
		if v.prefix.IsValid() || len(v.doors) == 0 && usual != nil {
			continue
		}
		if usual == nil || len(usual.doors) == 0 {
			usual = v
		}
	}
	r.describe(t, usual)
	for _, v := range t.views {
		r.compare(t, usual, v)
	}
	if r.Cut = t.cut || t.left <= 0; !r.Cut {
		r.Idle = t.idle()
	}
	return r, t.bad
}

// Refused says whether some of a range's ports are let in after a knock only, or never.
func (r *Recipe) Refused(ports port.Range) bool { return !covered([]port.Range{ports}, r.Open) }

// describe takes over what holds for a client that no rule knows.
func (r *Recipe) describe(t *trial, v *view) {
	r.Firewall, r.ICMP, r.DHCP, r.Protos, r.Open = v.firewall, v.icmp, v.dhcp, v.protos, v.open
	for _, d := range v.doors {
		d.Iface = v.iface
		for a, atom := range t.ports {
			r.Answers = r.Answers || v.answered[a] && covered([]port.Range{atom}, d.Opens)
		}
		r.Doors = append(r.Doors, d)
	}
	if v.firewall {
		r.Public = v.open
		return
	}
	for _, p := range t.harmless(v) {
		r.Public = merge(append(r.Public, p))
	}
}

// compare adds what is otherwise for a source or an interface that rules name.
func (r *Recipe) compare(t *trial, usual, v *view) {
	if v == usual {
		return
	}
	name := v.iface
	if v.prefix.IsValid() {
		name = v.prefix.String()
		if v.iface != usual.iface {
			return
		}
	}
	switch {
	case v.all && !usual.all:
		if v.prefix.IsValid() {
			r.Trust = append(r.Trust, v.prefix)
		} else if v.iface != "" {
			r.Ifaces = append(r.Ifaces, v.iface)
		}
		return
	case v.prefix.IsValid() && !covered(v.open, usual.open):
		r.Partly = append(r.Partly, name)
	}
	if !v.prefix.IsValid() {
		return
	}
	for _, d := range v.doors {
		if i := slices.IndexFunc(r.Doors, d.Same); i < 0 {
			d.From, d.Iface = []netip.Prefix{v.prefix}, usual.iface
			r.Doors = append(r.Doors, d)
		} else if len(r.Doors[i].From) > 0 {
			r.Doors[i].From = append(r.Doors[i].From, v.prefix)
		}
	}
}
