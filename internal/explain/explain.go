// Package explain tells what a policy makes of a list of packets, step by step,
// as a person would. It asks the reference interpreter and is pure.
package explain

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/sample"
	"tirl/internal/trace"
)

// Story is what became of the packets of a trace.
type Story struct {
	Steps   []Step   `json:"steps"`
	Sources []Source `json:"sources"` // in the order of their first packets, at the end
	End     float64  `json:"end"`     // of the trace, in seconds since its start

	end time.Duration
}

// Step is one packet, or a run of packets of a sweep with the same outcome.
type Step struct {
	Time    float64  `json:"time"`              // of the first packet, in seconds since the start
	Packet  string   `json:"packet"`            // a line of a trace, without a time
	Source  string   `json:"source"`            // an address, or a network with ipv6_prefix = 64
	Count   int      `json:"count"`             // packets
	Limited int      `json:"limited,omitempty"` // of them, not heard because the bucket was empty
	Verdict string   `json:"verdict"`           // accept, drop or reset
	Reason  string   `json:"reason"`
	Text    string   `json:"text"`             // the reason in words
	Before  *Place   `json:"before,omitempty"` // nil: at the start
	After   *Place   `json:"after,omitempty"`
	Door    string   `json:"door,omitempty"` // that opened, let in, or refused the source
	Open    []string `json:"open,omitempty"` // services that are open to the source after it

	gap time.Duration // since the packet before
}

// Place is how far a source has come.
type Place struct {
	Knocks []string `json:"knocks"`         // done
	Doors  []string `json:"doors"`          // that these knocks begin
	User   string   `json:"user,omitempty"` // whose they are
	Text   string   `json:"text"`
	Left   float64  `json:"left,omitempty"` // seconds; in a Source, and only if there is a limit
}

// Source is where a source stands in the end.
type Source struct {
	Source string  `json:"source"`
	TTL    uint8   `json:"ttl,omitempty"` // with match_ttl
	Place  *Place  `json:"place,omitempty"`
	Grants []Grant `json:"grants,omitempty"`
	Text   string  `json:"text"`
}

// Grant is a door that is open to a source.
type Grant struct {
	Door     string   `json:"door"` // the last one that was knocked at
	Services []string `json:"services"`
	Left     float64  `json:"left"` // seconds
}

// Run sends a trace through the reference interpreter.
func Run(g *automaton.Program, t *trace.Trace) *Story {
	n := newNarrator(g)
	for _, s := range t.Steps {
		n.step(s)
	}
	n.in.Advance(t.End)
	story := &Story{Steps: n.steps, End: seconds(t.End), end: t.End}
	for _, who := range n.order {
		story.Sources = append(story.Sources, n.source(who, t.End))
	}
	return story
}

// narrator follows the interpreter and remembers what that forgets.
type narrator struct {
	g     *automaton.Program
	in    *automaton.Interpreter
	names *names
	steps []Step
	order []who
	known map[who]*memory
	opens map[netip.Addr]map[int]opening // by class, the last ones
	clock time.Duration                  // of the packet before
}

// who is what has a place.
type who struct {
	addr netip.Addr
	ttl  uint8 // 0 unless the program matches it
}

// memory is what is known of a source from its packets so far.
type memory struct {
	place []port.Port
	ends  time.Duration
}

// opening is a grant as it was given.
type opening struct {
	door int
	ends time.Duration
}

// newNarrator gives every user the values of the sample, since no policy has real ones.
func newNarrator(g *automaton.Program) *narrator {
	n := &narrator{
		g: g, in: automaton.NewInterpreter(g), names: newNames(g),
		known: make(map[who]*memory), opens: make(map[netip.Addr]map[int]opening), clock: -trace.Gap,
	}
	for _, v := range sample.Values(g, sample.Live) {
		n.in.Load(v)
	}
	return n
}

func (n *narrator) who(p automaton.Packet) who {
	w := who{addr: n.g.Source(p.Src)}
	if n.g.MatchTTL {
		w.ttl = p.TTL
	}
	return w
}

// step sends the packets of one line. Those of a sweep that come one after the
// other to the same end make one step.
func (n *narrator) step(s trace.Step) {
	var run *event
	for p := range s.Packets() {
		e := n.packet(p)
		if run != nil && run.join(e) {
			continue
		}
		if run != nil {
			n.tell(s, run)
		}
		run = e
	}
	n.tell(s, run)
}

// event is what became of a packet, and of those like it that followed.
type event struct {
	automaton.Outcome
	packet  automaton.Packet
	last    uint16 // port of the last packet
	count   int
	limited int // of them, with an empty bucket
	gap     time.Duration
	text    string
	open    []int
}

