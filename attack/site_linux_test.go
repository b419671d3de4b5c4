// Package attack is a laboratory: each test is an attack on a hidden service,
// with a claim about what comes of it. What holds and what does not stands in
// docs/security.md, with the test's name in each row.
package attack

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/port"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// fullEnv is the environment variable that, with the value "1", has floods come
// from a million sources: that takes minutes.
const fullEnv = "TIRL_ATTACK_FULL"

func full() bool { return os.Getenv(fullEnv) == "1" }

func isIptables(k kinds.Kind) bool { return k.Backend == policy.BackendIptables }

// each makes an attack on every kind of kernel program, side by side. Not by
// t.Parallel: they mostly wait.
func each(t *testing.T, attack func(t *testing.T, v kinds.Kind)) {
	t.Helper()
	labtest.Require(t)
	var all sync.WaitGroup
	for _, v := range kinds.All() {
		all.Go(func() {
			t.Run(v.Name, func(t *testing.T) { attack(t, v) })
		})
	}
	all.Wait()
}

// mode is how a hidden or closed port looks from outside.
type mode struct {
	name, policy string
	firewall     bool
	resets       bool // what is refused is answered
}

// eachMode makes an attack in every mode, those that answer among them or not.
func eachMode(t *testing.T, answering bool, attack func(t *testing.T, v kinds.Kind, m mode)) {
	t.Helper()
	for _, m := range []mode{
		{"guard", "", false, false},
		{"guard, reset", "refuse = \"reset\"\n", false, true},
		{"firewall", "mode = \"firewall\"\n", true, false},
		{"firewall, reset", "mode = \"firewall\"\nrefuse = \"reset\"\n", true, true},
	} {
		if m.resets && !answering {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			each(t, func(t *testing.T, v kinds.Kind) {
				if m.resets && !m.firewall && isIptables(v) {
					t.Skip("iptables has its REJECT target in the filter table only")
				}
				attack(t, v, m)
			})
		})
	}
}

// site is a server with doors, as somebody on the wire meets it. What its
// doors open, and tcp/80, answers.
type site struct {
	testing.TB
	pair  *lab.Pair
	wire  *lab.Injector
	doors backend.Backend
	g     *automaton.Program
	count uint32 // packets made
}

// One door, and what a stranger does not know of it.
const oneDoor = `
public = ["tcp/80", "tcp/21"]
[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/1001", "udp/5002", "udp/3003"]
open_for = "30s"
`

const (
	service = 22
	public  = 80

	// How long the service may take to answer, and how long to wait for what
	// ought not to come.
	patience = 5 * time.Second
	moment   = 300 * time.Millisecond
)

// newSite makes a site of a policy. tune may change what no policy can say.
func newSite(t testing.TB, v kinds.Kind, source string, tune ...func(*automaton.Program)) *site {
	t.Helper()
	s := &site{TB: t, pair: labtest.Pair(t, lab.PairOptions{}), g: automatontest.Compile(t, source)}
	for _, f := range tune {
		f(s.g)
	}
	s.doors = v.Make(s.pair.Server)
	if err := s.doors.Load(t.Context(), s.g); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.wire, err = lab.NewInjector(s.pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.wire.Close() })
	s.listen(public)
	for _, r := range s.g.Hidden() {
		if r.Proto == port.TCP {
			s.listen(r.First)
		}
	}
	return s
}

// unlimited takes the limit away, so that the automaton stands alone.
func unlimited(g *automaton.Program) { g.PerSource = 400_000 }

// listen has a service of both families send back what it gets.
func (s *site) listen(number uint16) {
	s.Helper()
	r, err := lab.NewResponder(s.pair.Server, port.TCP, netip.AddrPortFrom(netip.IPv6Unspecified(), number))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { r.Close() })
}

func udp(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }
func tcp(n uint16) port.Port { return port.Port{Proto: port.TCP, Number: n} }

// knocks are those of one door.
func (s *site) knocks(door int) []port.Port { return s.g.Doors[door].Knocks }

