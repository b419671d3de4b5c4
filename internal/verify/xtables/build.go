package xtables

import (
	"tirl/internal/verify/ruleset"
)

// maxDepth is how many jumps may be open at once. iptables-nft has the kernel's
// NFT_JUMP_STACK_SIZE; the older iptables goes deeper.
const maxDepth = 16

// builder makes a ruleset of tables.
type builder struct {
	scanner
	out    ruleset.Ruleset
	chains map[*chain]*state
	lists  map[listName]int
	limits map[listName]ruleset.HashLimit
	keys   map[ruleset.Field][]ruleset.Field
}

type listName struct {
	name   string
	family ruleset.Family
}

// state is how far a chain is built.
type state struct {
	index int
	done  bool
	depth int // of the jumps in it
}

func build(all *host) (*ruleset.Ruleset, error) {
	b := &builder{
		chains: make(map[*chain]*state),
		lists:  make(map[listName]int),
		limits: make(map[listName]ruleset.HashLimit),
		keys:   make(map[ruleset.Field][]ruleset.Field),
	}
	// In the order of enum nf_ip_hook_priorities.
	for _, h := range []struct {
		table, chain string
		stage        ruleset.Stage
	}{
		{"raw", "PREROUTING", ruleset.Prerouting}, {"mangle", "PREROUTING", ruleset.Prerouting},
		{"nat", "PREROUTING", ruleset.Prerouting},
		{"mangle", "INPUT", ruleset.Input}, {"filter", "INPUT", ruleset.Input}, {"security", "INPUT", ruleset.Input},
		{"nat", "INPUT", ruleset.Input},
	} {
		if err := b.hook(all.ipv4.find(h.table), h.chain, ruleset.IPv4, h.stage); err != nil {
			return nil, err
		}
		if err := b.hook(all.ipv6.find(h.table), h.chain, ruleset.IPv6, h.stage); err != nil {
			return nil, err
		}
	}
	if err := b.elsewhere(all.ipv4, ruleset.IPv4); err != nil {
		return nil, err
	}
	return &b.out, b.elsewhere(all.ipv6, ruleset.IPv6)
}

// hook adds a base chain, if it does anything.
func (b *builder) hook(t *table, name string, family ruleset.Family, stage ruleset.Stage) error {
	if t == nil {
		return nil
	}
	c := t.chain(name)
	if len(c.rules) == 0 && c.policy == ruleset.Accept {
		return nil
	}
	if t.name == "nat" {
		line := 0
		if len(c.rules) > 0 {
			line = c.rules[0].line
		}
		return unknown(line, "table `nat`")
	}
	s, err := b.chain(t, c, family, 0)
	if err != nil {
		return err
	}
	b.out.Hooks = append(b.out.Hooks, ruleset.Hook{Chain: s.index, Families: family, Stage: stage, Policy: c.policy})
	return nil
}

// chain adds a chain and those that it leads to. from is the line that leads here.
func (b *builder) chain(t *table, c *chain, family ruleset.Family, from int) (*state, error) {
	if s := b.chains[c]; s != nil {
		if !s.done {
			return nil, fail(from, "chain %s leads to itself", c.name)
		}
		return s, nil
	}
	s := &state{index: len(b.out.Chains)}
	b.chains[c] = s
	b.out.Chains = append(b.out.Chains, ruleset.Chain{Name: c.name})
	var rules []ruleset.Rule
	for _, r := range c.rules {
		parsed, err := b.scan(r)
		if err != nil {
			return nil, err
		}
		rules, err = b.rule(rules, &context{table: t, family: family, rule: r, spec: parsed, depth: &s.depth})
		if err != nil {
			return nil, err
		}
	}
	b.out.Chains[s.index].Rules = rules
	s.done = true
	return s, nil
}

// follow gives the chain that a rule leads to.
func (b *builder) follow(x *context, name string, isJump bool) (int, error) {
	c, err := x.table.existing(name, x.line)
	if err != nil {
		return 0, err
	}
	if c.base {
		return 0, fail(x.line, "no rule can lead to %s", name)
	}
	s, err := b.chain(x.table, c, x.family, x.line)
	if err != nil {
		return 0, err
	}
	depth := s.depth
	if isJump {
		depth++
	}
	if depth > maxDepth {
		return 0, fail(x.line, "chains jump more than %d deep", maxDepth)
	}
	*x.depth = max(*x.depth, depth)
	return s.index, nil
}

// list gives the set of a list of the recent match.
func (b *builder) list(name string, family ruleset.Family, line int) int {
	key := listName{name, family}
	i, ok := b.lists[key]
	if !ok {
		i = len(b.out.Sets)
		b.out.Sets = append(b.out.Sets, ruleset.Set{Name: name, Line: line, Dynamic: true})
		b.lists[key] = i
	}
	return i
}

// key makes a key of one field, once for all that have the same.
func (b *builder) key(f ruleset.Field) []ruleset.Field {
	k := b.keys[f]
	if k == nil {
		k = []ruleset.Field{f}
		b.keys[f] = k
	}
	return k
}
