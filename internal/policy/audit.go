package policy

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"tirl/internal/port"
)

// Host is what Audit has to know of the machine that a policy is for.
type Host struct {
	// The ports that the kernel gives to outgoing connections
	// (net.ipv4.ip_local_port_range); both 0 if unknown.
	EphemeralFirst, EphemeralLast uint16
	// Reserved are those of them that it does not give (ip_local_reserved_ports).
	Reserved []port.Span
	// What programs listen on; those that only the machine itself can reach are
	// left out by the caller.
	Listeners []Listener
	// The mode of the policy file; 0 if unknown.
	FileMode fs.FileMode
}

// Ephemeral says whether the host connects from a port by itself.
func (h Host) Ephemeral(number uint16) bool {
	return h.EphemeralFirst > 0 && h.EphemeralFirst <= number && number <= h.EphemeralLast &&
		!slices.ContainsFunc(h.Reserved, func(r port.Span) bool { return r.Contains(number) })
}

// Listener is a port that a program waits at.
type Listener struct {
	Service port.Port
	Program string // may be empty
}

// Audit warns of what is wrong with a policy on one host. Every diagnostic is a
// Warning.
func (p *Policy) Audit(h Host) Diagnostics {
	var ds Diagnostics
	warn := func(path, text, hint string) {
		ds = append(ds, p.Diagnose(path, Warning, text, hint))
	}
	p.auditFile(h, warn)
	p.auditEphemeral(h, warn)
	p.auditListeners(h, warn)
	ds.Sort()
	return ds
}

type warner func(path, text, hint string)

func (p *Policy) auditFile(h Host, warn warner) {
	name := "FILE"
	if p.places != nil && p.places.src.file != "" {
		name = p.places.src.file
	}
	mode := h.FileMode.Perm()
	hint := "chmod 600 " + name
	if mode&0o022 != 0 {
		warn("", fmt.Sprintf("others than its owner can change the policy file (mode %04o)", mode), hint)
	} else if mode&0o004 != 0 {
		warn("", fmt.Sprintf("everybody on this host can read the knocks (mode %04o)", mode), hint)
	}
}

// auditEphemeral looks for knocks at ports that the host itself connects from:
// an answer to it could then count as a knock, or a knock look like an answer.
func (p *Policy) auditEphemeral(h Host, warn warner) {
	if h.EphemeralFirst == 0 || h.EphemeralLast < h.EphemeralFirst {
		return
	}
	hint := fmt.Sprintf("choose ports outside %d to %d", h.EphemeralFirst, h.EphemeralLast)
	if h.EphemeralFirst > 1024 {
		hint = fmt.Sprintf("choose ports from 1024 to %d", h.EphemeralFirst-1)
		if h.EphemeralLast < 65535 {
			hint += fmt.Sprintf(" or above %d", h.EphemeralLast)
		}
	}
	for _, d := range p.Doors {
		var inside []string
		first := -1
		for i, k := range d.Knocks {
			if h.Ephemeral(k.Number) {
				if first < 0 {
					first = i
				}
				inside = append(inside, k.String())
			}
		}
		if first >= 0 {
			warn(fmt.Sprintf("door.%s.knocks[%d]", d.Name, first),
				fmt.Sprintf("this host uses the ports from %d to %d for its own connections, so %s may fail as a knock",
					h.EphemeralFirst, h.EphemeralLast, strings.Join(inside, ", ")), hint)
		}
	}
}

// auditListeners looks for services that the policy does not know.
func (p *Policy) auditListeners(h Host, warn warner) {
	heard := map[port.Proto]bool{}
	var doors, public []owned
	for _, d := range p.Doors {
		for _, k := range d.Knocks {
			heard[k.Proto] = true
		}
		for _, r := range d.Opens {
			doors = append(doors, owned{ports: r, door: d.Name})
		}
	}
	for _, r := range p.Public.Services {
		public = append(public, owned{ports: r})
	}
	doors, public = cover(doors), cover(public)
	listeners := slices.Clone(h.Listeners)
	slices.SortStableFunc(listeners, func(a, b Listener) int { return a.Service.Compare(b.Service) })
	listeners = slices.CompactFunc(listeners, func(a, b Listener) bool { return a.Service == b.Service })
	for _, l := range listeners {
		r := port.Range{Proto: l.Service.Proto, First: l.Service.Number, Last: l.Service.Number}
		if _, ok := owner(public, r); ok {
			continue
		}
		if _, ok := owner(doors, r); ok {
			continue
		}
		who := "a program"
		if l.Program != "" {
			who = printable(l.Program)
		}
		switch {
		case p.Mode == Firewall:
			warn("public", fmt.Sprintf("%s listens on %s, which this policy closes to everybody but trust", who, l.Service),
				fmt.Sprintf("if others need it, add %q to public or to a door's opens", l.Service))
		case heard[l.Service.Proto]:
			warn("public", fmt.Sprintf("%s listens on %s: a client that uses it between two knocks has to start again", who, l.Service),
				fmt.Sprintf("add %q to public", l.Service))
		}
	}
	p.auditKnocksInUse(h, warn)
}

// auditKnocksInUse looks for knocks at ports where something listens.
func (p *Policy) auditKnocksInUse(h Host, warn warner) {
	programs := map[port.Port]string{}
	for _, l := range h.Listeners {
		programs[l.Service] = l.Program
	}
	for _, d := range p.Doors {
		for i, k := range d.Knocks {
			program, ok := programs[k]
			if !ok {
				continue
			}
			if program == "" {
				program = "a program"
			}
			warn(fmt.Sprintf("door.%s.knocks[%d]", d.Name, i),
				fmt.Sprintf("%s listens on %s: its clients knock without knowing", printable(program), k), "choose another port")
		}
	}
}
