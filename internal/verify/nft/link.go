package nft

import (
	"cmp"
	"slices"

	"tirl/internal/verify/ruleset"
)

// linker turns the chains that packets on their way in meet into a ruleset.
type linker struct {
	*words
	failed *error
	load   *loader
	out    *ruleset.Ruleset
	sets   []*set // by index
	setAt  map[*set]int
	chains []*chain // by index
	at     map[*chain]int

	written map[*set]bool // by rules of out
	grown   map[*set]bool // that rules put elements into
	bucket  map[*set]bool // whose elements hold a limit
	untimed map[*set]bool // that rules put elements into for ever
	// What must hold of a set once all is known of it.
	static  []use // packets do not change it
	closed  []use // packets put nothing into it
	lookups []use // its elements hold no limit
}

// use is a place that refers to a set.
type use struct {
	set  *set
	at   token
	what string
}

// The priorities at which the kernel puts fragments together and tracks
// connections (enum nf_ip_hook_priorities).
const (
	defragmentation = -400
	tracking        = -200
)

func link(l *loader) (*ruleset.Ruleset, error) {
	k := &linker{
		words: l.words, failed: l.failed, load: l, out: &ruleset.Ruleset{},
		setAt: map[*set]int{}, at: map[*chain]int{},
		written: map[*set]bool{}, grown: map[*set]bool{}, bucket: map[*set]bool{}, untimed: map[*set]bool{},
	}
	hooks, outside := k.hooks()
	for _, c := range hooks {
		stage := ruleset.Prerouting
		if c.base.hook == "input" {
			stage = ruleset.Input
		}
		policy := ruleset.Accept
		if c.base.drop {
			policy = ruleset.Drop
		}
		k.out.Hooks = append(k.out.Hooks, ruleset.Hook{Chain: k.chain(c), Families: c.table.family, Stage: stage, Policy: policy})
	}
	for i := 0; i < len(k.chains); i++ { // grows as chains refer to others
		k.translate(i)
		if *k.failed != nil {
			return nil, *k.failed
		}
	}
	k.finishSets()
	k.checkOutside(outside)
	k.checkLoops()
	k.checkEarly(hooks)
	if *k.failed != nil {
		return nil, *k.failed
	}
	return k.out, nil
}

func (k *linker) fail(err error) {
	if *k.failed == nil {
		*k.failed = err
	}
}

// unknown fails with what is not understood on a line.
func (k *linker) unknown(line int, what string) {
	k.fail(&ruleset.UnknownError{Line: line, What: what})
}

// hooks gives the base chains that packets meet on their way in, in their order,
// and those that they do not meet.
func (k *linker) hooks() (hooks, outside []*chain) {
	for _, t := range k.load.tables {
		for _, c := range t.order {
			b := c.base
			if b == nil {
				continue
			}
			switch idle := len(c.rules) == 0 && !b.drop; {
			case b.hook == "forward" || b.hook == "output" || b.hook == "postrouting":
				outside = append(outside, c)
			case b.hook != "prerouting" && b.hook != "input":
				k.unknown(b.line, "hook `"+b.hook+"`")
			case idle:
			case b.kind != "filter":
				k.unknown(b.line, "chain type `"+b.kind+"` at "+b.hook)
			case b.hook == "prerouting" && b.priority <= defragmentation:
				k.unknown(b.line, "chain `"+c.name+"` before fragments are put together")
			default:
				hooks = append(hooks, c)
			}
		}
	}
	// Of two chains at the same priority the one that was registered last comes
	// first (net/netfilter/core.c, nf_hook_entries_grow).
	slices.Reverse(hooks)
	slices.SortStableFunc(hooks, func(a, b *chain) int {
		return cmp.Or(-cmp.Compare(a.base.hook, b.base.hook), cmp.Compare(a.base.priority, b.base.priority))
	})
	for i, b := range hooks {
		for _, a := range hooks[:i] {
			if a.table != b.table && a.base.hook == b.base.hook && a.base.priority == b.base.priority && a.table.family&b.table.family != 0 {
				k.unknown(a.base.line, "chains `"+b.name+"` and `"+a.name+"` of two tables at the same priority")
			}
		}
	}
	return hooks, outside
}

// chain gives the index of a chain, and notes that packets can get there.
func (k *linker) chain(c *chain) int {
	i, ok := k.at[c]
	if !ok {
		i = len(k.chains)
		k.at[c] = i
		k.chains = append(k.chains, c)
		k.out.Chains = append(k.out.Chains, ruleset.Chain{Name: k.fullName(c.table, c.name)})
	}
	return i
}

// fullName tells the tables apart if there are several.
func (k *linker) fullName(t *table, name string) string {
	if len(k.load.tables) < 2 {
		return name
	}
	family := map[ruleset.Family]string{ruleset.IPv4: "ip", ruleset.IPv6: "ip6", ruleset.Both: "inet"}[t.family]
	return family + " " + t.name + " " + name
}

// target gives the index of a chain that is referred to by name.
func (k *linker) target(t *table, name string, at token) int {
	c := t.chains[name]
	switch {
	case c == nil:
		k.fail(at.errorf("chain %s does not exist", name))
		return 0
	case c.base != nil:
		k.fail(at.errorf("chain %s is a base chain, nothing can go there", name))
		return 0
	}
	return k.chain(c)
}

