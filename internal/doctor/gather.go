package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"tirl/internal/host"
	"tirl/internal/tool"
)

// Host is where facts are gathered.
type Host struct {
	Run tool.Runner
	// Kernel holds /proc and /sys, Config holds /etc: os.DirFS("/") for both, as a rule.
	Kernel, Config fs.FS
	// ClockSynced asks the kernel's clock, adjtimex(2); nil if it cannot be asked.
	ClockSynced func() (bool, error)
}

// Gather reads a host's facts. What cannot be read is left out, and the reason is
// in Unread. Firewall says that the policy is the host's input firewall.
func (h Host) Gather(ctx context.Context, firewall bool) Facts {
	g := &gatherer{Host: h, ctx: ctx}
	g.facts.Rules = g.rules(firewall)
	g.sockets()
	g.conntrack()
	g.facts.RecentTotal = max(0, g.number("sys/module/xt_recent/parameters/ip_list_tot"))
	g.facts.FlushFile = g.flushFile()
	g.facts.Healed = g.enabled("tirl-heal.timer")
	if h.ClockSynced != nil {
		synced, err := h.ClockSynced()
		g.facts.ClockKnown, g.facts.ClockSynced = err == nil, synced
	}
	return g.facts
}

type gatherer struct {
	Host
	ctx   context.Context
	facts Facts
}

func (g *gatherer) unread(err error) {
	if err != nil {
		g.facts.Unread = append(g.facts.Unread, err)
	}
}

// rules reads every firewall's rules.
func (g *gatherer) rules(firewall bool) Rules {
	var r Rules
	compatible := map[[2]string]bool{} // tables of iptables-nft, which nft lists too
	for i, name := range []string{"iptables", "ip6tables"} {
		v6 := i == 1
		found := false
		usual := g.usualVariant(name)
		for _, kind := range []string{"-nft", "-legacy"} {
			text, err := g.Run.Run(g.ctx, "", name+kind+"-save")
			if errors.Is(err, tool.ErrMissing) {
				continue
			}
			found = true
			if err != nil {
				g.unread(err)
				continue
			}
			program := name + kind
			if kind == usual {
				program = name
			}
			tables, own := parseXtables(text, program, v6, firewall)
			r.add(tables, v6, own)
			for _, t := range tables {
				if kind == "-nft" {
					compatible[[2]string{t.family, t.name}] = true
				}
			}
		}
		if !found {
			text, err := g.Run.Run(g.ctx, "", name+"-save")
			if err != nil && !errors.Is(err, tool.ErrMissing) {
				g.unread(err)
			}
			tables, own := parseXtables(text, name, v6, firewall)
			r.add(tables, v6, own)
		}
	}
	r.tables = append(r.tables, g.nft(func(family, name string) bool { return compatible[[2]string{family, name}] })...)
	return r
}

func (r *Rules) add(tables []*table, v6, own bool) {
	r.tables = append(r.tables, tables...)
	if own {
		r.own[map[bool]int{false: 0, true: 1}[v6]] = true
	}
}

// usualVariant says which program the plain name of iptables stands for,
// xtables-nft(8).
func (g *gatherer) usualVariant(name string) string {
	version, err := g.Run.Run(g.ctx, "", name, "-V")
	switch {
	case err != nil:
		return ""
	case strings.Contains(version, "nf_tables"):
		return "-nft"
	}
	return "-legacy"
}

// nft reads the tables of nftables. A first listing leaves out the elements of
// sets, of which there may be a million; those that decide by ports are read
// one by one.
func (g *gatherer) nft(skip func(family, name string) bool) []*table {
	text, err := g.Run.Run(g.ctx, "", "nft", "-j", "-t", "list", "ruleset")
	if err != nil {
		if !errors.Is(err, tool.ErrMissing) {
			g.unread(err)
		}
		return nil
	}
	named := map[string][]expr{}
	for _, use := range usedSets(text) {
		if skip(use.family, use.table) || use.table == own {
			continue
		}
		for _, kind := range []string{"set", "map"} {
			text, err := g.Run.Run(g.ctx, "", "nft", "-j", "list", kind, use.family, use.table, use.name)
			if err != nil {
				continue // it is of the other kind
			}
			if elements, ok := readElements(text); ok {
				named[use.String()] = elements
			}
			break
		}
	}
	tables, err := parseNft(text, skip, func(t *table, name string) ([]expr, bool) {
		elements, ok := named[setName{t.family, t.name, name}.String()]
		return elements, ok
	})
	g.unread(err)
	return tables
}

