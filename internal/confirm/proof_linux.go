package confirm

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/port"
	"tirl/internal/session"
)

// Proof looks for what proves a load: a connection to a door's service from the
// address that the load was ordered from, which began after the load and which
// nothing but a finished knock can have let in.
type Proof struct {
	program *automaton.Program
	from    map[netip.Addr]bool
	before  []session.Conn
	grants  map[grantKey]time.Time // until when they were given before
}

type grantKey struct {
	source netip.Addr
	class  uint32
}

// NewProof notes what there is right after the load. A session that comes from
// nowhere is never proved.
func NewProof(g *automaton.Program, s *session.Session, conns []session.Conn, grants []backend.Grant, now time.Time) *Proof {
	p := &Proof{program: g, from: make(map[netip.Addr]bool), before: conns, grants: make(map[grantKey]time.Time)}
	if s != nil {
		for _, c := range s.Conns() {
			if a := c.Remote.Addr(); a.IsValid() && !a.IsLoopback() {
				p.from[g.Source(a)] = true
			}
		}
	}
	for _, gr := range grants {
		p.grants[grantKey{gr.Source, gr.Class}] = until(gr, now)
	}
	return p
}

// forever stands for a grant whose end is not known.
const forever = 100 * 365 * 24 * time.Hour

func until(g backend.Grant, now time.Time) time.Time {
	if g.Left < 0 {
		return now.Add(forever)
	}
	return now.Add(g.Left)
}

// Check gives the proof in words, or "". It asks for the grants only if they
// matter: to read them can be slow.
func (p *Proof) Check(conns []session.Conn, grants func() ([]backend.Grant, error), now time.Time) string {
	if len(p.from) == 0 {
		return ""
	}
	for _, c := range session.NewSince(p.before, conns) {
		if p.proves(c, grants, now) {
			return fmt.Sprintf("a knock, and a connection from %s to %s", c.Remote.Addr(), c.Service())
		}
	}
	return ""
}

func (p *Proof) proves(c session.Conn, grants func() ([]backend.Grant, error), now time.Time) bool {
	g, from := p.program, c.Remote.Addr()
	within := func(r port.Range) bool { return r.Contains(c.Service()) }
	switch {
	case !p.from[g.Source(from)], from.IsLoopback(), from == c.Local.Addr():
		return false
	case slices.ContainsFunc(g.Trust, func(n netip.Prefix) bool { return n.Contains(from) }):
		return false
	case slices.ContainsFunc(g.Public, within), !slices.ContainsFunc(g.Hidden(), within):
		return false
	}
	// What else could have let it in: an interface that is trusted, or a grant that
	// is older than the load. Then a grant must have been given since.
	var classes []uint32
	doubt := len(g.Ifaces) > 0
	for _, class := range g.Classes {
		if class.Once || !slices.ContainsFunc(class.Services, within) {
			continue
		}
		classes = append(classes, class.ID)
		if _, ok := p.grants[grantKey{g.Source(from), class.ID}]; ok {
			doubt = true
		}
	}
	if !doubt {
		return true
	}
	held, err := grants()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(held, func(h backend.Grant) bool {
		if h.Source != g.Source(from) || !slices.Contains(classes, h.Class) || h.Left < 0 {
			return false
		}
		old, ok := p.grants[grantKey{h.Source, h.Class}]
		// The kernel's time and ours differ by what reading takes.
		return !ok || until(h, now).After(old.Add(500*time.Millisecond))
	})
}

// Same says whether connections by which somebody has come prove nothing about
// rules, because all of them were there before the rules were: they are the
// session itself, or were open beside it.
func (p *Pending) Same(s *session.Session) bool {
	if p.Session == nil || s == nil {
		return false
	}
	old := append(p.Session.Conns(), p.Open...)
	return !slices.ContainsFunc(s.Conns(), func(c session.Conn) bool {
		return !slices.ContainsFunc(old, func(o session.Conn) bool {
			return o.Proto == c.Proto && o.Local == c.Local && o.Remote == c.Remote
		})
	})
}
