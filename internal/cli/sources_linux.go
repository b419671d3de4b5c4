package cli

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// mostNames is how many doors of a shared place are named.
const mostNames = 3

// source is one that has begun to knock.
type source struct {
	addr  netip.Addr
	ttl   uint8
	state automaton.State
	known bool // the rest is
	done  int
	doors []*automaton.Door // that this place leads to
	left  time.Duration     // below 0: unknown
}

// grant is an open door.
type grant struct {
	addr  netip.Addr
	class *automaton.Class // nil: of no door of the policy
	doors []*automaton.Door
	left  time.Duration
}

// sources looks up what the states in the kernel mean.
func sources(places []backend.Place, g *automaton.Program) []source {
	var through map[automaton.State][]*automaton.Door
	if g != nil && len(places) > 0 {
		through = doorsThrough(g)
	}
	list := make([]source, 0, len(places))
	for _, p := range places {
		s := source{addr: p.Source, ttl: p.TTL, state: p.State, left: p.Left}
		switch {
		case g != nil && int(p.State) < len(g.Places):
			s.known, s.done, s.doors = true, g.Places[p.State].Depth, through[p.State]
		case automaton.IsUserPlace(p.State):
			s.known, s.done = true, automaton.UserDepth(p.State)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b source) int { return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.ttl, b.ttl)) })
	return list
}

// doorsThrough lists for each place the doors that it leads to.
func doorsThrough(g *automaton.Program) map[automaton.State][]*automaton.Door {
	through := make(map[automaton.State][]*automaton.Door)
	for i := range g.Doors {
		for s := g.Doors[i].End; s != automaton.Root; s = g.Places[s].Parent {
			through[s] = append(through[s], &g.Doors[i])
		}
	}
	return through
}

// grants looks up what the classes in the kernel mean.
func grants(held []backend.Grant, g *automaton.Program) []grant {
	classes := make(map[uint32]int)
	doors := make(map[int][]*automaton.Door)
	if g != nil {
		for i, c := range g.Classes {
			classes[c.ID] = i
		}
		for i := range g.Doors {
			doors[g.Doors[i].Class] = append(doors[g.Doors[i].Class], &g.Doors[i])
		}
	}
	list := make([]grant, 0, len(held))
	for _, h := range held {
		item := grant{addr: h.Source, left: h.Left}
		if i, ok := classes[h.Class]; ok {
			item.class, item.doors = &g.Classes[i], doors[i]
		}
		list = append(list, item)
	}
	slices.SortFunc(list, func(a, b grant) int { return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.name(), b.name())) })
	return list
}

// progress tells how far a source has come, such as "ssh 2/3".
func (s source) progress(g *automaton.Program) string {
	switch {
	case !s.known:
		return fmt.Sprintf("at place %d of an unknown policy", s.state)
	case automaton.IsUserPlace(s.state):
		return fmt.Sprintf("%s of a one-time sequence", plural(s.done, "knock"))
	case g.Detached(s.state):
		return s.doors[0].Name + ", may connect once"
	case len(s.doors) > mostNames:
		return fmt.Sprintf("%s of one of %d doors", plural(s.done, "knock"), len(s.doors))
	}
	var parts []string
	for _, d := range s.doors {
		parts = append(parts, fmt.Sprintf("%s %d/%d", d.Name, s.done, len(d.Knocks)))
	}
	text := strings.Join(parts, " or ")
	if d := g.DoorAt(s.state); d != nil && g.Classes[d.Class].Once {
		text += ", may connect once"
	}
	return text
}

func (s source) name() string {
	if s.ttl != 0 {
		return fmt.Sprintf("%s (TTL %d)", s.addr, s.ttl)
	}
	return s.addr.String()
}

// name tells what is open, such as "tcp/22 (ssh)".
func (g grant) name() string {
	switch {
	case g.class == nil:
		return "a door of an unknown policy"
	case len(g.doors) > mostNames:
		return fmt.Sprintf("%s (one of %d doors)", ranges(g.class.Services), len(g.doors))
	}
	return fmt.Sprintf("%s (%s)", ranges(g.class.Services), strings.Join(names(g.doors), " or "))
}

func names(doors []*automaton.Door) []string {
	list := make([]string, len(doors))
	for i, d := range doors {
		list[i] = d.Name
	}
	return list
}

// left tells a time that is left, in whole seconds, rounded up.
func left(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < 10*time.Minute:
		return fmt.Sprintf("%d s left", (d+time.Second-1)/time.Second)
	case d < 3*time.Hour:
		return fmt.Sprintf("%d min left", (d+time.Minute-1)/time.Minute)
	}
	return fmt.Sprintf("%d h left", (d+time.Hour-1)/time.Hour)
}

func (a *app) printSources(v *view) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		fmt.Fprintln(w, "  "+strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	fmt.Fprintf(w, "knocking: %d\n", len(v.sources))
	for _, s := range v.sources {
		line(s.name(), s.progress(v.program), left(s.left))
	}
	fmt.Fprintf(w, "let in:   %d\n", len(v.grants))
	for _, g := range v.grants {
		who := ""
		if by, _ := openedBy(v.users, g.addr, g.doors); by != nil {
			who = fmt.Sprintf("by %s, value %d", by.User, by.value)
		}
		line(g.addr.String(), g.name(), left(g.left), who)
	}
	if len(v.users) > 0 {
		fmt.Fprintf(w, "users:    %d\n", len(v.users))
	}
	for _, i := range v.users {
		line(i.User, i.Door, fmt.Sprintf("%d of %d values", i.Live, i.Pool), "last used: "+lastUse(i))
	}
	return w.Flush()
}
