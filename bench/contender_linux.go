package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/demo"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// Contender is a way to hide SSH, or one of the limits.
type contender struct {
	name string
	// load puts it on a server; what it returns ends it, if it is a process.
	load func(ctx context.Context, server *lab.Namespace) (io.Closer, error)
	// bypass has the packets dropped by XDP.
	bypass bool
	// limit says that it hides nothing.
	limit bool
	// four says that it knows IPv4 alone, so that in IPv6 the door is open.
	four bool
	// doors are the knocks of each, if it is not the founding recipe's.
	doors [][]port.Port
	// payload is what its knocks carry.
	payload []byte
	// process says that it is one, which opens the door a while after the knock and
	// starts others for it: thousands of knocks at once are too many for the machine.
	process bool
}

// knows says whether a pattern is one that the contender has a chance with.
func (c contender) knows(p pattern, f family) bool {
	return !(f.six && c.four) && !(c.process && p.name == whole)
}

// sequences are the knocks of each door.
func (c contender) sequences() [][]port.Port {
	if c.doors != nil {
		return c.doors
	}
	return [][]port.Port{doorKnocks}
}

// Names of contenders that others are compared with.
const (
	xdpDrop   = "XDP drop"
	empty     = "no rules"
	tracking  = "conntrack"
	reference = "reference"
	guard     = "tirl guard"
	firewall  = "tirl firewall"
)

// What all contenders hide, and behind which knocks: the founding recipe's.
var (
	doorKnocks  = []port.Port{{Proto: port.UDP, Number: 12345}, {Proto: port.UDP, Number: 23456}, {Proto: port.UDP, Number: 34567}}
	doorService = port.Port{Proto: port.TCP, Number: 22}
)

const guardPolicy = `
public = ["tcp/80"]
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/12345", "udp/23456", "udp/34567"]
`

//go:embed rules/wiki.nft
var wikiRules string

// trackingRules have the kernel track connections and do nothing else, as on a host
// that has any firewall.
const trackingRules = `table inet bench_tracking {
	chain input {
		type filter hook input priority filter; policy accept;
		ct state established accept
	}
}
`

// limits are what no contender can be cheaper than.
func limits() []contender {
	return []contender{
		{name: xdpDrop, load: nothing, bypass: true, limit: true},
		{name: empty, load: nothing, limit: true},
		{name: tracking, load: nft(trackingRules), limit: true},
	}
}

// rules are the contenders that need no process.
func rules() []contender {
	all := []contender{
		{name: reference, load: commands("nft"), four: true},
		{name: reference + ", legacy", load: commands("legacy"), four: true},
		{name: "wiki form", load: nft(wikiRules), four: true},
	}
	for _, k := range kinds.All() {
		suffix := ", " + k.Name
		if k.Backend == policy.BackendNftables {
			all = append(all, contender{name: firewall, load: tirl(string(demo.Reference()), k)})
			suffix = ""
		}
		all = append(all, contender{name: guard + suffix, load: tirl(guardPolicy, k)})
	}
	return all
}

func nothing(context.Context, *lab.Namespace) (io.Closer, error) { return nil, nil }

func nft(text string) func(context.Context, *lab.Namespace) (io.Closer, error) {
	return func(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
		_, err := server.Run(ctx, text, "nft", "-f", "-")
		return nil, err
	}
}

// commands runs the founding recipe with one kind of iptables.
func commands(kind string) func(context.Context, *lab.Namespace) (io.Closer, error) {
	script := strings.ReplaceAll(demo.ReferenceRules(), "iptables ", "iptables-"+kind+" ")
	return func(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
		_, err := server.Run(ctx, "", "sh", "-e", "-c", script)
		return nil, err
	}
}

// tirl loads a policy as tirl apply does.
func tirl(text string, k kinds.Kind) func(context.Context, *lab.Namespace) (io.Closer, error) {
	return func(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
		g, err := compile(text)
		if err != nil {
			return nil, err
		}
		return nil, loadProgram(ctx, server, k, g)
	}
}

func loadProgram(ctx context.Context, server *lab.Namespace, k kinds.Kind, g *automaton.Program) error {
	b := k.Make(server)
	for _, p := range b.Check(g) {
		if !p.Warning {
			return errors.New(p.Text)
		}
	}
	return backend.Backend.Load(b, ctx, g)
}

func compile(text string) (*automaton.Program, error) {
	p, found := policy.Parse("policy.toml", []byte(text))
	if found.HasErrors() {
		return nil, fmt.Errorf("read a policy: %v", found)
	}
	return automaton.Compile(p)
}
