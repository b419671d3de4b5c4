package verify

import (
	"fmt"
	"strings"

	"tirl/internal/verify/ruleset"
)

// node is a rule and all that can follow it, with whatever cannot matter left
// out: counters, log lines, and the sets that only those depend on. Equal
// continuations are one node, so that a branch both of whose ways lead to the
// same node is seen to decide nothing.
type node struct {
	id    int
	kind  nodeKind
	do    ruleset.Verdict // of a verdict; of a rule: what it ends with
	line  int
	tests []ruleset.Statement
	// A rule ends with nothing (next), with Jump or Goto to target, with a verdict,
	// or with a verdict map.
	ends    ending
	target  *node
	vmap    *ruleset.VerdictMap
	targets map[int]*node // by chain, of vmap
	next    *node
	alone   bool  // of a Remove that ends a rule: what it finds decides nothing
	removes []int // instead of all that: the sets that a run of such rules takes the source out of
}

type nodeKind uint8

const (
	atEnd     nodeKind = iota // the end of a chain, or return
	atVerdict                 // accept, drop or reject
	atRule
)

type ending uint8

const (
	endsOpen ending = iota
	endsVerdict
	endsReturn
	endsJump
	endsGoto
	endsMap
)

// hashLimitSet is how a bucket of the hashlimit match is named among sets.
func hashLimitSet(name string) string { return "hashlimit " + name }

// slicer builds the nodes of a ruleset.
type slicer struct {
	rs       *ruleset.Ruleset
	relevant map[string]bool // names of dynamic sets that a verdict depends on
	found    map[string]bool // names to be added
	memo     map[[2]int]*node
	byKey    map[string]*node
	unknown  error
}

// slice gives the first node of every chain that is a hook, and the names of the
// dynamic sets that matter. Sets are added until no branch on another one
// decides anything.
func slice(rs *ruleset.Ruleset) ([]*node, map[string]bool, error) {
	relevant := make(map[string]bool)
	for {
		s := &slicer{rs: rs, relevant: relevant, found: make(map[string]bool), memo: make(map[[2]int]*node), byKey: make(map[string]*node)}
		roots := make([]*node, len(rs.Hooks))
		for i, h := range rs.Hooks {
			roots[i] = s.chain(h.Chain, 0)
		}
		known := len(relevant)
		for name := range s.found {
			relevant[name] = true
		}
		if len(relevant) == known {
			return roots, relevant, s.unknown
		}
	}
}

func (s *slicer) intern(n node, key string) *node {
	if old := s.byKey[key]; old != nil {
		return old
	}
	n.id = len(s.byKey) + 1
	s.byKey[key] = &n
	return &n
}

func (s *slicer) end() *node { return s.intern(node{kind: atEnd}, "end") }

func (s *slicer) verdict(v ruleset.Verdict) *node {
	return s.intern(node{kind: atVerdict, do: v}, fmt.Sprint("verdict ", v))
}

// chain gives the node of what follows from rule i of a chain on.
func (s *slicer) chain(c, i int) *node {
	rules := s.rs.Chains[c].Rules
	if i >= len(rules) {
		return s.end()
	}
	at := [2]int{c, i}
	if n := s.memo[at]; n != nil {
		return n
	}
	// From the last rule on, so that the depth of calls does not grow with the chain.
	for j := len(rules) - 1; j >= i; j-- {
		if at := [2]int{c, j}; s.memo[at] == nil {
			s.memo[at] = s.rule(&rules[j], s.chain(c, j+1))
		}
	}
	return s.memo[at]
}

