package verify

import (
	"fmt"
	"slices"

	"tirl/internal/automaton"
)

// follow goes on to the state after a packet. What depends on the port is followed for
// each port, once.
func (e *explorer) follow(i int, next state, want verdictOf, ev event) {
	srcs := e.sp.sameSources(want.b.srcs).and(e.nodes[i].srcs)
	at := e.nodes[i].at + packetGap
	lazy := want.first || slices.ContainsFunc(next.elems, func(el elem) bool { return el.val.kind == byPort })
	if !lazy {
		e.push(e.detach(next), srcs, visit{parent: i, event: ev, at: at, set: e.nodes[i].set})
		return
	}
	ports := want.b.ports
	if a := ports.first(); ports.count() == 1 {
		e.followPort(i, next, a, want.first, ev, srcs)
		return
	}
	key := e.lazyKey(next, want.first, srcs)
	if done, ok := e.done[key]; ok {
		if ports.within(done) {
			return
		}
		ports = ports.without(done)
		e.done[key] = done.or(ports)
	} else {
		e.done[key] = ports
	}
	for a := range ports.each {
		e.followPort(i, next, a, want.first, ev, srcs)
	}
}

// followPort goes on to the state after a packet to one port.
func (e *explorer) followPort(i int, next state, atom int, first bool, ev event, srcs bitset) {
	n := e.detach(next)
	if first {
		n.place, n.since = automaton.State(e.s.first.value[atom]), now
	}
	for j := range n.elems {
		if v := &n.elems[j].val; v.kind == byPort {
			*v = reg{kind: number, v: v.fn.value[atom]}
		}
	}
	ev.atom = atom
	e.push(n, srcs, visit{parent: i, event: ev, at: e.nodes[i].at + packetGap, set: e.nodes[i].set})
}

// detach copies what canonical changes.
func (e *explorer) detach(s state) state {
	s.elems = slices.Clone(s.elems)
	s.grants = slices.Clone(s.grants)
	return s
}

// lazyKey names a step whose outcome depends on the port.
type lazyKey struct {
	state string
	srcs  setKey
}

// lazyKey is the same for states that differ by the packet's port alone, in the same
// way.
func (e *explorer) lazyKey(s state, first bool, srcs bitset) lazyKey {
	n := e.detach(s)
	funcs := ""
	for j := range n.elems {
		if v := &n.elems[j].val; v.kind == byPort {
			funcs += fmt.Sprintf("%p ", v.fn)
			*v = reg{kind: byPort}
		}
	}
	key, _ := e.canonical(&n)
	return lazyKey{fmt.Sprintf("%t %s", first, funcs) + string(key), srcs.key()}
}

// sameSources adds the addresses that may be of the same sources.
func (s *space) sameSources(in bitset) bitset {
	if len(s.members) == len(s.srcs) {
		return in
	}
	key := in.key()
	if out := s.same[key]; out != nil {
		return out
	}
	out := newBitset(len(s.srcs))
	for i := range in.each {
		for _, j := range s.members[s.srcs[i].identity] {
			out.add(j)
		}
	}
	if len(s.same) >= maxKnown {
		clear(s.same)
	}
	s.same[key] = out
	return out
}
