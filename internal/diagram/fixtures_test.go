package diagram

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

func compile(t interface{ Fatal(...any) }, p *policy.Policy) *automaton.Program {
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func guard(doors ...policy.Door) *policy.Policy {
	return &policy.Policy{
		Mode: policy.Guard, Refuse: policy.Drop,
		Knocking: policy.Knocking{
			StepTimeout: 10 * time.Second, Duplicates: policy.IgnoreDuplicates,
			IPv6Prefix: 128, PerSource: 20, Sources: 65536,
		},
		Doors: doors,
	}
}

func udp(n ...uint16) []port.Port {
	ports := make([]port.Port, len(n))
	for i := range n {
		ports[i] = port.Port{Proto: port.UDP, Number: n[i]}
	}
	return ports
}

func tcp(n ...uint16) []port.Range {
	ranges := make([]port.Range, len(n))
	for i := range n {
		ranges[i] = port.Range{Proto: port.TCP, First: n[i], Last: n[i]}
	}
	return ranges
}

func timed(name string, opens []port.Range, d time.Duration, knocks ...uint16) policy.Door {
	return policy.Door{Name: name, Opens: opens, Knocks: udp(knocks...), OpenFor: d}
}

func once(name string, opens []port.Range, knocks ...uint16) policy.Door {
	return policy.Door{Name: name, Opens: opens, Knocks: udp(knocks...), Once: true}
}

func reference() *policy.Policy {
	p := guard(once("ssh", tcp(22), 12345, 23456, 34567))
	p.Mode, p.Public.Services = policy.Firewall, tcp(80)
	p.Trust = policy.Trust{Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}, Interfaces: []string{"wg0"}}
	p.Knocking.StepTimeout, p.Knocking.Duplicates = policy.Day, policy.ResetDuplicates
	return p
}

// mixed has a door for one network, knocks of both protocols, a range of ports
// and doors of both kinds.
func mixed() *policy.Policy {
	office := once("office", tcp(22, 2222), 7000, 8000)
	office.From = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	web := timed("staging-web", []port.Range{{Proto: port.TCP, First: 8000, Last: 8010}}, 90*time.Minute, 7000, 9000, 9001)
	web.Knocks[1].Proto = port.TCP
	tunnel := timed("tunnel", []port.Range{{Proto: port.UDP, First: 51820, Last: 51820}}, time.Hour, 1111)
	tunnel.From = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}
	return guard(office, web, tunnel)
}

func many() *policy.Policy {
	var doors []policy.Door
	for i := range uint16(40) {
		n := 20000 + 64*(i/4)
		doors = append(doors, timed(fmt.Sprintf("admin%02d", i), tcp(22), 30*time.Second, n, n+1000, 30000+97*i, 40000+131*i))
	}
	return guard(doors...)
}

// policies are those that have golden pictures.
func policies() map[string]*policy.Policy {
	return map[string]*policy.Policy{
		"reference": reference(),
		"timed":     guard(timed("ssh", tcp(22), 30*time.Second, 40213, 7719, 28816, 15302, 61111)),
		"shared": guard(
			timed("ssh", tcp(22), 30*time.Second, 7000, 8000, 9000),
			timed("backup", tcp(873), 10*time.Minute, 7000, 8000, 9100),
			timed("db", tcp(5432), time.Minute, 7000, 8500, 9200),
			once("console", tcp(2222), 4000, 5000, 6000)),
		"mixed": mixed(),
		"many":  many(),
	}
}

func programs(t *testing.T) map[string]*automaton.Program {
	all := make(map[string]*automaton.Program)
	for name, p := range policies() {
		all[name] = compile(t, p)
	}
	return all
}
