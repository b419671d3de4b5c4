package xtables

import (
	"slices"
	"strings"

	"tirl/internal/verify/ruleset"
)

// elsewhere refuses lists that packets on their way in use, and others change:
// those that the host sends or forwards.
func (b *builder) elsewhere(all tables, family ruleset.Family) error {
	for _, t := range all {
		seen := make(map[*chain]bool)
		for _, c := range t.chains {
			if c.base && c.name != "PREROUTING" && c.name != "INPUT" {
				if err := b.changes(t, c, family, seen); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *builder) changes(t *table, from *chain, family ruleset.Family, seen map[*chain]bool) error {
	for todo := []*chain{from}; len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		if c == nil || seen[c] {
			continue
		}
		seen[c] = true
		for _, r := range c.rules {
			words := r.plain()
			for _, word := range words {
				if b.shares(word, family) && changesLists(words) {
					return unknown(r.line, "list `%s` changes on the way from %s too", clip(word), from.name)
				}
				todo = append(todo, t.chain(word)) // if it is one
			}
		}
	}
	return nil
}

// plain gives the words of a rule with --x=y in two, and the name of a list where
// it is left out.
func (r rule) plain() []string {
	var all []string
	for _, word := range r.words {
		if strings.HasPrefix(word, "--") {
			name, value, ok := strings.Cut(word, "=")
			if all = append(all, name); ok {
				all = append(all, value)
			}
			continue
		}
		all = append(all, word)
	}
	if slices.Contains(all, "recent") && !slices.Contains(all, "--name") {
		all = append(all, defaultList)
	}
	return all
}

func (b *builder) shares(name string, family ruleset.Family) bool {
	key := listName{name, family}
	_, isList := b.lists[key]
	_, isLimit := b.limits[key]
	return isList || isLimit
}

// changesLists errs on the side of yes.
func changesLists(words []string) bool {
	matches, reads := 0, 0
	for _, word := range words {
		switch word {
		case "hashlimit":
			return true
		case "recent":
			matches++
		case "--rcheck":
			reads++
		}
	}
	return matches != reads
}