// rule builds one rule in front of next.
func (s *slicer) rule(r *ruleset.Rule, next *node) *node {
	n := node{kind: atRule, line: r.Line, next: next}
	var free []string // sets that do not matter so far, and are asked
	global, effects := false, false
	for _, st := range r.Statements {
		switch st := st.(type) {
		case ruleset.Note:
		case ruleset.GlobalLimit:
			global = true
		case ruleset.Do:
			s.ends(&n, st)
		case ruleset.VerdictMap:
			s.maps(&n, st)
		default:
			if name, asks, changes := s.uses(st); name != "" && !s.relevant[name] {
				if asks {
					free = append(free, name)
				}
				continue
			} else if changes {
				effects = true
			}
			n.tests = append(n.tests, st)
		}
	}
	if !effects && s.idle(&n) {
		return next
	}
	if len(n.tests) == 0 && len(free) == 0 && !global {
		// Nothing stops this rule.
		switch n.ends {
		case endsVerdict:
			return s.verdict(n.do)
		case endsReturn:
			return s.end()
		case endsGoto:
			return n.target
		}
	}
	for _, name := range free {
		s.found[name] = true
	}
	if global && len(free) == 0 && s.unknown == nil {
		s.unknown = &ruleset.UnknownError{Line: r.Line, What: "a `limit` that all sources share decides about packets"}
	}
	if n.ends == endsOpen && len(n.tests) == 1 && n.setsRegister() && next.setsRegister() {
		return next // written again before anything reads it
	}
	if last := len(n.tests) - 1; n.ends == endsOpen && last >= 0 {
		w, ok := n.tests[last].(ruleset.Write)
		n.alone = ok && w.Op == ruleset.Remove
		if n.alone && last == 0 && len(w.Key) == 1 && w.Key[0].Kind == ruleset.FieldSrc {
			n.removes = []int{w.Set}
			if next.removes != nil {
				n.removes, n.next = append(n.removes, next.removes...), next.next
			}
		}
	}
	return s.intern(n, s.key(&n))
}

// setsRegister says whether the first thing that a rule does, whatever the packet,
// is to put a number into the register.
func (n *node) setsRegister() bool {
	if len(n.tests) == 0 {
		return false
	}
	_, ok := n.tests[0].(ruleset.SetRegister)
	return ok
}

// idle says whether a rule whose statements change nothing leads to the same
// node, whether they hold or not.
func (s *slicer) idle(n *node) bool {
	switch n.ends {
	case endsOpen:
		return true
	case endsVerdict:
		return n.next == s.verdict(n.do)
	case endsReturn:
		return n.next == s.end()
	case endsJump:
		return n.target == s.end()
	case endsGoto:
		return n.target == n.next
	}
	return false
}

func (s *slicer) ends(n *node, do ruleset.Do) {
	switch do.Verdict {
	case ruleset.Jump:
		n.ends, n.target = endsJump, s.chain(do.Chain, 0)
	case ruleset.Goto:
		n.ends, n.target = endsGoto, s.chain(do.Chain, 0)
	case ruleset.Return:
		n.ends = endsReturn
	default:
		n.ends, n.do = endsVerdict, do.Verdict
	}
}

func (s *slicer) maps(n *node, m ruleset.VerdictMap) {
	n.ends, n.vmap, n.targets = endsMap, &m, make(map[int]*node)
	for _, e := range s.rs.Sets[m.Set].Elements {
		if e.Then == ruleset.Goto || e.Then == ruleset.Jump {
			n.targets[e.Chain] = s.chain(e.Chain, 0)
		}
	}
}

// uses names the dynamic set that a statement has to do with, and says whether
// the statement can stop its rule by it, and whether it changes it. A statement that
// changes the register changes something too.
func (s *slicer) uses(st ruleset.Statement) (name string, asks, changes bool) {
	switch st := st.(type) {
	case ruleset.SetRegister:
		return "", false, true
	case ruleset.Load:
		if set := &s.rs.Sets[st.Set]; set.Dynamic {
			s.found[set.Name] = true
			return "", true, true
		}
		return "", false, true
	case ruleset.Lookup:
		if set := &s.rs.Sets[st.Set]; set.Dynamic {
			return set.Name, true, st.Touch
		}
	case ruleset.Write:
		return s.rs.Sets[st.Set].Name, st.Limit != nil || st.Op == ruleset.Remove, true
	case ruleset.HashLimit:
		return hashLimitSet(st.Name), true, true
	}
	return "", false, false
}

// key is the same for rules that do the same.
func (s *slicer) key(n *node) string {
	var b strings.Builder
	for _, st := range n.tests {
		fmt.Fprintf(&b, "%T%v", st, st)
		if w, ok := st.(ruleset.Write); ok {
			if w.Value != nil {
				fmt.Fprint(&b, *w.Value)
			}
			if w.Limit != nil {
				fmt.Fprint(&b, *w.Limit)
			}
		}
		b.WriteByte(';')
	}
	fmt.Fprint(&b, n.ends, n.do, n.alone, n.removes)
	if n.target != nil {
		fmt.Fprint(&b, " to ", n.target.id)
	}
	if n.vmap != nil {
		fmt.Fprint(&b, *n.vmap)
	}
	fmt.Fprint(&b, " next ", n.next.id)
	return b.String()
}
