package xtables

import (
	"fmt"
	"reflect"
	"strings"

	"tirl/internal/verify/ruleset"
)

// dump writes a ruleset as text: hooks, then chains and their rules. Fields that
// are zero are left out, but for the first of a type's constants.
func dump(r *ruleset.Ruleset) string {
	var b strings.Builder
	for _, h := range r.Hooks {
		fmt.Fprintf(&b, "hook %d/%d %s policy %s\n", h.Families, h.Stage, r.Chains[h.Chain].Name, verdict(h.Policy))
	}
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "chain %s\n", c.Name)
		for _, rule := range c.Rules {
			fmt.Fprintf(&b, "\t%d:", rule.Line)
			for _, s := range rule.Statements {
				b.WriteString(" " + statement(r, s))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func verdict(v ruleset.Verdict) string {
	return [...]string{"accept", "drop", "reset", "reject-port", "reject-other", "return", "jump", "goto"}[v]
}

func statement(r *ruleset.Ruleset, s ruleset.Statement) string {
	switch s := s.(type) {
	case ruleset.Do:
		if s.Verdict == ruleset.Jump || s.Verdict == ruleset.Goto {
			return verdict(s.Verdict) + "(" + r.Chains[s.Chain].Name + ")"
		}
		return verdict(s.Verdict)
	case ruleset.Match:
		name := [...]string{"nfproto", "iface", "src", "conn", "dest", "proto", "dport", "sport", "flags", "icmp"}[s.Attr]
		s.Attr = 0
		return name + fields(s)
	case ruleset.Lookup:
		name := r.Sets[s.Set].Name
		s.Set = 0
		return "lookup(" + name + ")" + fields(s)
	case ruleset.Write:
		name := [...]string{"add", "update", "delete", "mark", "remove"}[s.Op] + "(" + r.Sets[s.Set].Name + ")"
		s.Op, s.Set = 0, 0
		return name + fields(s)
	}
	return strings.ToLower(reflect.TypeOf(s).Name()) + fields(s)
}

// fields writes those that are not zero.
func fields(v any) string {
	switch v := v.(type) {
	case fmt.Stringer:
		return v.String()
	case ruleset.Range:
		return fmt.Sprintf("%d-%d", v.First, v.Last)
	}
	of := reflect.ValueOf(v)
	switch of.Kind() {
	case reflect.Struct:
		var all []string
		for i := range of.NumField() {
			if !of.Field(i).IsZero() {
				all = append(all, of.Type().Field(i).Name+":"+fields(of.Field(i).Interface()))
			}
		}
		return "{" + strings.Join(all, " ") + "}"
	case reflect.Slice:
		var all []string
		for i := range of.Len() {
			all = append(all, fields(of.Index(i).Interface()))
		}
		return "[" + strings.Join(all, " ") + "]"
	}
	return fmt.Sprint(v)
}