// join takes in the next packet of a sweep, if that had the same outcome as
// those before, and none that changed anything. At the start it makes no
// difference whether a packet was heard.
func (e *event) join(o *event) bool {
	idle := func(r automaton.Reason) bool { return r == automaton.Nothing || r == automaton.Limited }
	same := e.Reason == o.Reason || len(e.After) == 0 && idle(e.Reason) && idle(o.Reason)
	if !same || e.Verdict != o.Verdict || e.Service != o.Service || !e.changesNothing() || !o.changesNothing() ||
		!slices.Equal(e.After, o.After) || !slices.Equal(e.open, o.open) {
		return false
	}
	if e.Reason == automaton.Limited {
		e.Reason, e.text = o.Reason, o.text
	}
	e.last, e.count, e.limited = o.packet.To.Number, e.count+1, e.limited+o.limited
	return true
}

func (e *event) changesNothing() bool {
	return e.Reason != automaton.Opened && e.Reason != automaton.Redeemed && slices.Equal(e.Before, e.After)
}

// packet sends one packet and puts its outcome into words.
func (n *narrator) packet(p automaton.Packet) *event {
	w := n.who(p)
	m := n.known[w]
	if m == nil {
		m = &memory{}
		n.known[w] = m
		n.order = append(n.order, w)
	}
	e := &event{Outcome: n.in.Packet(p), packet: p, last: p.To.Number, count: 1, gap: p.Time - n.clock}
	n.clock = p.Time
	if e.Reason == automaton.Limited {
		e.limited = 1
	}
	e.text = n.sentence(e, m)
	if opens := e.Reason == automaton.Opened || e.Reason == automaton.Redeemed; opens && !n.g.Classes[n.door(e).Class].Once {
		class := n.g.Doors[e.Door].Class
		n.granted(w.addr, class, opening{e.Door, n.in.GrantEnds(p.Src, class)})
	}
	if counts(e.Reason) || e.Reason == automaton.Limited {
		m.place, m.ends = e.After, n.in.PlaceEnds(p.Src, p.TTL)
	}
	e.open = n.in.Grants(p.Src)
	return e
}

// granted remembers a grant.
func (n *narrator) granted(addr netip.Addr, class int, o opening) {
	if n.opens[addr] == nil {
		n.opens[addr] = make(map[int]opening)
	}
	n.opens[addr][class] = o
}

// counts says whether a packet was heard.
func counts(r automaton.Reason) bool {
	switch r {
	case automaton.LetIn, automaton.Knocked, automaton.Restarted, automaton.Repeated, automaton.Lost,
		automaton.Nothing, automaton.Opened, automaton.Excluded, automaton.Redeemed:
		return true
	}
	return false
}

func (n *narrator) tell(s trace.Step, e *event) {
	line := trace.Step{Packet: e.packet, Last: e.last, Gap: s.Gap}
	step := Step{
		Time: seconds(e.packet.Time), Packet: line.String(), Source: n.address(e.packet.Src), Count: e.count, Limited: e.limited,
		Verdict: e.Verdict.String(), Reason: reasonName(e.Reason), Text: e.text,
		Before: n.place(e.Before), After: n.place(e.After), gap: e.gap,
	}
	if e.Door >= 0 {
		step.Door = n.g.Doors[e.Door].Name
	}
	var open []port.Range
	for _, class := range e.open {
		open = append(open, n.g.Classes[class].Services...)
	}
	step.Open = texts(open)
	n.steps = append(n.steps, step)
}

func (n *narrator) place(done []port.Port) *Place {
	if len(done) == 0 {
		return nil
	}
	p := &Place{Knocks: texts(done), Doors: n.names.through(done), Text: n.names.place(done)}
	if user := n.g.Beginner(done); user >= 0 {
		p.User, p.Doors = n.g.Users[user].Name, []string{n.g.Doors[n.g.Users[user].Door].Name}
	}
	return p
}

// address is what counts as the source.
func (n *narrator) address(a netip.Addr) string {
	if a.Is6() && n.g.IPv6Prefix < 128 {
		return netip.PrefixFrom(a, n.g.IPv6Prefix).Masked().String()
	}
	return a.String()
}

// source tells where a source stands at the end.
func (n *narrator) source(w who, end time.Duration) Source {
	s := Source{Source: n.address(w.addr), TTL: w.ttl, Text: "at the start"}
	if done := n.in.Place(w.addr, w.ttl); len(done) > 0 {
		s.Place = n.place(done)
		s.Text = "at " + s.Place.Text
		if n.limited() {
			left := n.in.PlaceEnds(w.addr, w.ttl) - end
			s.Place.Left = seconds(left)
			s.Text += ", " + span(left) + " left"
		}
	}
	for _, class := range n.in.Grants(w.addr) {
		o := n.opens[w.addr][class]
		g := Grant{Door: n.g.Doors[o.door].Name, Services: texts(n.g.Classes[class].Services), Left: seconds(o.ends - end)}
		s.Grants = append(s.Grants, g)
		s.Text += fmt.Sprintf("; door %s is open for %s more", g.Door, span(o.ends-end))
	}
	return s
}

// texts writes ports or ranges.
func texts[T fmt.Stringer](all []T) []string {
	var out []string
	for _, x := range all {
		out = append(out, x.String())
	}
	return out
}

// seconds is a time for JSON, to the microsecond.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
