// Package automaton holds the meaning of a policy: the trie of all doors'
// sequences, the table that backends carry into a kernel, and the reference
// interpreter that every backend must agree with. It is pure.
package automaton

import (
	"fmt"
	"net/netip"
	"time"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// State numbers a place: how far a source has come. Numbers mean something only
// within one Program.
type State uint32

// Root is the place of every source that has no progress.
const Root State = 0

// maxStates keeps state numbers below the class numbers, which share a register
// with them in some backends.
const maxStates = 1 << 30

// BucketLife is how long a source must be silent for its bucket to be forgotten.
// A bucket is BucketDepth seconds deep, so that a forgotten bucket and a full
// one are the same thing.
const (
	BucketLife  = 2 * time.Second
	BucketDepth = 2
)

// Place is one node of the trie.
type Place struct {
	Parent State
	Knock  port.Port // the step that leads here from Parent
	Depth  int       // knocks done; 0 at the root
	Door   int       // index of the door that ends here, -1 for none
}

// Door is one sequence and what its end opens. A door of users only has no knocks:
// no edge leads to its end.
type Door struct {
	Name   string
	Knocks []port.Port
	From   []netip.Prefix // whom it opens to; empty: everybody
	Class  int            // index into Program.Classes
	End    State
}

// Class is what doors with equal services and equal time have in common. A timed
// grant is for a source and a class.
type Class struct {
	// ID has the top bit set and depends on the services and the time alone, so
	// that a grant keeps its meaning when the policy around it changes.
	ID       uint32
	Services []port.Range // sorted, not overlapping
	Once     bool
	OpenFor  time.Duration // 0 if Once
}

// Program is a compiled policy. It is not changed after Compile.
type Program struct {
	PolicyHash string // policy.Policy.Hash

	Firewall bool // false: guard
	Reset    bool // answer a refused packet as a closed port does
	ICMP     bool // firewall: ICMP is public
	DHCP     bool // firewall: a DHCP client's answers are public
	Public   []port.Range
	Protos   []port.Proto // firewall: public protocols without ports
	Trust    []netip.Prefix
	Ifaces   []string // trusted interfaces

	StepTimeout time.Duration
	Stay        bool // a repeated knock stays where it is
	MatchTTL    bool
	IPv6Prefix  int // 128 or 64
	PerSource   int // tokens a second
	Sources     int
	Events      policy.Events

	Doors   []Door
	Users   []User // in the order of the doors, then of their names
	Classes []Class
	Places  []Place // indexed by State; Places[Root] has no parent

	children map[edge]State
	parents  map[State]bool
	heard    map[port.Proto]bool
	apart    int // places that no edge leads to
}

type edge struct {
	from State
	on   port.Port
}

// Compile turns a policy into its automaton. The policy must have been accepted
// by policy.Parse; what that refuses is refused here too, in fewer words,
// because an automaton of it would open more than it says.
func Compile(p *policy.Policy) (*Program, error) {
	g := &Program{
		PolicyHash:  p.Hash(),
		Firewall:    p.Mode == policy.Firewall,
		Reset:       p.Refuse == policy.Reset,
		ICMP:        p.Firewall.ICMP,
		DHCP:        p.Firewall.DHCP,
		Public:      mergeRanges(p.Public.Services),
		Protos:      p.Public.Protocols,
		Trust:       p.Trust.Prefixes,
		Ifaces:      p.Trust.Interfaces,
		StepTimeout: p.Knocking.StepTimeout,
		Stay:        p.Knocking.Duplicates == policy.IgnoreDuplicates,
		MatchTTL:    p.Knocking.MatchTTL,
		IPv6Prefix:  p.Knocking.IPv6Prefix,
		PerSource:   p.Knocking.PerSource,
		Sources:     p.Knocking.Sources,
		Events:      p.Log.Events,
		Places:      []Place{{Door: -1}},
		children:    make(map[edge]State),
		parents:     make(map[State]bool),
		heard:       make(map[port.Proto]bool),
	}
	classes := newClassTable()
	for _, d := range p.Doors {
		class := classes.of(d)
		end, err := g.grow(d.Knocks, len(g.Doors))
		if len(d.Knocks) == 0 && len(d.Users) > 0 {
			end, err = g.detached(len(g.Doors))
		}
		if err != nil {
			return nil, fmt.Errorf("compile door %s: %w", d.Name, err)
		}
		g.Doors = append(g.Doors, Door{Name: d.Name, Knocks: d.Knocks, From: d.From, Class: class, End: end})
	}
	g.Classes = classes.list
	if err := g.admit(p); err != nil {
		return nil, err
	}
	return g, nil
}

// grow adds one door's sequence to the trie and gives the place of its end.
func (g *Program) grow(knocks []port.Port, door int) (State, error) {
	if len(knocks) == 0 {
		return Root, fmt.Errorf("it has no knocks")
	}
	at := Root
	for _, k := range knocks {
		if d := g.Places[at].Door; d >= 0 {
			return Root, fmt.Errorf("door %s ends on the way", g.Doors[d].Name)
		}
		next, ok := g.children[edge{at, k}]
		if !ok {
			if len(g.Places) >= maxStates {
				return Root, fmt.Errorf("more than %d places", maxStates)
			}
			next = State(len(g.Places))
			g.Places = append(g.Places, Place{Parent: at, Knock: k, Depth: g.Places[at].Depth + 1, Door: -1})
			g.children[edge{at, k}] = next
			g.parents[at] = true
			g.heard[k.Proto] = true
		}
		at = next
	}
	if d := g.Places[at].Door; d >= 0 {
		return Root, fmt.Errorf("door %s has the same sequence", g.Doors[d].Name)
	}
	if g.parents[at] {
		return Root, fmt.Errorf("its sequence is the beginning of another door's")
	}
	g.Places[at].Door = door
	return at, nil
}

// Child gives the place that knock k leads to from place s.
func (g *Program) Child(s State, k port.Port) (State, bool) {
	next, ok := g.children[edge{s, k}]
	return next, ok
}

// Heard says whether some knock uses the protocol.
func (g *Program) Heard(p port.Proto) bool { return g.heard[p] }

// DoorAt gives the door that ends at place s, or nil.
func (g *Program) DoorAt(s State) *Door {
	if int(s) >= len(g.Places) {
		return nil
	}
	if d := g.Places[s].Door; d >= 0 {
		return &g.Doors[d]
	}
	return nil
}

// Way lists the knocks that lead from the root to s. To the places of users WayOf
// knows it.
func (g *Program) Way(s State) []port.Port {
	if int(s) >= len(g.Places) {
		return nil
	}
	way := make([]port.Port, g.Places[s].Depth)
	for ; s != Root; s = g.Places[s].Parent {
		way[g.Places[s].Depth-1] = g.Places[s].Knock
	}
	return way
}

// Source gives what counts as one source for an address: itself, or its network
// of IPv6Prefix bits.
func (g *Program) Source(a netip.Addr) netip.Addr {
	if a.Is6() && g.IPv6Prefix < 128 {
		return mask(a, g.IPv6Prefix)
	}
	return a
}

func mask(a netip.Addr, bits int) netip.Addr {
	return netip.PrefixFrom(a, bits).Masked().Addr()
}

// LeadsTo says whether place s is on the way to a door's end, or is its end.
func (g *Program) LeadsTo(s State, door int) bool {
	if int(s) >= len(g.Places) || s == Root {
		return false
	}
	for at := g.Doors[door].End; at != Root; at = g.Places[at].Parent {
		if at == s {
			return true
		}
	}
	return false
}
