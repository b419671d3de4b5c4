package nftables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// set is one set or map of the table.
type set struct {
	name     string
	isMap    bool
	typeof   string
	attrs    string // flags and size
	elements []string
	keeps    bool // outlives a change of policy
}

// chunk is how many elements one line of the ruleset carries.
const chunk = 1000

const (
	placeKey = "meta priority"
	portPart = "meta l4proto . th dport"
)

// sets lists every set and map that the rules of g use.
func sets(g *automaton.Program, fams [2]family) []set {
	list := staticSets(g)
	for _, f := range fams {
		size := fmt.Sprintf("size %d; flags dynamic,timeout;", g.Sources)
		list = append(list,
			set{name: f.started, isMap: true, typeof: f.placeType + " : meta priority", attrs: size},
			set{name: f.advanced, isMap: true, typeof: f.placeType + " : meta priority", attrs: size},
			set{name: f.bucket, typeof: f.bucketType, attrs: size})
		if hasOnce(g) {
			list = append(list, set{name: f.spent, typeof: f.placeType, attrs: size})
		}
		if hasTimed(g) {
			held := set{typeof: f.addrType + " . meta priority", keeps: true,
				attrs: fmt.Sprintf("size %d; flags dynamic,timeout;", GrantCapacity)}
			for _, held.name = range []string{f.grant, f.given} {
				list = append(list, held)
			}
		}
		list = append(list, eventSets(g, f)...)
	}
	list = append(list, userSets(g, fams)...)
	return append(list, set{name: blockedSet, typeof: "meta nfproto", keeps: true})
}

// staticSets are those that the packet path only reads: the automaton.
func staticSets(g *automaton.Program) []set {
	first := set{name: "first", isMap: true, typeof: portPart + " : meta priority"}
	step := set{name: "step", isMap: true, typeof: placeKey + " . " + portPart + " : meta priority"}
	for _, e := range g.Edges() {
		if e.From == automaton.Root {
			first.put(portKey(e.On) + " : " + handle(uint32(e.To)))
		} else {
			step.put(handle(uint32(e.From)) + " . " + portKey(e.On) + " : " + handle(uint32(e.To)))
		}
	}
	stayStarted := set{name: "stay_started", typeof: placeKey + " . " + portPart}
	stayAdvanced := set{name: "stay_advanced", typeof: placeKey + " . " + portPart}
	for _, s := range g.Stays() {
		stay := &stayAdvanced
		if g.Places[s.At].Depth == 1 {
			stay = &stayStarted
		}
		stay.put(handle(uint32(s.At)) + " . " + portKey(s.On))
	}
	firstKnocks(g, &first, &stayStarted)
	list := []set{first, step, stayStarted, stayAdvanced, knownPorts(g)}
	if hasTokens(g) {
		list = append(list, judgedPorts(g))
	}
	list = append(list, endSets(g)...)
	return append(list, exemptSets(g)...)
}

// knownPorts says what becomes of a packet by its port alone.
func knownPorts(g *automaton.Program) set {
	s := portVerdicts(g, "known")
	hidden := g.Hidden()
	if dhcp(g) {
		for _, p := range dhcpClients() {
			if !holds(g.Public, p) {
				s.add("%s : jump dhcp", portKey(p))
				hidden = without(hidden, p)
			}
		}
	}
	s.verdicts(g.Public, "accept")
	s.verdicts(hidden, "goto door")
	return s
}

// portVerdicts is an empty map for what becomes of packets to public and hidden services.
func portVerdicts(g *automaton.Program, name string) set {
	s := set{name: name, isMap: true, typeof: portPart + " : verdict"}
	if w := width(g.Public...) + width(g.Hidden()...); w > listed {
		s.inRanges()
	}
	return s
}

func (s *set) verdicts(of []port.Range, verdict string) {
	for _, r := range of {
		s.ports(r, "%s : "+verdict)
	}
}

// dhcp says whether packets of DHCP servers are let in.
func dhcp(g *automaton.Program) bool { return g.Firewall && g.DHCP }

// dhcpClients are the ports that DHCP servers answer to.
func dhcpClients() [2]port.Port {
	return [2]port.Port{{Proto: port.UDP, Number: 68}, {Proto: port.UDP, Number: 546}}
}

func holds(ranges []port.Range, p port.Port) bool {
	return slices.ContainsFunc(ranges, func(r port.Range) bool { return r.Contains(p) })
}

// without takes a port out of ranges.
func without(ranges []port.Range, p port.Port) []port.Range {
	var out []port.Range
	for _, r := range ranges {
		if !r.Contains(p) {
			out = append(out, r)
			continue
		}
		if r.First < p.Number {
			out = append(out, port.Range{Proto: r.Proto, First: r.First, Last: p.Number - 1})
		}
		if p.Number < r.Last {
			out = append(out, port.Range{Proto: r.Proto, First: p.Number + 1, Last: r.Last})
		}
	}
	return out
}

// listed is how many ports a set has one by one, if it is to be a hash: that is
// looked up in half the time that intervals take.
const listed = 1024

func width(ranges ...port.Range) int {
	n := 0
	for _, r := range ranges {
		n += int(r.Last-r.First) + 1
	}
	return n
}

