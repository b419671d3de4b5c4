package verify

import (
	"fmt"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// explorer goes through all that a source can do, of one family, with the policy
// and the ruleset side by side.
type explorer struct {
	g     *automaton.Program
	sp    *space
	m     *machine
	s     *meaning
	scope Scope

	grantElems map[int][]elemKey // by class: the elements that stand for its grant
	exact      map[int]bool      // classes whose grants are followed
	entries    []entrance
	plainest   bool         // try plain packets before others
	coarse     map[int]bool // sets that neighbours of the source share
	buckets    bool         // the ruleset has a bucket that matters, and so has the policy
	anyTTL     map[int]bool // sets that all TTLs of the source share: only grants are in them
	bucketMade []elem       // what the shared sets hold when there is a bucket

	nodes   []visit
	seen    map[string]bitset  // states, with the sources that were tried in them
	waiting []int              // nodes without a bucket, until bucketMade is known
	done    map[lazyKey]bitset // by-port steps, with the ports that were tried
	key     []byte             // what canonical gave last
	names   []renamed

	suspects []suspect
	kinds    map[suspectKind]bool
	mixed    map[int]bool // classes whose grants the two sides treat otherwise
	fault    *ruleset.UnknownError
	uneven   *suspect // a packet that one side's bucket counts, and the other's does not
	max      int
	one      bool // one difference is enough
	tried    func(states int)
}

// entrance is where the rules begin to depend on the source, or are through without
// having asked for it, for packets of which the policy says the same everywhere or that it
// hears.
type entrance struct {
	at      pause
	through bool // the rules are through, with got
	path    *path
	got     ruleset.Verdict
	b       box
	heard   bool
	service bool
	want    verdictOf
}

// visit is a state that was come to, and how.
type visit struct {
	state  state
	srcs   bitset
	parent int
	event  event
	at     time.Duration // on the way that led here first
	set    []begun       // when the times of the state began, on that way
}

// event is a step from one state to another.
type event struct {
	packet bool
	b      box // without its ports
	atom   int // one of them
	g      []held
	limit  choice
	out    tick // else: this time ran out
	bucket bool // else: a neighbour has made the bucket
}

// suspect is a packet on which the two sides seem to differ.
type suspect struct {
	node  int
	event event
	want  automaton.Verdict
	got   string
	why   automaton.Reason
}

// suspectKind is what makes two suspects alike.
type suspectKind struct {
	want automaton.Verdict
	got  string
	why  automaton.Reason
	conn ruleset.Conns
	dest ruleset.Dests
}

// explore tries every packet in every state that can be reached. It stops early if
// something is not understood, or after max states.
func (e *explorer) explore() error {
	e.nodes, e.seen, e.done = nil, make(map[string]bitset), make(map[lazyKey]bitset)
	e.waiting, e.suspects, e.kinds, e.uneven = nil, nil, make(map[suspectKind]bool), nil
	e.push(state{since: none, bucket: none}, fullBitset(len(e.sp.srcs)), visit{parent: -1})
	e.enter()
	for i := 0; i < len(e.nodes); i++ {
		e.visit(i)
		if i%triedEach == triedEach-1 && e.tried != nil {
			e.tried(triedEach)
		}
		if e.m.unknown != nil {
			return e.m.unknown
		}
		if len(e.nodes) > e.max {
			return &ruleset.UnknownError{What: fmt.Sprintf("more than %d states", e.max)}
		}
		if len(e.suspects) >= maxSuspects || e.one && len(e.suspects) >= fewSuspects {
			break
		}
	}
	if e.fault != nil {
		return e.fault
	}
	return nil
}

// triedEach is after how many states to say so.
const triedEach = 64

// maxSuspects is how many suspects are kept; of fewSuspects one is mostly real.
const (
	maxSuspects = 64
	fewSuspects = 6
)

// push adds a state, if it is not known for these sources.
func (e *explorer) push(s state, srcs bitset, v visit) {
	key, from := e.canonical(&s)
	covered, ok := e.seen[string(key)]
	if ok && srcs.within(covered) {
		return
	}
	if ok {
		e.seen[string(key)] = covered.or(srcs)
		srcs = srcs.without(covered)
	} else {
		e.seen[string(key)] = srcs
	}
	old := v.set
	v.state, v.srcs, v.set = s, srcs, make([]begun, len(from))
	for i, r := range from {
		at := v.at
		if r.was.stamp != now {
			at = began(old, r.was)
		}
		v.set[i] = begun{r.is, at}
	}
	e.nodes = append(e.nodes, v)
}

// packetGap is from one packet of a counterexample to the next.
const packetGap = 10 * time.Millisecond

func (e *explorer) visit(i int) {
	v := e.nodes[i]
	if !e.scope.NoExpiry {
		for _, t := range e.ticks(&v.state) {
			at := max(v.at, began(v.set, t)+t.d)
			e.push(e.after(&v.state, t), v.srcs, visit{parent: i, event: event{out: t}, at: at, set: v.set})
		}
	}
	if len(e.coarse) > 0 && v.state.bucket == none {
		if e.bucketMade == nil {
			e.waiting = append(e.waiting, i)
		} else {
			e.neighbour(i)
		}
	}
	var exact map[int]bool
	if len(e.exact) > 0 {
		exact = make(map[int]bool)
	}
	for c := range e.exact {
		exact[c] = slices.ContainsFunc(v.state.grants, func(g exactGrant) bool { return g.class == c })
	}
	for j := range e.entries {
		e.through(i, &e.entries[j], exact)
	}
}

// enter finds out what does not depend on the source, and holds it against the policy
// once for all.
func (e *explorer) enter() {
	e.entries = nil
	add := func(in entrance, b box) {
		e.s.sift(b, func(v verdictOf) {
			if in.through && v.spends == spendsNothing {
				e.compareVerdict(0, in.path, in.got, v)
				e.compareSpending(in.path, v)
				return
			}
			in.b, in.want = v.b, v
			e.entries = append(e.entries, in)
		}, func(v verdictOf, service bool) {
			in.b, in.heard, in.service = v.b, true, service
			e.entries = append(e.entries, in)
			in.heard, in.service = false, false
		})
	}
	boxes := e.scope.cut(e.sp, e.sp.possible(e.scope.narrow(e.sp.all()), e.scope.Remote))
	if e.plainest {
		boxes = e.sp.plainFirst(boxes)
	}
	for _, b := range boxes {
		e.m.until(b,
			func(at pause) { add(entrance{at: at}, at.p.b) },
			func(p *path, got ruleset.Verdict) { add(entrance{through: true, path: p, got: got}, p.b) })
	}
}

// through sends the packets of an entrance from the source of a state.
func (e *explorer) through(i int, in *entrance, exact map[int]bool) {
	v := &e.nodes[i]
	b := in.b
	yes, _ := b.splitSources(v.srcs)
	if yes == nil {
		return
	}
	place, bucket, elems := v.state.place, v.state.bucket != none, v.state.elems
	compare := func(p *path, got ruleset.Verdict) {
		if !in.heard {
			want := in.want
			want.b, want.g, want.limit = p.b, p.g, p.limit
			e.compare(i, p, got, want)
			return
		}
		e.s.judge(place, bucket, exact, verdictOf{b: p.b, g: p.g, limit: p.limit, grant: -1}, in.service, func(want verdictOf) {
			e.compare(i, p, got, want)
		})
	}
	if !in.through {
		e.m.goOn(in.at, *yes, elems, compare)
		return
	}
	p := in.path.with(*yes)
	p.elems = elems
	compare(p, in.got)
}

// neighbour makes the bucket of a source without it having sent a packet.
func (e *explorer) neighbour(i int) {
	v := e.nodes[i]
	n := state{place: v.state.place, since: v.state.since, bucket: now, grants: slices.Clone(v.state.grants)}
	for _, el := range v.state.elems {
		if !e.coarse[el.key.set] {
			n.elems = append(n.elems, el)
		}
	}
	n.elems = append(n.elems, e.bucketMade...)
	e.push(n, v.srcs, visit{parent: i, event: event{bucket: true}, at: v.at + packetGap, set: v.set})
}

// compare holds what the two sides make of a packet against each other, and goes on to
// the states that follow.
func (e *explorer) compare(i int, p *path, got ruleset.Verdict, want verdictOf) {
	ev := e.compareVerdict(i, p, got, want)
	for i := range p.elems {
		if set := p.elems[i].key.set; e.anyTTL[set] && e.fault == nil {
			e.fault = &ruleset.UnknownError{Line: e.m.sets[set].line, What: "set `" + e.m.sets[set].name + "` holds more than grants, and is the same for all TTLs of a source"}
		}
	}
	e.compareGrants(p, want)
	e.compareSpending(p, want)
	e.compareBucket(p, want, suspect{node: i, event: ev})
	v := &e.nodes[i]
	next := state{place: v.state.place, since: v.state.since, bucket: v.state.bucket, elems: p.elems}
	next.grants = e.nextGrants(v.state.grants, want.grant)
	if want.paid {
		next.bucket = now
	}
	if want.moves {
		next.place, next.since = want.place, now
		if want.place == automaton.Root && !want.first {
			next.since = none
		}
	}
	e.follow(i, next, want, ev)
}

// compareVerdict holds the verdicts of a packet against each other.
func (e *explorer) compareVerdict(i int, p *path, got ruleset.Verdict, want verdictOf) event {
	ev := event{packet: true, b: want.b, atom: want.b.ports.first(), g: want.g, limit: want.limit}
	ev.b.ports = nil // a set of ports is large where there are many doors
	heeded := want.b
	said := verdictName(e.sp, got, want.b)
	if said == automaton.Accept.String() && leavesRegister(p.reg) {
		said = "accept, with meta priority left behind"
	}
	if said != want.verdict.String() && e.matters(&heeded) {
		wrong := ev
		wrong.atom = heeded.ports.first()
		e.suspect(suspect{node: i, event: wrong, want: want.verdict, got: said, why: want.reason})
	}
	return ev
}

// matters says whether it matters what becomes of some packets, and leaves out those
// of which it does not.
func (e *explorer) matters(b *box) bool {
	if !e.scope.Services {
		return true
	}
	yes, _ := b.splitPorts(e.s.service)
	if yes != nil {
		*b = *yes
	}
	return yes != nil
}

func leavesRegister(r reg) bool { return r.kind == byPort || r.kind == number && r.v != 0 }

// verdictName names a verdict as the policy does, or as what it is.
func verdictName(sp *space, v ruleset.Verdict, b box) string {
	only := func(p port.Proto) bool { return b.ports.within(sp.protos(uint32(p), uint32(p))) }
	switch {
	case v == ruleset.Accept:
		return automaton.Accept.String()
	case v == ruleset.Drop:
		return automaton.Dropped.String()
	case v == ruleset.RejectReset && only(port.TCP), v == ruleset.RejectPort && only(port.UDP):
		return automaton.Rejected.String()
	}
	return "another answer"
}

func (e *explorer) suspect(s suspect) {
	k := suspectKind{s.want, s.got, s.why, s.event.b.conns, s.event.b.dests}
	if e.kinds[k] {
		return
	}
	e.kinds[k] = true
	e.suspects = append(e.suspects, s)
}

// compareGrants holds what happens to the elements that stand for grants against
// what the policy grants.
func (e *explorer) compareGrants(p *path, want verdictOf) {
	expected := 0
	if want.grant >= 0 && !e.exact[want.grant] {
		expected = len(e.grantElems[want.grant])
	}
	for _, op := range p.ops {
		class := e.m.flags[op.key]
		if class != want.grant || !op.refresh || op.d != e.g.Classes[class].OpenFor {
			e.mixed[class] = true
		}
	}
	if len(p.ops) != expected {
		for _, op := range p.ops {
			e.mixed[e.m.flags[op.key]] = true
		}
		if want.grant >= 0 {
			e.mixed[want.grant] = true
		}
	}
}

func (e *explorer) nextGrants(had []exactGrant, class int) []exactGrant {
	out := slices.Clone(had)
	if class < 0 || !e.exact[class] {
		return out
	}
	for i := range out {
		if out[i].class == class {
			out[i].stamp = now
			return out
		}
	}
	return append(out, exactGrant{class, now})
}

// compareBucket sees to it that the two sides ask a bucket at the same packets, and
// that sets that neighbours share are those of the bucket.
func (e *explorer) compareBucket(p *path, want verdictOf, at suspect) {
	if e.buckets && ((p.paid != 0) != want.paid || p.paid > 1) {
		e.unevenBuckets(p, at)
	}
	if len(e.coarse) == 0 {
		return
	}
	shares := func(k elemKey) bool { return e.coarse[k.set] }
	touched := slices.ContainsFunc(p.made, shares) || slices.ContainsFunc(p.gone, shares)
	if touched != want.paid {
		e.unevenBuckets(p, at)
		return
	}
	if !touched {
		return
	}
	var shared []elem
	for _, el := range p.elems {
		if e.coarse[el.key.set] {
			shared = append(shared, el)
		}
	}
	slices.SortFunc(shared, func(a, b elem) int { return compareKeys(a.key, b.key) })
	if e.bucketMade == nil {
		e.bucketMade = shared
		for _, i := range e.waiting {
			e.neighbour(i)
		}
		e.waiting = nil
		return
	}
	if !slices.EqualFunc(shared, e.bucketMade, func(a, b elem) bool {
		return a.key == b.key && slices.Equal(a.timers, b.timers)
	}) {
		e.unevenBuckets(p, at)
	}
}

func (e *explorer) unevenBuckets(p *path, at suspect) {
	if e.uneven == nil {
		e.uneven = &at
	}
	if e.fault == nil {
		e.fault = &ruleset.UnknownError{Line: p.line, What: "the limit counts other packets than the policy's"}
	}
}
