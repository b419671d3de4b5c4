package spec

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/tool"
)

const (
	randomPolicies = 40 // for each kind of kernel program
	randomPackets  = 80
)

// TestKernelAgreesOnRandomTraces holds each kind of kernel program against the
// interpreter on random policies and packets, all of which come within a moment.
func TestKernelAgreesOnRandomTraces(t *testing.T) {
	labtest.Require(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			tried, slow := 0, 0
			for seed := uint64(1); tried < randomPolicies; seed++ {
				c := newCase(t, seed)
				if !able(v, c.g) {
					continue
				}
				tried++
				packets := c.packets()
				err := disagreement(t, c.g, v, packets)
				if errors.Is(err, errSlow) {
					slow++
				} else if err != nil {
					packets = shrink(t, c.g, v, packets)
					t.Fatalf("seed %d: %v\nShrunk: %v\n%s\n%s", seed, err, disagreement(t, c.g, v, packets), c.source, show(packets))
				}
			}
			if slow > randomPolicies/4 {
				t.Errorf("this machine is too slow for %d of %d traces", slow, randomPolicies)
			}
		})
	}
}

// able says whether a backend carries a policy without saying that it does it
// in another way.
func able(v variant, g *automaton.Program) bool {
	for _, p := range v.make(tool.Host{}).Check(g) {
		if !p.Warning || strings.HasPrefix(p.Key, "knocking.match_ttl") {
			return false
		}
	}
	// nft 1.0.6 cannot build it; another test says so.
	return !g.MatchTTL || g.IPv6Prefix == 64
}

// errSlow says that a trace took so long that a bucket may have filled up by a token.
var errSlow = errors.New("too slow")

// disagreement sends packets and says where the kernel and the interpreter differ.
func disagreement(t *testing.T, g *automaton.Program, v variant, packets []automaton.Packet) error {
	t.Helper()
	ctx := context.Background()
	for range 5 {
		k, err := backendtest.New(ctx, g, v.make)
		if err != nil {
			t.Fatal(err)
		}
		k.Start()
		verdicts, err := k.SendAll(ctx, packets)
		if err != nil {
			t.Fatal(err)
		}
		if g.PerSource < 100 && k.Late(0) > 9*time.Second/10/time.Duration(g.PerSource) {
			k.Close()
			continue
		}
		err = compare(ctx, g, k, packets, verdicts)
		k.Close()
		return err
	}
	return errSlow
}

func compare(ctx context.Context, g *automaton.Program, k *backendtest.Kernel, packets []automaton.Packet, got []automaton.Verdict) error {
	in := automaton.NewInterpreter(g)
	type who struct {
		src netip.Addr
		ttl uint8
	}
	var sources []who
	for i, p := range packets {
		want := in.Packet(p)
		if got[i] != want.Verdict {
			return fmt.Errorf("packet %d, %s: the kernel says %s, the interpreter %s", i+1, p.To, got[i], want.Verdict)
		}
		if w := (who{p.Src, p.TTL}); !slices.Contains(sources, w) {
			sources = append(sources, w)
		}
	}
	for _, w := range sources {
		way, open, err := k.Place(ctx, w.src, w.ttl)
		if err != nil {
			return err
		}
		if want := in.Place(w.src, w.ttl); !slices.Equal(way, want) {
			return fmt.Errorf("in the end %s has done %v in the kernel, %v in the interpreter", w.src, way, want)
		}
		if want := in.Grants(w.src); !slices.Equal(open, want) {
			return fmt.Errorf("in the end %s holds the classes %v in the kernel, %v in the interpreter", w.src, open, want)
		}
	}
	return nil
}

// shrink leaves out packets as long as the disagreement stays.
func shrink(t *testing.T, g *automaton.Program, v variant, packets []automaton.Packet) []automaton.Packet {
	for size := len(packets) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(packets); {
			less := slices.Delete(slices.Clone(packets), at, at+size)
			if err := disagreement(t, g, v, less); err != nil && !errors.Is(err, errSlow) {
				packets = less
			} else {
				at += size
			}
		}
	}
	return packets
}

func show(packets []automaton.Packet) string {
	var b strings.Builder
	for _, p := range packets {
		fmt.Fprintf(&b, "%s from %s ttl %d flags %#x state %s to %s\n", p.To, p.Src, p.TTL, p.Flags, p.Conn, p.Dest)
	}
	return b.String()
}

// one is a random policy and what its packets are made of.
type one struct {
	*rand.Rand
	source string
	g      *automaton.Program
}

var (
	knockPool   = []string{"udp/1001", "udp/1020", "udp/1003", "tcp/1040", "tcp/1006"}
	servicePool = []string{"tcp/22", "tcp/8000-8002", "udp/5000", "tcp/2222"}
	sourcePool  = []string{"10.9.0.20", "10.9.0.21", "198.18.7.7", "2001:db8:9::20", "2001:db8:9::21", "2001:db8:a:7::1"}
)

