package iptables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/tool"
)

// procDir holds a file for each list. A child process sees its own namespace's.
const procDir = "/proc/net/xt_recent/"

// Loaded implements backend.Backend. PolicyHash is empty if the families do not
// agree on it.
func (b *Backend) Loaded(ctx context.Context) (*backend.Loaded, error) {
	var all backend.Loaded
	lists := make(map[string]lifetime)
	found := false
	for i, fam := range families {
		text, err := b.run.Run(ctx, "", fam.save)
		if err != nil && !errors.Is(err, tool.ErrMissing) {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		kernel := parse(text)
		found = found || !kernel.empty()
		all.Blocked = all.Blocked || kernel.blocked()
		kernel = kernel.unblock()
		if hash := kernel.hash(); i == 0 {
			all.PolicyHash = hash
		} else if hash != all.PolicyHash {
			all.PolicyHash = ""
		}
		all.Rules += kernel.count()
		if !kernel.empty() {
			all.Text += "# " + fam.save + "\n" + kernel.restore(ruleset{})
			all.Listing += "# " + fam.save + "\n" + kernel.alone().restore(ruleset{})
			all.InFront = append(all.InFront, kernel.inFront(text, strings.TrimSuffix(fam.save, "-save"))...)
		}
		maps.Copy(lists, kernel.lifetimes())
	}
	if !found {
		return nil, nil
	}
	entries, err := b.entries(ctx, slices.Sorted(maps.Keys(lists)))
	if err != nil {
		return nil, fmt.Errorf("read sources: %w", err)
	}
	now := b.clock(ctx)
	for _, e := range entries {
		l, _ := parseList(e.list)
		left, live := now.left(e.seen, lists[e.list].timeout)
		switch {
		case !live:
		case l.place:
			p := backend.Place{Source: e.source, State: automaton.State(l.number), Left: left}
			if lists[e.list].ttl {
				p.TTL = e.ttl
			}
			all.Places = append(all.Places, p)
		default:
			all.Grants = append(all.Grants, backend.Grant{Source: e.source, Class: l.number, Left: left})
		}
	}
	return &all, nil
}

// hash reads the policy's hash from the comment of the first rule of TIRL.
func (r ruleset) hash() string {
	for _, t := range r.tables {
		for _, c := range t.chains {
			if c.name != main || len(c.rules) == 0 {
				continue
			}
			if hash, ok := strings.CutPrefix(option(words(c.rules[0]), "--comment"), about); ok {
				return hash
			}
		}
	}
	return ""
}

// alone gives the ruleset as if nobody else had rules in its base chains.
func (r ruleset) alone() ruleset {
	out := ruleset{slices.Clone(r.tables)}
	for i := range out.tables {
		jumps := slices.Clone(out.tables[i].jumps)
		for n := range jumps {
			jumps[n].at = n + 1
		}
		out.tables[i].jumps = jumps
	}
	return out
}

// inFront gives the rules of a saved text that stand before the first jump into tirl.
func (r ruleset) inFront(text, program string) []backend.Rule {
	var out []backend.Rule
	table, n := "", 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "*") {
			table, n = line[1:], 0
		}
		jumps := r.find(table).jumps
		if len(jumps) == 0 || !strings.HasPrefix(line, "-A "+base(table)+" ") {
			continue
		}
		if n++; n < jumps[0].at {
			out = append(out, backend.Rule{Where: fmt.Sprintf("chain %s of %s, table %s", base(table), program, table), Text: line})
		}
	}
	return out
}

func (r ruleset) count() int {
	n := 0
	for _, t := range r.tables {
		n += len(t.jumps)
		for _, c := range t.chains {
			n += len(c.rules)
		}
	}
	return n
}

// lifetime says how long an entry of a list counts, and whether its TTL does.
type lifetime struct {
	timeout time.Duration
	ttl     bool
}

// lifetimes finds the lists of places and grants, by the rules that ask them.
func (r ruleset) lifetimes() map[string]lifetime {
	lists := make(map[string]lifetime)
	for _, t := range r.tables {
		for _, c := range t.chains {
			for _, rule := range c.rules {
				w := words(rule)
				name := option(w, "--name")
				_, known := parseList(name)
				seconds, err := strconv.ParseUint(option(w, "--seconds"), 10, 32)
				if known && err == nil && slices.Contains(w, "--rcheck") {
					lists[name] = lifetime{time.Duration(seconds) * time.Second, slices.Contains(w, "--rttl")}
				}
			}
		}
	}
	return lists
}

// list is what the name of a list says.
type list struct {
	place  bool   // else a grant
	number uint32 // automaton.State or automaton.Class.ID
}

func parseList(name string) (list, bool) {
	rest := ""
	for _, fam := range families {
		if r, ok := strings.CutPrefix(name, fam.lists); ok {
			rest = r
		}
	}
	if id, ok := strings.CutPrefix(rest, "GRANT_"); ok {
		n, err := strconv.ParseUint(id, 16, 32)
		return list{false, uint32(n)}, err == nil && len(id) == 8
	}
	if at, ok := strings.CutPrefix(rest, "KNOCK"); ok {
		number, _, tagged := strings.Cut(at, "_")
		n, err := strconv.ParseUint(number, 10, 32)
		return list{true, uint32(n)}, err == nil && tagged
	}
	return list{}, false
}

// entry is one source in a list.
type entry struct {
	list   string
	source netip.Addr
	ttl    uint8
	seen   uint64 // in jiffies
}

// entries reads lists, all with one program.
func (b *Backend) entries(ctx context.Context, lists []string) ([]entry, error) {
	if len(lists) == 0 {
		return nil, nil
	}
	const script = `cd "$0" && for list; do echo "list $list"; cat "$list" || exit 1; done`
	out, err := b.run.Run(ctx, "", "sh", append([]string{"-c", script, procDir}, lists...)...)
	if err != nil {
		return nil, err
	}
	return parseEntries(out), nil
}

// parseEntries reads files of /proc/net/xt_recent, each after a line that names
// it (recent_seq_show, xt_recent.c).
func parseEntries(text string) []entry {
	var all []entry
	name := ""
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 2 && w[0] == "list" {
			name = w[1]
			continue
		}
		if len(w) < 5 || w[1] != "ttl:" || w[3] != "last_seen:" {
			continue
		}
		src, ok := strings.CutPrefix(w[0], "src=")
		addr, err := netip.ParseAddr(src)
		ttl, err2 := strconv.ParseUint(w[2], 10, 8)
		seen, err3 := strconv.ParseUint(w[4], 10, 64)
		if ok && errors.Join(err, err2, err3) == nil {
			all = append(all, entry{name, addr, uint8(ttl), seen})
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.list, b.list), a.source.Compare(b.source))
	})
	return all
}
