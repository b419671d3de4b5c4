// Package automatontest draws random policies and traces for tests that hold one
// form of an automaton against another. Ports, sources and times are few, so
// that sequences begin alike, overlap and collide.
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
	// or not by every backend: parts of seconds, related packets, other
	// interfaces and addresses of the host.
	Laboratory bool
}

// Ports that random policies use. No port is of two kinds.
func knocks() []port.Port {
	return []port.Port{
		{Proto: port.UDP, Number: 1001}, {Proto: port.UDP, Number: 1002}, {Proto: port.UDP, Number: 1003},
		{Proto: port.TCP, Number: 1001}, {Proto: port.TCP, Number: 1002},
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

// Sources are the addresses that random packets come from: two of IPv4, two of
// one /64 and one of another.
func Sources() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("10.9.0.20"), netip.MustParseAddr("198.18.0.1"),
		netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:a::2"), netip.MustParseAddr("2001:db8:a:1::1"),
	}
}

// Policy draws a small policy whose sequences are none the beginning of another.
func Policy(t *rapid.T, o Options) *policy.Policy {
	p := &policy.Policy{
		Version: 1,
		Mode:    pick(t, "mode", policy.Guard, policy.Firewall),
		Refuse:  policy.Drop,
		Knocking: policy.Knocking{
			StepTimeout: o.span(t, "step timeout", time.Second, 2*time.Second, policy.Day),
			Duplicates:  pick(t, "duplicates", policy.IgnoreDuplicates, policy.ResetDuplicates),
			MatchTTL:    pick(t, "match ttl", false, false, true),
			IPv6Prefix:  pick(t, "ipv6 prefix", 128, 64),
			PerSource:   pick(t, "per source", 1, 2, 20, 10000),
			Sources:     100,
		},
		Log: policy.Log{Events: pick(t, "events", policy.NoEvents, policy.KernelEvents, policy.NflogEvents)},
	}
	if p.Mode == policy.Firewall {
		p.Refuse = pick(t, "refuse", policy.Drop, policy.Reset)
		p.Firewall = policy.FirewallOptions{ICMP: rapid.Bool().Draw(t, "icmp"), DHCP: rapid.Bool().Draw(t, "dhcp")}
		if rapid.Bool().Draw(t, "public protocol") {
			p.Public.Protocols = []port.Proto{47}
		}
	} else if !o.Laboratory {
		p.Refuse = pick(t, "refuse", policy.Drop, policy.Reset)
	}
	if rapid.Bool().Draw(t, "public services") {
		p.Public.Services = publics()
	}
	if pick(t, "trust", false, false, true) {
		p.Trust.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24")}
		p.Trust.Interfaces = []string{"wg0"}
	}
	n := rapid.IntRange(1, 4).Draw(t, "doors")
	for len(p.Doors) < n {
		if d := o.door(t, len(p.Doors)); fits(p.Doors, d) {
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

func (o Options) door(t *rapid.T, i int) policy.Door {
	d := policy.Door{
		Name:   fmt.Sprintf("d%d", i),
		Opens:  rapid.SliceOfN(rapid.SampledFrom(services()), 1, 2).Draw(t, "opens"),
		Knocks: rapid.SliceOfN(rapid.SampledFrom(knocks()), 1, 4).Draw(t, "knocks"),
	}
	if d.Once = rapid.Bool().Draw(t, "once"); !d.Once {
		d.OpenFor = o.span(t, "open for", time.Second, 3*time.Second, time.Minute)
	}
	if pick(t, "from", false, false, true) {
		d.From = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("2001:db8:a::/64")}
	}
	return d
}

// span draws one of a few times, or another one.
func (o Options) span(t *rapid.T, what string, few ...time.Duration) time.Duration {
	if o.Laboratory || rapid.Bool().Draw(t, what+" is usual") {
		return rapid.SampledFrom(few).Draw(t, what)
	}
	return time.Duration(rapid.IntRange(1, 3000).Draw(t, what)) * time.Millisecond
}

func fits(doors []policy.Door, d policy.Door) bool {
	return !slices.ContainsFunc(doors, func(o policy.Door) bool {
		n := min(len(o.Knocks), len(d.Knocks))
		return slices.Equal(o.Knocks[:n], d.Knocks[:n])
	})
}

func pick[T any](t *rapid.T, what string, from ...T) T { return rapid.SampledFrom(from).Draw(t, what) }