// inRanges makes a set one of intervals. The name is another, so that a ruleset
// that is loaded by hand over one with a hash makes its own.
func (s *set) inRanges() { s.name, s.attrs = s.name+"_ranges", "flags interval;" }

// ports adds an element for a range, or for each of its ports.
func (s *set) ports(r port.Range, format string, args ...any) {
	add := func(key string) { s.add(format, append([]any{key}, args...)...) }
	if s.attrs != "" {
		add(rangeKey(r))
		return
	}
	for n := int(r.First); n <= int(r.Last); n++ {
		add(portKey(port.Port{Proto: r.Proto, Number: uint16(n)}))
	}
}

// endSets say what the end of a sequence opens, and to whom.
func endSets(g *automaton.Program) []set {
	opens := set{name: "opens", isMap: true, typeof: placeKey + " : verdict"}
	class := set{name: "class", isMap: true, typeof: placeKey + " : meta priority"}
	once := set{name: "once_class", isMap: true, typeof: placeKey + " : meta priority"}
	restricted := set{name: "restricted", typeof: placeKey}
	from4 := set{name: "from4", typeof: placeKey + " . ip saddr", attrs: "flags interval;"}
	from6 := set{name: "from6", typeof: placeKey + " . ip6 saddr", attrs: "flags interval;"}
	for _, d := range g.Doors {
		c, end := g.Classes[d.Class], handle(uint32(d.End))
		if c.Once {
			once.add("%s : %s", end, handle(c.ID))
		} else {
			opens.add("%s : goto %s", end, openChain(c.OpenFor))
			class.add("%s : %s", end, handle(c.ID))
		}
		if len(d.From) > 0 {
			restricted.add("%s", end)
		}
		for _, n := range disjoint(d.From) {
			from := &from4
			if n.Addr().Is6() {
				from = &from6
			}
			from.add("%s . %s", end, n)
		}
	}
	list := []set{opens, class, once, onceSet(g), restricted, from4, from6, openedAt(g)}
	return used(append(list, classMaps(g)...))
}

// classMaps lead from a service to the class that a grant has to be of, a layer
// each.
func classMaps(g *automaton.Program) []set {
	var list []set
	for i, layer := range g.GrantLayers() {
		s := set{name: fmt.Sprintf("grant_class%d", i+1), isMap: true, typeof: portPart + " : meta priority"}
		total := 0
		for _, cr := range layer {
			total += width(cr.Range)
		}
		if total > listed {
			s.inRanges()
		}
		for _, cr := range layer {
			s.ports(cr.Range, "%s : %s", handle(g.Classes[cr.Class].ID))
		}
		list = append(list, s)
	}
	return list
}

// onceSet holds the services of once doors by class, which a place at the end of
// one was exchanged for.
func onceSet(g *automaton.Program) set {
	s := set{name: "once_service", typeof: placeKey + " . " + portPart}
	total := 0
	for _, c := range g.Classes {
		if c.Once {
			total += width(c.Services...)
		}
	}
	if total > listed {
		s.inRanges()
	}
	for _, c := range g.Classes {
		if !c.Once {
			continue
		}
		for _, r := range c.Services {
			s.ports(r, handle(c.ID)+" . %s")
		}
	}
	return s
}

// exemptSets are what is never heard.
func exemptSets(g *automaton.Program) []set {
	trust4 := set{name: "trust4", typeof: "ip saddr", attrs: "flags interval;"}
	trust6 := set{name: "trust6", typeof: "ip6 saddr", attrs: "flags interval;"}
	for _, n := range disjoint(g.Trust) {
		if n.Addr().Is6() {
			trust6.add("%s", n)
		} else {
			trust4.add("%s", n)
		}
	}
	return used([]set{trust4, trust6})
}

func (s *set) add(format string, args ...any) {
	s.put(fmt.Sprintf(format, args...))
}

func (s *set) put(element string) { s.elements = append(s.elements, element) }

func used(list []set) []set {
	var out []set
	for _, s := range list {
		if len(s.elements) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// declare writes a set without its elements.
func (s set) declare(w *writer) {
	kind := "set"
	if s.isMap {
		kind = "map"
	}
	w.line("\t%s %s {", kind, s.name)
	w.line("\t\ttypeof %s", s.typeof)
	for attr := range strings.SplitSeq(s.attrs, ";") {
		if attr = strings.TrimSpace(attr); attr != "" {
			w.line("\t\t%s", attr)
		}
	}
	w.line("\t}")
}

// fill writes the elements.
func (s set) fill(w *writer) {
	for rest := s.elements; len(rest) > 0; {
		n := min(chunk, len(rest))
		w.line("add element %s %s { %s }", table, s.name, strings.Join(rest[:n], ", "))
		rest = rest[n:]
	}
}

// disjoint sorts prefixes and drops those that others cover: interval sets
// refuse overlaps.
func disjoint(in []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(in)
	slices.SortFunc(sorted, func(p, q netip.Prefix) int {
		return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
	})
	var out []netip.Prefix
	for _, p := range sorted {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
	}
	return out
}

func hasTimed(g *automaton.Program) bool { return len(g.OpenTimes()) > 0 }
