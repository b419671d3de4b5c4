package policy

import (
	"fmt"
	"slices"
	"strings"
)

// keysOf lists the tables of a policy and their keys, for hints.
func keysOf() map[string][]string {
	return map[string][]string{
		"":          {"version", "mode", "backend", "public", "trust", "refuse"},
		"firewall":  {"icmp", "dhcp"},
		"knocking":  {"step_timeout", "duplicates", "match_ttl", "ipv6_prefix", "per_source", "sources"},
		"log":       {"events"},
		"boot":      {"on_failure"},
		"door.NAME": {"opens", "knocks", "open_for", "from", "users"},

		"door.NAME.users.NAME": {"one_time", "first", "length", "ports", "pool"},
	}
}

// otherNames are what other tools and other languages call the keys.
func otherName(key string) string {
	switch strings.ToLower(key) {
	case "sequence", "knock", "ports":
		return "knocks"
	case "seq_timeout", "timeout":
		return "step_timeout"
	case "cmd_timeout", "open_time", "duration":
		return "open_for"
	case "service", "services", "open", "port", "opens_port":
		return "opens"
	case "allow", "sources_allowed", "source", "src":
		return "from"
	case "trusted", "whitelist", "allowlist":
		return "trust"
	case "doors":
		return "door"
	case "user":
		return "users"
	case "kind":
		return "one_time"
	case "logging":
		return "log"
	}
	return ""
}

// keyHint says what an unknown key was meant to be: a key of the same table
// with nearly its name, or one that belongs elsewhere.
func keyHint(path, key string, known []string) string {
	if other := otherName(key); slices.Contains(known, other) {
		return fmt.Sprintf("did you mean %s?", other)
	}
	if near := nearest(key, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	name := key
	if other := otherName(key); other != "" {
		name = other
	}
	for _, table := range []string{"", "firewall", "knocking", "log", "boot", "door.NAME", "door.NAME.users.NAME"} {
		if !slices.Contains(keysOf()[table], name) {
			continue
		}
		switch {
		case table == "":
			return name + " stands at the top of the file, above the first table"
		case table == "door.NAME" && strings.HasPrefix(path, "door.") && !strings.Contains(path, ".users."):
			continue
		}
		return fmt.Sprintf("%s belongs in [%s]", name, table)
	}
	return "the keys are " + strings.Join(known, ", ")
}

// nearest gives the name that a misspelt one is most like, if it is like one at
// all: its beginning, or at most a third of its letters away, counted as edits.
func nearest(s string, names []string) string {
	if len(s) > 40 {
		return ""
	}
	s = strings.ReplaceAll(strings.ToLower(s), "-", "_")
	best, least := "", 1<<10
	for _, name := range names {
		n := distance(s, name)
		if near := n <= max(1, len(name)/3) || len(s) > 2 && strings.HasPrefix(name, s); near && n < least {
			best, least = name, n
		}
	}
	return best
}

// distance counts the letters to add, drop or change, or to swap with the next
// one, to make b of a (the optimal string alignment distance).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
