package iptables

import (
	"fmt"
	"math"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

const (
	// maxPlaces bounds what a packet of a source at the start costs: one look-up
	// in a list for each place.
	maxPlaces = 256
	// maxSeconds keeps seconds times HZ, at most 1000, within the 32 bits that
	// xt_recent.c counts them in.
	maxSeconds = math.MaxUint32 / 1000
	// listTotal is the default of xt_recent's ip_list_tot.
	listTotal = 100
	// maxInterface is one less than IFNAMSIZ.
	maxInterface = 15
)

// Check implements backend.Backend.
func (*Backend) Check(g *automaton.Program) []backend.Problem {
	var all []backend.Problem
	fail := func(key, hint, format string, args ...any) {
		all = append(all, backend.Problem{Key: key, Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	warn := func(key, hint, format string, args ...any) {
		all = append(all, backend.Problem{Key: key, Text: fmt.Sprintf(format, args...), Hint: hint, Warning: true})
	}
	const nft = `use backend = "nftables"`

	if text := unfit(g.StepTimeout); text != "" {
		fail("knocking.step_timeout", nft+", or whole seconds", "%s", text)
	}
	for i, d := range g.Doors {
		if slices.ContainsFunc(g.Users, func(u automaton.User) bool { return u.Door == i }) {
			fail("door."+d.Name+".users", nft, "iptables cannot take a value out of a list with the packet that uses it, so that it has no one-time knocks")
		}
		if c := g.Classes[d.Class]; !c.Once {
			if text := unfit(c.OpenFor); text != "" {
				fail("door."+d.Name+".open_for", nft+", or whole seconds", "%s", text)
			}
		}
	}
	if !g.Firewall && g.Reset {
		fail("refuse", nft+`, or refuse = "drop"`, "iptables has its REJECT target in the filter table only, and a guard sits in the mangle table")
	}
	if n := standing(g); n > maxPlaces {
		fail("door", nft, "the doors have %d places at which a source can stand; iptables looks for a source in the list of each of them with every packet, so that at most %d are allowed", n, maxPlaces)
	}
	if g.PerSource < 1 || g.PerSource > maxPerSource {
		fail("knocking.per_source", nft, "iptables counts 1 to %d packets a second", maxPerSource)
	}
	for _, p := range g.Protos {
		if p == 0 {
			fail("public", nft, "iptables takes protocol 0 for all protocols")
		}
	}
	for _, name := range g.Ifaces {
		if !matchable(name) {
			fail("trust", "", "iptables cannot match the interface %q by its name", name)
		}
	}
	if g.Sources > listTotal {
		warn("knocking.sources", moreSources(g), "a list of the recent match holds %d sources by default, not %d: the source that was quiet the longest loses its progress or its grant when more knock at once", listTotal, g.Sources)
	}
	if g.MatchTTL {
		warn("knocking.match_ttl", nft, "the recent match keeps one TTL for a source in each list: when the same address reaches the same place with two TTLs, the later one takes the place of the earlier; and all TTLs of an address share one bucket")
	}
	return all
}

// unfit says why a time cannot be a number of seconds of the recent match.
func unfit(d time.Duration) string {
	switch {
	case d < time.Second || d%time.Second != 0:
		return fmt.Sprintf("iptables counts whole seconds, and %s is none", d)
	case d/time.Second > maxSeconds:
		return fmt.Sprintf("iptables counts up to %d seconds, and %s is longer", maxSeconds, d)
	}
	return ""
}

func standing(g *automaton.Program) int {
	n := 0
	for s := range g.Places {
		if g.Standing(automaton.State(s)) {
			n++
		}
	}
	return n
}

// moreSources says how to make room. A list takes 16 bytes for each slot of a
// hash table, whose size is a power of two above ip_list_tot (xt_recent.c).
func moreSources(g *automaton.Program) string {
	slots := 1
	for slots <= g.Sources {
		slots *= 2
	}
	lists := 2 * (standing(g) + 1)
	for _, c := range g.Classes {
		if !c.Once {
			lists += 2
		}
	}
	return fmt.Sprintf("echo 'options xt_recent ip_list_tot=%d' > /etc/modprobe.d/tirl.conf, and load the module xt_recent anew, or boot with xt_recent.ip_list_tot=%[1]d; %d lists then take %d MB of memory",
		g.Sources, lists, (lists*slots*16+1<<20-1)>>20)
}
