package diagram

import (
	"slices"
	"strings"
	"unicode/utf8"

	"tirl/internal/automaton"
)

// node is a place in one line, with whoever stands there.
func (t *text) node(s automaton.State) string { return "(" + t.name(s) + t.standing(s) + ")" }

func (t *text) standing(s automaton.State) string {
	who, ok := t.opt.Mark[s]
	if !ok {
		return ""
	}
	return strings.TrimRight(" "+t.at+" "+t.plain(who, maxMark), " ")
}

// door is a door in one line.
func (t *text) door(s automaton.State) string {
	d := t.g.DoorAt(s)
	opens := t.doorName(d)
	if t.class(d).Once {
		opens += " " + t.howLong(d)
	} else {
		opens += t.standing(s) + ": " + t.serviceList(d) + " " + t.howLong(d)
	}
	return "[" + strings.Join(nonEmpty(opens, whom(d)), ", ") + "]"
}

// edge is a knock as an arrow.
func (t *text) edge(s automaton.State) string { return t.line + t.knock(s) + t.line + t.right }

// trie draws a row for each branch: what does not branch runs on in one line,
// as far as that has room.
func (t *text) trie() []string {
	return append([]string{t.node(automaton.Root)}, t.branches(automaton.Root, " ")...)
}

func (t *text) branches(s automaton.State, indent string) []string {
	var lines []string
	kids := t.kids[s]
	for i, k := range kids {
		lead, below := indent+t.tee, indent+t.bar+"  "
		if i == len(kids)-1 {
			lead, below = indent+t.sw, indent+"   "
		}
		run, end := t.run(k)
		lines = append(lines, t.wrap(lead, below, run)...)
		lines = append(lines, t.branches(end, below)...)
	}
	return lines
}

// run lists the steps from s to the next place that branches, or to a door.
func (t *text) run(s automaton.State) (steps []string, end automaton.State) {
	for {
		switch d := t.g.DoorAt(s); {
		case d == nil:
			steps = append(steps, t.edge(s)+t.node(s))
		case t.class(d).Once:
			connect := t.doorLine + t.serviceList(d) + t.doorLine + t.right
			return append(steps, t.edge(s)+t.node(s), connect+t.door(s)), s
		default:
			return append(steps, t.edge(s)+t.door(s)), s
		}
		if len(t.kids[s]) > 1 {
			return steps, s
		}
		s = t.kids[s][0]
	}
}

// wrap breaks a run into lines that are not too wide.
func (t *text) wrap(lead, below string, steps []string) []string {
	var lines []string
	line, empty := lead, true
	for i, step := range steps {
		room := t.opt.Width - utf8.RuneCountInString(line)
		if i < len(steps)-1 {
			room -= utf8.RuneCountInString(t.line + t.more)
		}
		if !empty && utf8.RuneCountInString(step) > room {
			lines = append(lines, line+t.line+t.more)
			line = below + t.more
		}
		line, empty = line+step, false
	}
	return append(lines, line)
}

func nonEmpty(s ...string) []string {
	return slices.DeleteFunc(s, func(s string) bool { return s == "" })
}
