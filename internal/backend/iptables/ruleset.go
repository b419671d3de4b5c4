package iptables

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// main is the chain that a base chain jumps to.
const main = "TIRL"

// ruleset is what tirl has, or is to have, in the tables of one family.
type ruleset struct {
	tables []table
}

type table struct {
	name   string
	jumps  []jump
	chains []chain
}

// jump is a rule of a base chain that leads into tirl.
type jump struct {
	at   int // from 1
	rule string
}

type chain struct {
	name  string
	rules []string // without "-A NAME"
}

func ours(chain string) bool { return chain == main || strings.HasPrefix(chain, main+"_") }

// find gives tirl's part of a table; empty if there is none.
func (r ruleset) find(name string) table {
	for _, t := range r.tables {
		if t.name == name {
			return t
		}
	}
	return table{name: name}
}

func (r ruleset) empty() bool { return len(r.tables) == 0 }

func (t table) has(name string) bool {
	return slices.ContainsFunc(t.chains, func(c chain) bool { return c.name == name })
}

// restore gives the iptables-restore input that turns what a kernel holds of
// tirl into r. Each table is one transaction; the tables of r come first, so that
// a source of rules that protects is in place before another one goes. Chains
// and rules of others are not touched. An existing jump stays at its position.
func (r ruleset) restore(kernel ruleset) string {
	var b strings.Builder
	for _, t := range r.tables {
		t.restore(&b, kernel.find(t.name))
	}
	for _, old := range kernel.tables {
		if !slices.ContainsFunc(r.tables, func(t table) bool { return t.name == old.name }) {
			table{name: old.name}.restore(&b, old)
		}
	}
	return b.String()
}

func (t table) restore(b *strings.Builder, old table) {
	fmt.Fprintf(b, "*%s\n", t.name)
	for _, c := range t.chains {
		// This empties a chain that exists (iptables-restore(8), --noflush).
		fmt.Fprintf(b, ":%s - [0:0]\n", c.name)
	}
	gone := slices.DeleteFunc(slices.Clone(old.chains), func(c chain) bool { return t.has(c.name) })
	for _, c := range gone {
		fmt.Fprintf(b, "-F %s\n", c.name)
	}
	t.restoreJump(b, old.jumps)
	for _, c := range t.chains {
		for _, rule := range c.rules {
			fmt.Fprintf(b, "-A %s %s\n", c.name, rule)
		}
	}
	for _, c := range gone {
		fmt.Fprintf(b, "-X %s\n", c.name)
	}
	b.WriteString("COMMIT\n")
}

func (t table) restoreJump(b *strings.Builder, old []jump) {
	if len(t.jumps) == 1 && len(old) == 1 && t.jumps[0].rule == old[0].rule {
		return
	}
	for _, j := range old {
		fmt.Fprintf(b, "-D %s %s\n", base(t.name), j.rule)
	}
	for _, j := range t.jumps {
		at := j.at
		if len(old) > 0 {
			at = old[0].at
		}
		fmt.Fprintf(b, "-I %s %d %s\n", base(t.name), at, j.rule)
	}
}

// parse reads tirl's part out of what iptables-save prints, or of restore input.
// Lines that it does not understand belong to others.
func parse(text string) ruleset {
	var r ruleset
	var t table
	rules := make(map[string]int) // in each chain of this table
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "*"):
			t = table{name: line[1:]}
			clear(rules)
		case strings.HasPrefix(line, ":") && ours(verb[1:]):
			t.chains = append(t.chains, chain{name: verb[1:]})
		case verb == "-A":
			name, rule, _ := strings.Cut(rest, " ")
			rules[name]++
			t.take(name, rule, rules[name])
		case verb == "-I":
			name, rest, _ := strings.Cut(rest, " ")
			if at, err := strconv.Atoi(before(rest)); err == nil {
				t.take(name, strings.TrimPrefix(rest, before(rest)+" "), at)
			}
		case line == "COMMIT":
			if len(t.chains)+len(t.jumps) > 0 {
				r.tables = append(r.tables, t)
			}
			t = table{}
		}
	}
	return r
}

// take adds a rule if it is one of tirl's.
func (t *table) take(name, rule string, at int) {
	i := slices.IndexFunc(t.chains, func(c chain) bool { return c.name == name })
	switch {
	case i >= 0:
		t.chains[i].rules = append(t.chains[i].rules, rule)
	case name == base(t.name) && target(rule) == main:
		t.jumps = append(t.jumps, jump{at, rule})
	}
}

// base is the chain of the kernel that tirl hangs from in a table.
func base(table string) string {
	switch table {
	case "filter":
		return "INPUT"
	case "mangle":
		return "PREROUTING"
	}
	return ""
}

// target gives the chain or target that a rule leads to.
func target(rule string) string {
	w := words(rule)
	for i := range w {
		if (w[i] == "-j" || w[i] == "-g") && i+1 < len(w) {
			return w[i+1]
		}
	}
	return ""
}

// option gives the value of a rule's option, or "".
func option(words []string, name string) string {
	if i := slices.Index(words, name); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

// words splits a rule as iptables-restore does: at blanks outside of double
// quotes, in which a backslash escapes.
func words(rule string) []string {
	var all []string
	var word strings.Builder
	quoted, open := false, false
	for i := 0; i < len(rule); i++ {
		switch c := rule[i]; {
		case quoted && c == '\\' && i+1 < len(rule):
			i++
			word.WriteByte(rule[i])
		case c == '"':
			quoted, open = !quoted, true
		case !quoted && (c == ' ' || c == '\t'):
			if open {
				all = append(all, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteByte(c)
			open = true
		}
	}
	if open {
		all = append(all, word.String())
	}
	return all
}

func before(s string) string {
	head, _, _ := strings.Cut(s, " ")
	return head
}
