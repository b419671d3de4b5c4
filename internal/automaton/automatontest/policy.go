// Package automatontest draws random policies and traces for tests that hold one
// form of an automaton against another, be it in a kernel. Ports, sources and
// times are few, so that sequences begin alike, overlap and collide.
package automatontest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// Options say what may be drawn. The zero value draws everything.
type Options struct {
	// Laboratory leaves out what cannot be done in a pair of network namespaces,
	// or not by every backend: parts of seconds, other addresses of the host.
	Laboratory bool
	// Span is how long a trace for the laboratory may take.
	Span time.Duration
	// Users draws doors with users, and traces with the values of package sample.
	Users bool
}

// Ports that random policies use. No port is of two kinds, and no sequence of
// them goes on in small equal steps.
func knocks() []port.Port {
	return []port.Port{
		{Proto: port.UDP, Number: 1001}, {Proto: port.UDP, Number: 1020}, {Proto: port.UDP, Number: 1003},
		{Proto: port.TCP, Number: 1040}, {Proto: port.TCP, Number: 1006},
	}
}

func services() []port.Range {
	return []port.Range{
		{Proto: port.TCP, First: 22, Last: 22}, {Proto: port.TCP, First: 20, Last: 24},
		{Proto: port.TCP, First: 23, Last: 30}, {Proto: port.UDP, First: 500, Last: 500},
	}
}

func publics() []port.Range {
	return []port.Range{{Proto: port.TCP, First: 80, Last: 81}, {Proto: port.UDP, First: 53, Last: 53}}
}

// Device is an interface of the host that policies may trust.
const Device = "wg0"

// Policy draws a small policy whose sequences are none the beginning of another.
func Policy(t *rapid.T, o Options) *policy.Policy { return o.policy(rolls(t)) }

func (o Options) policy(roll dice) *policy.Policy {
	p := &policy.Policy{
		Version:  1,
		Backend:  policy.BackendAuto,
		Mode:     pick(roll, "mode", policy.Guard, policy.Firewall),
		Refuse:   policy.Drop,
		Firewall: policy.FirewallOptions{ICMP: true, DHCP: true},
		Knocking: policy.Knocking{
			StepTimeout: o.span(roll, "step timeout", time.Second, 2*time.Second, policy.Day),
			Duplicates:  pick(roll, "duplicates", policy.IgnoreDuplicates, policy.ResetDuplicates),
			MatchTTL:    pick(roll, "match ttl", false, false, true),
			IPv6Prefix:  pick(roll, "ipv6 prefix", 128, 64),
			PerSource:   pick(roll, "per source", 1, 2, 20, 10000),
			Sources:     100,
		},
		Boot: policy.Boot{OnFailure: policy.CloseOnFailure},
		Log:  policy.Log{Events: pick(roll, "events", policy.NoEvents, policy.KernelEvents, policy.NflogEvents)},
	}
	if p.Mode == policy.Firewall {
		p.Refuse = pick(roll, "refuse", policy.Drop, policy.Reset)
		p.Firewall = policy.FirewallOptions{ICMP: pick(roll, "icmp", false, true), DHCP: pick(roll, "dhcp", false, true)}
		if pick(roll, "public protocol", false, true) {
			p.Public.Protocols = []port.Proto{47}
		}
	} else {
		p.Refuse = pick(roll, "refuse", policy.Drop, policy.Drop, policy.Reset)
	}
	if pick(roll, "public services", false, true) {
		p.Public.Services = publics()
	}
	if pick(roll, "trust", false, false, true) {
		p.Trust.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24")}
		p.Trust.Interfaces = []string{Device}
	}
	n := 1 + roll("doors", 4)
	for len(p.Doors) < n {
		d := o.door(roll, len(p.Doors))
		if fits(p.Doors, d) {
			o.users(roll, &d)
			p.Doors = append(p.Doors, d)
		} else {
			n--
		}
	}
	return p
}

// Program draws a policy and compiles it.
func Program(t *rapid.T, o Options) *automaton.Program {
	g, err := automaton.Compile(Policy(t, o))
	if err != nil {
		t.Fatalf("compile a random policy: %v", err)
	}
	return g
}

func (o Options) door(roll dice, i int) policy.Door {
	d := policy.Door{
		Name:   fmt.Sprintf("d%d", i),
		Opens:  some(roll, "opens", 2, services()),
		Knocks: some(roll, "knocks", 4, knocks()),
	}
	if d.Once = pick(roll, "once", false, true); !d.Once {
		d.OpenFor = o.span(roll, "open for", time.Second, 3*time.Second, time.Minute)
	}
	if pick(roll, "from", false, false, true) {
		d.From = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("2001:db8:a::/64")}
	}
	return d
}

// span draws one of a few times, or another one.
func (o Options) span(roll dice, what string, few ...time.Duration) time.Duration {
	if o.Laboratory || pick(roll, what+" is usual", false, true) {
		return pick(roll, what, few...)
	}
	return time.Duration(1+roll(what, 3000)) * time.Millisecond
}

func fits(doors []policy.Door, d policy.Door) bool {
	return !slices.ContainsFunc(doors, func(o policy.Door) bool {
		n := min(len(o.Knocks), len(d.Knocks))
		return n > 0 && slices.Equal(o.Knocks[:n], d.Knocks[:n])
	})
}