// set gives the index of a set, and finds the chains that its verdicts lead to.
func (k *linker) set(t *table, s *set, at token) int {
	i, ok := k.setAt[s]
	if ok {
		return i
	}
	if s.strange != "" {
		k.unknown(int(at.line), "set of type `"+s.strange+"`")
	}
	i = len(k.sets)
	k.setAt[s] = i
	k.sets = append(k.sets, s)
	name := s.name
	if name != "" {
		name = k.fullName(t, name)
	}
	for j, target := range s.targets {
		if target != "" {
			s.elements[j].Chain = k.target(t, target, at)
		}
	}
	k.out.Sets = append(k.out.Sets, ruleset.Set{Name: name, Line: s.line})
	return i
}

// finishSets says of each set whether packets change it.
func (k *linker) finishSets() {
	for i, s := range k.sets {
		out := &k.out.Sets[i]
		out.Dynamic = s.timed || k.written[s]
		out.Drained = k.written[s] && !k.grown[s]
		out.Limited = k.bucket[s] && !bySource(s)
		if !out.Dynamic {
			out.Elements = s.elements
		}
		switch {
		case out.Drained:
		case s.forever != nil && !k.untimed[s]:
			k.unknown(int(s.forever.line), "element of set `"+s.name+"` that does not expire")
		case k.written[s] && !s.timed && len(s.elements) > 0 && !k.untimed[s]:
			k.unknown(s.line, "element of set `"+s.name+"` that does not expire")
		}
	}
	for _, u := range k.static {
		if u.set.timed || k.written[u.set] {
			k.unknown(int(u.at.line), u.what)
		}
	}
	for _, u := range k.closed {
		if k.grown[u.set] || u.set.timed && !k.written[u.set] {
			k.unknown(int(u.at.line), u.what)
		}
	}
	for _, u := range k.lookups {
		if k.bucket[u.set] && bySource(u.set) {
			k.unknown(int(u.at.line), u.what)
		}
	}
}

// bySource says whether a set has the source in its key.
func bySource(s *set) bool {
	return slices.ContainsFunc(s.key, func(k valueKind) bool { return k == addr4 || k == addr6 || k == upper64 })
}

// checkOutside looks at chains that packets on their way in do not meet: they
// must not change the sets that other chains look at.
func (k *linker) checkOutside(outside []*chain) {
	seen := map[*chain]bool{}
	for len(outside) > 0 {
		c := outside[len(outside)-1]
		outside = outside[:len(outside)-1]
		if c == nil || seen[c] {
			continue
		}
		seen[c] = true
		for _, r := range c.rules {
			writes := slices.ContainsFunc(r.tokens, func(t token) bool { return t.is("add") || t.is("update") || t.is("delete") || t.is("meter") })
			for i, t := range r.tokens[1:] {
				switch before := r.tokens[i]; {
				case before.is("jump") || before.is("goto"):
					outside = append(outside, c.table.chains[t.text])
				case (before.is("@") || before.is("meter")) && c.table.sets[t.text] != nil:
					s := c.table.sets[t.text]
					for _, name := range s.targets {
						outside = append(outside, c.table.chains[name])
					}
					if _, used := k.setAt[s]; used && writes {
						k.unknown(r.line, "chain `"+c.name+"`, which other packets meet, may change set `"+s.name+"`")
					}
				}
			}
		}
	}
}

// leads gives the chains that a chain's rules lead to.
func (k *linker) leads(chain int) []int {
	var to []int
	for _, r := range k.out.Chains[chain].Rules {
		for _, s := range r.Statements {
			switch s := s.(type) {
			case ruleset.Do:
				if s.Verdict == ruleset.Jump || s.Verdict == ruleset.Goto {
					to = append(to, s.Chain)
				}
			case ruleset.VerdictMap:
				for _, e := range k.out.Sets[s.Set].Elements {
					if e.Then == ruleset.Jump || e.Then == ruleset.Goto {
						to = append(to, e.Chain)
					}
				}
			}
		}
	}
	slices.Sort(to)
	return slices.Compact(to)
}

// checkLoops refuses chains that lead back to themselves, as the kernel does
// (nf_tables_api.c, nft_chain_validate).
func (k *linker) checkLoops() {
	const open, done = 1, 2
	state := make([]int, len(k.chains))
	var visit func(int)
	visit = func(c int) {
		state[c] = open
		for _, to := range k.leads(c) {
			switch state[to] {
			case open:
				k.fail(token{line: int32(k.chains[to].line), col: 1}.errorf("chain %s leads back to itself", k.chains[to].name))
			case 0:
				visit(to)
			}
		}
		state[c] = done
	}
	for c := range k.chains {
		if state[c] == 0 {
			visit(c)
		}
	}
}

// checkEarly refuses ct state where no connection is tracked yet: there every
// packet is invalid.
func (k *linker) checkEarly(hooks []*chain) {
	seen := make([]bool, len(k.chains))
	var visit func(int)
	visit = func(c int) {
		if seen[c] {
			return
		}
		seen[c] = true
		for _, r := range k.out.Chains[c].Rules {
			for _, s := range r.Statements {
				if m, ok := s.(ruleset.Match); ok && m.Attr == ruleset.Conn {
					k.unknown(r.Line, "match `ct state` before connections are tracked")
				}
			}
		}
		for _, to := range k.leads(c) {
			visit(to)
		}
	}
	for _, c := range hooks {
		if c.base.hook == "prerouting" && c.base.priority <= tracking {
			visit(k.at[c])
		}
	}
}
