package xtables

import (
	"slices"
	"strconv"
	"strings"

	"tirl/internal/verify/ruleset"
)

// host is what both families have. Their tables, chains and lists are apart.
type host struct{ ipv4, ipv6 tables }

type tables []*table

type table struct {
	name   string
	chains []*chain
	byName map[string]*chain
}

type chain struct {
	name   string
	base   bool
	policy ruleset.Verdict // of a base chain
	rules  []rule
}

// rule is the words behind the name of the chain.
type rule struct {
	line  int
	text  string
	words []string
}

// command changes a table; words[0] says how.
type command struct {
	line  int
	text  string
	words []string
}

func (all tables) find(name string) *table {
	for _, t := range all {
		if t.name == name {
			return t
		}
	}
	return nil
}

// open gives a table, and makes it with its empty base chains if it is not there.
func (all *tables) open(name string, line int) (*table, error) {
	if t := all.find(name); t != nil {
		return t, nil
	}
	t := &table{name: name, byName: make(map[string]*chain)}
	var base string
	switch name {
	case "filter", "security":
		base = "INPUT FORWARD OUTPUT"
	case "mangle":
		base = "PREROUTING INPUT FORWARD OUTPUT POSTROUTING"
	case "nat":
		base = "PREROUTING INPUT OUTPUT POSTROUTING"
	case "raw":
		base = "PREROUTING OUTPUT"
	default:
		return nil, unknown(line, "table `%s`", clip(name))
	}
	for name := range strings.FieldsSeq(base) {
		t.put(&chain{name: name, base: true})
	}
	*all = append(*all, t)
	return t, nil
}

func (t *table) chain(name string) *chain { return t.byName[name] }

func (t *table) put(c *chain) {
	t.chains = append(t.chains, c)
	t.byName[c.name] = c
}

// add makes a chain.
func (t *table) add(name string, line int) error {
	switch {
	case t.chain(name) != nil:
		return fail(line, "chain %s is there already", clip(name))
	case name == "" || name[0] == '-' || name[0] == '!' || len(name) > 28 || isTarget(name):
		return fail(line, "%q is no name of a chain", clip(name))
	}
	t.put(&chain{name: name})
	return nil
}

func (t *table) existing(name string, line int) (*chain, error) {
	if c := t.chain(name); c != nil {
		return c, nil
	}
	return nil, fail(line, "table %s has no chain %s", t.name, clip(name))
}

func (t *table) setPolicy(name, policy string, line int) error {
	c, err := t.existing(name, line)
	switch {
	case err != nil:
		return err
	case !c.base:
		return fail(line, "chain %s can have no policy", clip(name))
	case policy == "ACCEPT":
		c.policy = ruleset.Accept
	case policy == "DROP":
		c.policy = ruleset.Drop
	default:
		return fail(line, "%q is no policy", clip(policy))
	}
	return nil
}

// run carries out a command. What iptables would fail at is an error.
func (t *table) run(c command) error {
	if len(c.words) == 0 {
		return fail(c.line, "a command is missing")
	}
	verb, args := verb(c.words[0]), c.words[1:]
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch verb {
	case "-A", "-I", "-R", "-D":
		if name == "" {
			return fail(c.line, "%s of no chain", verb)
		}
		to, err := t.existing(name, c.line)
		if err != nil {
			return err
		}
		return to.change(verb, rule{line: c.line, text: c.text, words: args[1:]})
	case "-P":
		if len(args) != 2 {
			return fail(c.line, "-P takes a chain and a policy")
		}
		return t.setPolicy(name, args[1], c.line)
	case "-Z", "-L", "-S": // change no rule
		return nil
	case "-N", "-F", "-X":
		if len(args) > 1 || verb == "-N" && name == "" {
			return fail(c.line, "%s takes a chain and no more", verb)
		}
		return t.change(verb, name, c.line)
	}
	return unknown(c.line, "command `%s`", clip(c.words[0]))
}

// verb gives the short name of a command.
func verb(word string) string {
	switch word {
	case "--append":
		return "-A"
	case "--insert":
		return "-I"
	case "--replace":
		return "-R"
	case "--delete":
		return "-D"
	case "--policy":
		return "-P"
	case "--zero":
		return "-Z"
	case "--list":
		return "-L"
	case "--list-rules":
		return "-S"
	case "--new-chain":
		return "-N"
	case "--flush":
		return "-F"
	case "--delete-chain":
		return "-X"
	}
	return word
}

// change makes, empties and takes out chains: one, or all if name is "".
func (t *table) change(verb, name string, line int) error {
	if verb == "-N" {
		return t.add(name, line)
	}
	chosen := t.chains
	if name != "" {
		c, err := t.existing(name, line)
		if err != nil {
			return err
		}
		chosen = []*chain{c}
	}
	for _, c := range slices.Clone(chosen) {
		if verb == "-F" {
			c.rules = nil
			continue
		}
		if c.base && name == "" {
			continue
		}
		if c.base || len(c.rules) > 0 || t.leadsTo(c.name) {
			return fail(line, "chain %s is in use", c.name)
		}
		t.chains = slices.DeleteFunc(t.chains, func(other *chain) bool { return other == c })
		delete(t.byName, c.name)
	}
	return nil
}

// leadsTo says whether some rule may jump to a chain.
func (t *table) leadsTo(name string) bool {
	for _, c := range t.chains {
		for _, r := range c.rules {
			if slices.Contains(r.words, name) {
				return true
			}
		}
	}
	return false
}

// change adds a rule or takes one out.
func (c *chain) change(verb string, r rule) error {
	at, numbered := 0, false
	if verb != "-A" && len(r.words) > 0 {
		if n, err := strconv.Atoi(r.words[0]); err == nil {
			at, numbered = n, true
			r.words = r.words[1:]
		}
	}
	if verb == "-I" && !numbered {
		at = 1
	}
	most := len(c.rules)
	if verb == "-I" {
		most++
	}
	switch {
	case verb == "-A":
		c.rules = append(c.rules, r)
		return nil
	case verb == "-R" && !numbered:
		return fail(r.line, "-R takes the number of a rule")
	case verb == "-D" && !numbered:
		at = 1 + slices.IndexFunc(c.rules, func(old rule) bool { return slices.Equal(old.words, r.words) })
		if at == 0 {
			return fail(r.line, "chain %s has no rule of these words", c.name)
		}
		// iptables takes the first that means the same.
		if i := slices.IndexFunc(c.rules, func(old rule) bool { return old.gist() == r.gist() }); i+1 < at {
			return fail(r.line, "rule %d of chain %s may be the one meant too", i+1, c.name)
		}
	case verb == "-D" && len(r.words) > 0:
		return fail(r.line, "-D takes the number of a rule or its words")
	case at < 1 || at > most:
		return fail(r.line, "chain %s has no rule %d", c.name, at)
	}
	switch verb {
	case "-I":
		c.rules = slices.Insert(c.rules, at-1, r)
	case "-R":
		c.rules[at-1] = r
	case "-D":
		c.rules = slices.Delete(c.rules, at-1, at)
	}
	return nil
}

// gist is what rules have in common that mean the same in other words.
func (r rule) gist() string {
	var values []string
	words := r.plain()
	for i, word := range words {
		if strings.HasPrefix(word, "-") || i > 0 && short(words[i-1]) == "-m" {
			continue
		}
		values = append(values, strings.TrimSuffix(strings.TrimSuffix(word, "/32"), "/128"))
	}
	slices.Sort(values)
	return strings.Join(values, " ")
}
