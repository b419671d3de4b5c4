// Package sample makes up secrets and values for a policy's users, where none of
// real ones may be known or needed: in traces, in tests and in proofs. Everybody
// can compute them, so that no host may ever load one. It is pure.
package sample

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// Live is how many values each user has in a trace: numbers 0 to Live-1.
const Live = 4

// Secret is that of a user: the SHA-256 of "tirl sample " and his name.
func Secret(name string) onetime.Secret { return sha256.Sum256([]byte("tirl sample " + name)) }

// Name tells a user from all others: DOOR/USER.
func Name(g *automaton.Program, user int) string {
	return g.Doors[g.Users[user].Door].Name + "/" + g.Users[user].Name
}

// Value is one value of a user.
func Value(g *automaton.Program, user int, number uint64) automaton.Value {
	u := g.Users[user]
	p := onetime.Params{Kind: u.Kind, First: u.First, Length: u.Length, Lo: u.Ports.First, Hi: u.Ports.Last, Pool: u.Pool}
	serial := uint32(user)<<10 | uint32(number)%(1<<10)
	return g.Value(user, Secret(Name(g, user)), p, number, serial)
}

// Values are the first values of every user that can be live together, n of each at most.
func Values(g *automaton.Program, n int) []automaton.Value {
	var all []automaton.Value
	begun := map[[2]port.Port]bool{}
	loaded := func(first, second port.Port) bool { return begun[[2]port.Port{first, second}] }
	for user, u := range g.Users {
		for number := range uint64(n) {
			v := Value(g, user, number)
			if !g.Loadable(v, loaded) {
				continue
			}
			if u.Kind == policy.Sequence {
				begun[[2]port.Port{v.Knocks[0], v.Knocks[1]}] = true
			}
			all = append(all, v)
		}
	}
	return all
}

// User finds a user by USER or DOOR/USER.
func User(g *automaton.Program, name string) (int, error) {
	found := -1
	for i, u := range g.Users {
		if name == Name(g, i) {
			return i, nil
		}
		if name == u.Name {
			if found >= 0 {
				return 0, fmt.Errorf("there is a user %s at more than one door: write %s or %s", name, Name(g, found), Name(g, i))
			}
			found = i
		}
	}
	if found < 0 {
		return 0, fmt.Errorf("there is no user %q", name)
	}
	return found, nil
}

// Spell writes a trace's packets of users in full. alice:3 is the datagram of
// alice's token 3, and udp/53 token alice:3 the same one to another port; bob:3/2
// is the second knock of bob's sequence 3. All else stays as it is.
func Spell(g *automaton.Program, trace string) (string, error) {
	words := regexp.MustCompile(`#.*|\s+|[^\s#]\S*`).FindAllString(trace, -1)
	last, line := -1, 1 // the word before this one
	for i, word := range words {
		line += strings.Count(word, "\n")
		if strings.TrimSpace(word) == "" || word[0] == '#' {
			continue
		}
		before := last
		last = i
		if !strings.Contains(word, ":") || before >= 0 && words[before] == "from" {
			continue
		}
		isToken := before >= 0 && words[before] == "token"
		spelt, err := spell(g, word, isToken)
		if err != nil {
			return "", fmt.Errorf("line %d: %w", line, err)
		}
		if words[i] = spelt; isToken {
			words[before] = "data"
		}
	}
	return strings.Join(words, ""), nil
}

// SpellArgs is Spell for a trace that is the arguments of a command.
func SpellArgs(g *automaton.Program, args []string) ([]string, error) {
	text, err := Spell(g, strings.Join(args, "\n"))
	return strings.Split(text, "\n"), err
}

// spell writes one value, or one knock of it. Of a token the payload alone is
// asked for where the trace says where to send it.
func spell(g *automaton.Program, word string, payload bool) (string, error) {
	name, rest, _ := strings.Cut(word, ":")
	numberText, knockText, hasKnock := strings.Cut(rest, "/")
	number, err := strconv.ParseUint(numberText, 10, 64)
	if err != nil {
		return "", fmt.Errorf("expected USER:NUMBER or USER:NUMBER/KNOCK, not %q", word)
	}
	user, err := User(g, name)
	if err != nil {
		return "", err
	}
	v := Value(g, user, number)
	if v.Knocks == nil {
		if hasKnock {
			return "", fmt.Errorf("user %s has tokens, which are one datagram each", name)
		}
		data := hex.EncodeToString(v.Token[:])
		if payload {
			return data, nil
		}
		_, to := Secret(Name(g, user)).Token(number, onetime.Params{Lo: g.Users[user].Ports.First, Hi: g.Users[user].Ports.Last})
		return fmt.Sprintf("udp/%d data %s", to, data), nil
	}
	knock, err := strconv.Atoi(knockText)
	if err != nil || knock < 1 || knock > len(v.Knocks) || payload {
		return "", fmt.Errorf("user %s has sequences: write %s:%d/1 to %d for their knocks", name, name, number, len(v.Knocks))
	}
	return v.Knocks[knock-1].String(), nil
}
