package doctor

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/port"
)

// ownChain is the first of tirl's chains; it is jumped to by name.
const ownChain = "TIRL"

// parseXtables reads what iptables-save or ip6tables-save of a program print,
// iptables-save(8). What it does not understand it takes for a match of some
// packets. Own says that tirl's rules are among them.
func parseXtables(text, program string, v6, firewall bool) (tables []*table, own bool) {
	var t *table
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			t = &table{program: program, family: map[bool]string{false: "ip", true: "ip6"}[v6], name: line[1:], chains: make(map[string]*chain)}
			tables = append(tables, t)
		case t == nil:
		case strings.HasPrefix(line, ":"):
			f := strings.Fields(line[1:])
			if len(f) < 2 {
				continue
			}
			c := t.chain(f[0])
			c.policy = accept
			if f[1] == "DROP" {
				c.policy = drop
			}
			if f[1] != "-" {
				c.settle()
			}
		case strings.HasPrefix(line, "-A "):
			words := splitWords(line)
			if len(words) < 2 {
				continue
			}
			if name := words[1]; name == ownChain || strings.HasPrefix(name, ownChain+"_") {
				own = true
				continue
			}
			c := t.chain(words[1])
			r := parseXtablesRule(words[2:], v6)
			if r.target == ownChain {
				own = true
				if r.verb = pass; firewall && c.hook == input {
					r.verb = accept // to whom a door is open
				}
			}
			r.text = line
			r.remove = program + " -t " + t.name + " -D " + line[len("-A "):]
			c.rules = append(c.rules, r)
		}
	}
	return tables, own
}

// settle hangs a built-in chain where the kernel has it.
func (c *chain) settle() {
	c.hook = hook(strings.ToLower(c.name))
	c.nat = c.table.name == "nat"
	c.priority = map[string]int{"raw": prioRaw, "mangle": prioMangle, "nat": prioDNAT}[c.table.name]
}

// splitWords cuts a line as the shell does: iptables-save quotes with " and \.
func splitWords(line string) []string {
	var words []string
	var word strings.Builder
	quoted, inWord := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, inWord = !quoted, true
		case c == ' ' && !quoted:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

// parseXtablesRule reads the words of a rule behind its chain.
func parseXtablesRule(words []string, v6 bool) rule {
	var r rule
	negated := false
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "!" {
			negated = true
			continue
		}
		if w == "-j" || w == "-g" {
			if i+1 < len(words) {
				r.aim(w == "-g", words[i+1], words[i+2:])
			}
			break
		}
		// The values of an option reach to the next one.
		end := i + 1
		for end < len(words) && words[end] != "!" && !isOption(words[end]) {
			end++
		}
		m := r.option(w, words[i+1:end])
		if m != nil && negated {
			positive, isIface := m, w == "-i"
			m = func(p packet) truth {
				if isIface {
					// A packet comes in by no interface in particular.
					return max(positive(p).not(), truthOf(positive(p) != yes))
				}
				return positive(p).not()
			}
		}
		if m != nil {
			r.matches = append(r.matches, m)
		}
		negated = false
		i = end - 1
	}
	return r
}

// isOption tells an option from a value such as -1.
func isOption(w string) bool {
	return len(w) > 1 && w[0] == '-' && (w[1] < '0' || w[1] > '9')
}

// aim reads a target and its options.
func (r *rule) aim(isGoto bool, target string, options []string) {
	value := func(name string) string {
		if i := slices.Index(options, name); i >= 0 && i+1 < len(options) {
			return options[i+1]
		}
		return ""
	}
	switch target {
	case "ACCEPT", "QUEUE", "NFQUEUE":
		r.verb = accept
	case "DROP", "REJECT":
		r.verb = drop
	case "RETURN":
		r.verb = leave
	case "NOTRACK":
		r.notrack = true
	case "CT":
		r.notrack = slices.Contains(options, "--notrack")
	case "DNAT":
		r.dnat = parseDestination(value("--to-destination"))
		r.verb = accept
	default:
		// A module's target, such as LOG, has no chain, and the walk goes on.
		r.verb, r.target = jump, target
		if isGoto {
			r.verb = branch
		}
	}
}

// parseDestination reads ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; of ranges it
// takes the beginning.
func parseDestination(s string) *destination {
	d := &destination{}
	s, _, _ = strings.Cut(s, "-")
	if ap, err := netip.ParseAddrPort(s); err == nil {
		d.addr, d.port = ap.Addr(), ap.Port()
	} else {
		d.addr, _ = netip.ParseAddr(strings.Trim(s, "[]"))
	}
	return d
}

// option gives the match of an option; nil if it matches everything.
func (r *rule) option(name string, values []string) match {
	value := ""
	if len(values) > 0 {
		value = values[0]
	}
	switch name {
	case "-m", "--comment", "--reject-with", "--icmp-type", "--icmpv6-type":
		return nil
	case "--limit", "--limit-burst", "--hashlimit-upto", "--hashlimit-burst", "--hashlimit-mode", "--hashlimit-name":
		r.limited = true
		return nil
	case "-p":
		return func(p packet) truth { return truthOf(isProto(value, p)) }
	case "-i":
		if value == "lo" {
			return never
		}
		return sometimes
	case "-d":
		return func(p packet) truth { return matchDestination(value, p) }
	case "--dport", "--dports":
		return func(p packet) truth { return truthOf(inPorts(value, ":", p.to.Number)) }
	case "--ctstate", "--state":
		return func(packet) truth { return truthOf(slices.Contains(strings.Split(value, ","), "NEW")) }
	case "--syn":
		return func(p packet) truth { return truthOf(p.to.Proto == port.TCP) }
	case "--tcp-flags":
		if len(values) == 2 {
			want := values[1] == "SYN" || values[1] == "NONE" && !slices.Contains(strings.Split(values[0], ","), "SYN")
			return func(p packet) truth { return truthOf(p.to.Proto == port.TCP && want) }
		}
	case "--dst-type":
		return func(p packet) truth { return truthOf(p.dst.IsValid() != strings.Contains(value, "LOCAL")) }
	case "-f":
		return never
	}
	return sometimes
}

func never(packet) truth     { return no }
func sometimes(packet) truth { return some }

// isProto compares a protocol's name or number, iptables(8).
func isProto(name string, p packet) bool {
	return name == "all" || name == p.to.Proto.String() || name == strconv.Itoa(int(p.to.Proto))
}

// inPorts reads a list of ports and ranges, 22,8000:8010.
func inPorts(list, dash string, n uint16) bool {
	for item := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(item, dash)
		if !isRange {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err == nil && err2 == nil && uint64(n) >= first && uint64(n) <= last {
			return true
		}
	}
	return false
}

// matchDestination says whether a packet goes to an address or network.
func matchDestination(text string, p packet) truth {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return some
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	switch a := prefix.Addr(); {
	case a.Is6() != p.v6:
		return no
	case prefix.Bits() == 0:
		return yes
	case p.dst.IsValid():
		return truthOf(prefix.Contains(p.dst))
	case a.IsMulticast(), a.IsLoopback(), a.IsLinkLocalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return no
	}
	return some
}
