package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/trace"
)

// names calls places by the doors that their knocks lead to.
type names struct {
	g     *automaton.Program
	doors map[string][]automaton.Door // by the knocks done
}

func newNames(g *automaton.Program) *names {
	return &names{g, make(map[string][]automaton.Door)}
}

// begun are the doors whose sequences begin with these knocks.
func (n *names) begun(done []port.Port) []automaton.Door {
	key := fmt.Sprint(done)
	if all, ok := n.doors[key]; ok {
		return all
	}
	var all []automaton.Door
	for _, d := range n.g.Doors {
		begins := len(d.Knocks) >= len(done) && slices.Equal(d.Knocks[:len(done)], done)
		if begins || slices.Equal(n.g.Way(d.End), done) {
			all = append(all, d)
		}
	}
	n.doors[key] = all
	return all
}

func (n *names) through(done []port.Port) []string { return doorNames(n.begun(done)) }

func doorNames(doors []automaton.Door) []string {
	var all []string
	for _, d := range doors {
		all = append(all, d.Name)
	}
	return all
}

// place is a place in words: "knock 1 of 3 for door ssh".
func (n *names) place(done []port.Port) string {
	if user := n.g.Beginner(done); user >= 0 {
		u := n.g.Users[user]
		return fmt.Sprintf("knock %d of %d of user %s of door %s", len(done), u.Length, u.Name, n.g.Doors[u.Door].Name)
	}
	doors := n.begun(done)
	first := len(doors[0].Knocks)
	if first == len(done) || first == 0 {
		return "the end of door " + doors[0].Name
	}
	if !slices.ContainsFunc(doors, func(d automaton.Door) bool { return len(d.Knocks) != first }) {
		return fmt.Sprintf("knock %d of %d for %s", len(done), first, doorList(doorNames(doors)))
	}
	var all []string
	for _, d := range doors {
		all = append(all, fmt.Sprintf("%s (of %d)", d.Name, len(d.Knocks)))
	}
	return fmt.Sprintf("knock %d for %s", len(done), doorList(all))
}

// doorList is "door a", "doors a and b" or "doors a, b, c and 17 more".
func doorList(all []string) string {
	const most = 4
	if len(all) == 1 {
		return "door " + all[0]
	}
	if len(all) > most {
		all = append(slices.Clone(all[:most-1]), strconv.Itoa(len(all)-most+1)+" more")
	}
	return "doors " + list(all, "and")
}

// list is "a", "a and b" or "a, b and c".
func list(all []string, word string) string {
	if len(all) == 1 {
		return all[0]
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " " + word + " " + all[last]
}

// closed says that the doors to a service are closed.
func (n *names) closed(to port.Port) string {
	var all []string
	for _, d := range n.g.Doors {
		if offers(n.g.Classes[d.Class], to) {
			all = append(all, d.Name)
		}
	}
	if len(all) == 1 {
		return doorList(all) + " is closed to it"
	}
	return doorList(all) + " are closed to it"
}

func offers(c automaton.Class, to port.Port) bool {
	return slices.ContainsFunc(c.Services, func(r port.Range) bool { return r.Contains(to) })
}

// connection is what a door that opens once lets in.
func connection(c automaton.Class) string {
	noun := "connection"
	if slices.ContainsFunc(c.Services, func(r port.Range) bool { return r.Proto != port.TCP }) {
		noun = "packet"
	}
	return noun + " to " + services(c)
}

func services(c automaton.Class) string {
	const most = 4
	all := texts(c.Services)
	if len(all) > most {
		all = append(all[:most-1], strconv.Itoa(len(all)-most+1)+" more")
	}
	return list(all, "or")
}

// limited says whether places end after a time.
func (n *narrator) limited() bool { return n.g.StepTimeout < policy.Day }

// span writes a time as precisely as people ask for it.
func span(d time.Duration) string {
	if d >= time.Second {
		return trace.Span(d.Round(100 * time.Millisecond))
	}
	return trace.Span(d.Round(time.Millisecond))
}