// newCase makes random policies until one is accepted.
func newCase(t *testing.T, seed uint64) *one {
	t.Helper()
	c := &one{Rand: rand.New(rand.NewPCG(seed, 7))}
	for {
		c.source = c.policy()
		p, found := policy.Parse("random", []byte(c.source))
		if found.HasErrors() {
			continue
		}
		g, err := automaton.Compile(p)
		if err != nil {
			t.Fatalf("%v\n%s", err, c.source)
		}
		c.g = g
		return c
	}
}

func (c *one) pick(of ...string) string { return of[c.IntN(len(of))] }

func (c *one) policy() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode = %q\npublic = [\"tcp/80\", \"udp/53\"]\nrefuse = %q\n", c.pick("guard", "guard", "firewall"), c.pick("drop", "drop", "drop", "reset"))
	if c.IntN(4) == 0 {
		fmt.Fprintf(&b, "trust = [\"10.9.0.21\", \"2001:db8:9::21\"]\n")
	}
	fmt.Fprintf(&b, "[knocking]\nduplicates = %q\nper_source = %q\n", c.pick("ignore", "reset"), c.pick("1/second", "3/second", "1000/second"))
	if c.IntN(3) == 0 {
		fmt.Fprintf(&b, "ipv6_prefix = 64\nmatch_ttl = %v\n", c.IntN(2) == 0)
	}
	fmt.Fprintf(&b, "[log]\nevents = %q\n", c.pick("kernel", "nflog", "none"))
	if strings.Contains(b.String(), "firewall") {
		fmt.Fprintf(&b, "[firewall]\nicmp = %v\n", c.IntN(2) == 0)
	}
	for i := range 1 + c.IntN(4) {
		fmt.Fprintf(&b, "[door.d%d]\nopens = [%q", i, c.pick(servicePool...))
		if c.IntN(3) == 0 {
			fmt.Fprintf(&b, ", %q", c.pick(servicePool...))
		}
		b.WriteString("]\nknocks = [")
		for j := range 1 + c.IntN(4) {
			if j > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%q", c.pick(knockPool...))
		}
		fmt.Fprintf(&b, "]\nopen_for = %q\n", c.pick("once", "60s", "90s"))
		if c.IntN(3) == 0 {
			fmt.Fprintf(&b, "from = [%q]\n", c.pick("10.9.0.0/24", "2001:db8:9::/64", "198.18.0.0/15"))
		}
	}
	return b.String()
}

// packets mostly follow some door's sequence, and stumble on the way.
func (c *one) packets() []automaton.Packet {
	var all []automaton.Packet
	for len(all) < randomPackets {
		src := netip.MustParseAddr(c.pick(sourcePool...))
		door := c.g.Doors[c.IntN(len(c.g.Doors))]
		for _, k := range door.Knocks {
			for c.IntN(6) == 0 {
				all = append(all, c.packet(src, c.port()))
			}
			if c.IntN(8) == 0 {
				all = append(all, c.packet(src, k))
			}
			all = append(all, c.packet(src, k))
		}
		service := c.g.Classes[door.Class].Services[0]
		all = append(all, c.packet(src, port.Port{Proto: service.Proto, Number: service.First}))
	}
	return all[:randomPackets]
}

func (c *one) port() port.Port {
	all := slices.Concat(knockPool, []string{"tcp/22", "tcp/8001", "udp/5000", "tcp/2222", "tcp/80", "udp/53", "udp/9", "tcp/9", "icmp", "proto/47"})
	s := c.pick(all...)
	switch s {
	case "icmp":
		return port.Port{Proto: port.ICMP}
	case "proto/47":
		return port.Port{Proto: 47}
	}
	p, err := port.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// packet dresses a packet up; most are plain.
func (c *one) packet(src netip.Addr, to port.Port) automaton.Packet {
	p := automaton.Packet{Src: src, To: to, TTL: 64, Iface: lab.ServerDevice}
	if to.Proto == port.TCP {
		p.Flags = automaton.SYN
	}
	if to.Proto == port.ICMP && src.Is6() {
		p.To.Proto = port.ICMPv6
	}
	if p.To.Proto == port.ICMP {
		p.ICMP = 8
	}
	if p.To.Proto == port.ICMPv6 {
		p.ICMP = 128
	}
	if c.IntN(12) == 0 {
		p.TTL = 63
	}
	switch tracked := to.Proto == port.TCP || to.Proto == port.UDP; {
	case tracked && c.IntN(15) == 0:
		p.Conn = automaton.Untracked
	case tracked && c.IntN(15) == 0:
		p.Conn = automaton.Invalid
	case to.Proto == port.TCP && c.IntN(10) == 0:
		p.Flags = []uint8{automaton.ACK, automaton.ACK | automaton.PSH, automaton.SYN | automaton.URG}[c.IntN(3)]
	case c.IntN(20) == 0 && src.Is4():
		p.Dest = automaton.ToBroadcast
	case c.IntN(20) == 0:
		p.Dest = automaton.ToMulticast
	}
	return p
}