type setName struct{ family, table, name string }

func (s setName) String() string { return s.family + " " + s.table + " " + s.name }

// usedSets lists the named sets that decide by a port, and the named verdict maps.
func usedSets(text string) []setName {
	var l listing
	if json.Unmarshal([]byte(text), &l) != nil {
		return nil // the one that reads the rules complains
	}
	seen := map[setName]bool{}
	var list []setName
	for _, item := range l.Nftables {
		r := item.Rule
		if r == nil {
			continue
		}
		for _, s := range r.Expr {
			name, body := only(s)
			m, _ := body.(map[string]any)
			var ref string
			switch name {
			case "vmap":
				ref, _ = m["data"].(string)
			case "match":
				if left, err := json.Marshal(m["left"]); err == nil && strings.Contains(string(left), `"dport"`) {
					ref, _ = m["right"].(string)
				}
			}
			use := setName{r.Family, r.Table, strings.TrimPrefix(ref, "@")}
			if strings.HasPrefix(ref, "@") && !seen[use] {
				seen[use] = true
				list = append(list, use)
			}
		}
	}
	return list
}

func readElements(text string) ([]expr, bool) {
	var l listing
	if json.Unmarshal([]byte(text), &l) != nil {
		return nil, false
	}
	for _, item := range l.Nftables {
		if item.Set != nil {
			return item.Set.Elem, true
		}
		if item.Map != nil {
			return item.Map.Elem, true
		}
	}
	return nil, false
}

func (g *gatherer) sockets() {
	var err error
	g.facts.Listeners, err = host.Sockets(g.Kernel)
	g.unread(err)
	g.facts.Connections, err = host.Connections(g.Kernel)
	g.unread(err)
	// if_inet6 has a line an address, with the device at its end.
	text, err := fs.ReadFile(g.Kernel, "proc/net/if_inet6")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.unread(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		g.facts.IPv6 = g.facts.IPv6 || len(f) == 6 && f[5] != "lo"
	}
}

// conntrack reads Documentation/networking/nf_conntrack-sysctl.rst.
func (g *gatherer) conntrack() {
	g.facts.Tracked = g.number("proc/sys/net/netfilter/nf_conntrack_count")
	g.facts.TrackedMax = g.number("proc/sys/net/netfilter/nf_conntrack_max")
}

// number reads a file that holds one; -1 if there is none.
func (g *gatherer) number(name string) int {
	text, err := fs.ReadFile(g.Kernel, name)
	if errors.Is(err, fs.ErrNotExist) {
		return -1
	}
	n, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
	if err = errors.Join(err, err2); err != nil {
		g.unread(fmt.Errorf("read %s: %w", name, err))
		return -1
	}
	return n
}

var flushLine = regexp.MustCompile(`(?m)^[ \t]*flush[ \t]+ruleset\b`)

// flushFile gives the file that nftables.service loads, if it is enabled and
// begins by removing everything.
func (g *gatherer) flushFile() File {
	if !g.enabled("nftables.service") {
		return File{}
	}
	for _, name := range []string{"etc/nftables.conf", "etc/sysconfig/nftables.conf"} {
		text, err := fs.ReadFile(g.Config, name)
		if err == nil && flushLine.Match(text) {
			return File{"/" + name, string(text)}
		}
	}
	return File{}
}

// enabled says whether systemd starts a unit at boot, systemd.unit(5).
func (g *gatherer) enabled(unit string) bool {
	links, err := fs.Glob(g.Config, "etc/systemd/system/*.wants/"+unit)
	return err == nil && len(links) > 0
}