// packet is one of a source: a datagram or a SYN.
func (s *site) packet(src netip.Addr, to port.Port) lab.Packet {
	s.count++
	p := lab.Packet{
		Src: src, Dst: serverFor(src), Proto: to.Proto, DstPort: to.Number,
		SrcPort: uint16(1024 + s.count%60000), Tag: s.count << 8,
	}
	if to.Proto == port.TCP {
		p.Flags = automaton.SYN
	}
	return p
}

func serverFor(src netip.Addr) netip.Addr {
	if src.Is4() {
		return lab.Server4()
	}
	return lab.Server6()
}

// send puts packets of a source on the wire, in order.
func (s *site) send(src netip.Addr, to ...port.Port) {
	s.Helper()
	packets := make([]lab.Packet, len(to))
	for i := range to {
		packets[i] = s.packet(src, to[i])
	}
	s.put(packets...)
}

func (s *site) put(packets ...lab.Packet) {
	s.Helper()
	if err := s.wire.Send(s.Context(), packets...); err != nil {
		s.Fatal(err)
	}
}

func (s *site) frames(frames [][]byte) {
	s.Helper()
	if err := s.wire.SendFrames(s.Context(), frames...); err != nil {
		s.Fatal(err)
	}
}

func (s *site) frame(p lab.Packet) []byte {
	s.Helper()
	f, err := p.Frame()
	if err != nil {
		s.Fatal(err)
	}
	return f
}

// answers gives what has come back since the last call.
func (s *site) answers() []lab.Answer {
	s.Helper()
	a, err := s.wire.Answers(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return a
}

// connect opens a connection of a source to a port of the server; nil: it was
// not accepted.
func (s *site) connect(src netip.Addr, to uint16) *lab.Flow {
	s.Helper()
	s.count++
	from := netip.AddrPortFrom(src, uint16(1024+s.count%60000))
	f, err := s.wire.Connect(s.Context(), from, netip.AddrPortFrom(serverFor(src), to), s.count<<8)
	switch {
	case errors.Is(err, lab.ErrRefused):
		return nil
	case err != nil:
		s.Fatal(err)
	}
	return f
}

// getsIn says whether a connection to the port is accepted, and gives it up.
func (s *site) getsIn(src netip.Addr, to uint16) bool {
	s.Helper()
	f := s.connect(src, to)
	if f != nil {
		s.put(f.Abort())
	}
	return f != nil
}

// alive says whether a connection still carries data to the service and back.
func (s *site) alive(f *lab.Flow) bool {
	s.Helper()
	return s.echoes(f, "still there?", patience)
}

// dead says whether a connection does not.
func (s *site) dead(f *lab.Flow) bool {
	s.Helper()
	return !s.echoes(f, "still there?", moment)
}

// echoes says whether the service sends back what it is sent.
func (s *site) echoes(f *lab.Flow, text string, within time.Duration) bool {
	s.Helper()
	p := f.Next([]byte(text))
	s.put(p)
	ctx, cancel := context.WithTimeout(s.Context(), within)
	defer cancel()
	end := p.Tag + uint32(len(text))
	got, err := s.wire.AwaitAnswer(ctx, func(a lab.Answer) bool {
		return a.Dst == p.Src && a.DstPort == p.SrcPort && (a.Kind == lab.Reset || a.Ack == end && a.Length > 0)
	})
	if err != nil || got.Kind == lab.Reset {
		return false
	}
	f.Acknowledge(got, len(text))
	s.put(f.Next(nil)) // or it says that again
	return true
}

// counters are what the kernel has counted at the doors.
func (s *site) counters() *backend.Counters {
	s.Helper()
	c, err := s.doors.(backend.Operator).Counters(s.Context(), s.g)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *site) loaded() *backend.Loaded {
	s.Helper()
	l, err := s.doors.Loaded(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// nft loads rules of somebody else on the server.
func (s *site) nft(rules string) {
	s.Helper()
	if _, err := s.pair.Server.Run(s.Context(), rules, "nft", "-f", "-"); err != nil {
		s.Fatal(err)
	}
}

// run runs a program on the server.
func (s *site) run(words string) string {
	s.Helper()
	args := strings.Fields(words)
	out, err := s.pair.Server.Run(s.Context(), "", args[0], args[1:]...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// families are sources of both families.
func families(i int) []netip.Addr { return []netip.Addr{lab.Forged4(i), lab.Forged6(i)} }
