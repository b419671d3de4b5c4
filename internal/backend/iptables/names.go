package iptables

import (
	"fmt"
	"strings"

	"tirl/internal/automaton"
)

// about precedes the policy's hash in the comment of the first rule of TIRL.
const about = "tirl policy "

// maxComment is one less than XT_MAX_COMMENT_LEN (xt_comment.h).
const maxComment = 255

func state(s automaton.State) string { return fmt.Sprintf("%s_STATE%d", main, s) }
func first(s automaton.State) string { return fmt.Sprintf("%s_KNOCK%d", main, s) }
func open(s automaton.State) string  { return fmt.Sprintf("%s_OPEN%d", main, s) }

// tag is the part of the policy's hash that names of lists carry.
func tag(hash string) string { return hash[:min(8, len(hash))] }

// list names a list, or a hashlimit table, that means something in this policy only.
func (b *builder) list(what string) string { return b.fam.lists + what + "_" + tag(b.g.PolicyHash) }

func (b *builder) knockList(s automaton.State) string { return b.list(fmt.Sprintf("KNOCK%d", s)) }

func (b *builder) grantList(class int) string {
	return fmt.Sprintf("%sGRANT_%08x", b.fam.lists, b.g.Classes[class].ID)
}

// comment is the match that says what a rule is for.
func comment(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(`-m comment --comment "%s"`, text[:min(len(text), maxComment)])
}

// plain makes a name fit for a comment.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, name)
}

// reached says which knock leads to s, and of which doors.
func (b *builder) reached(s automaton.State) string {
	n := b.g.Places[s].Depth
	doors := b.doors[s]
	if len(doors) == 1 {
		d := b.g.Doors[doors[0]]
		return fmt.Sprintf("knock %d of %d: door %s", n, len(d.Knocks), plain(d.Name))
	}
	return fmt.Sprintf("knock %d: %d doors", n, len(doors))
}

func (b *builder) stood(s automaton.State) string {
	return fmt.Sprintf("done %d%s", b.g.Places[s].Depth, b.whose(s))
}

// whose names the doors whose sequences lead through s.
func (b *builder) whose(s automaton.State) string {
	doors := b.doors[s]
	if len(doors) == 1 {
		d := b.g.Doors[doors[0]]
		return fmt.Sprintf(" of %d knocks: door %s", len(d.Knocks), plain(d.Name))
	}
	names, more := make([]string, 0, 3), ""
	for i, d := range doors {
		if i == 3 {
			more = fmt.Sprintf(" and %d more", len(doors)-3)
			break
		}
		names = append(names, plain(b.g.Doors[d].Name))
	}
	return " knocks: doors " + strings.Join(names, ", ") + more
}
