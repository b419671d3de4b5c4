// Package backendtest puts a backend to the test in a real kernel: it loads an
// automaton on a server in a network namespace, sends packets at it and reads
// back what became of each and where its source stands.
package backendtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/lab"
	"tirl/internal/port"
	"tirl/internal/tool"
)

// Maker makes a backend that works where the runner runs.
type Maker func(tool.Runner) backend.Backend

// ErrNotHere says that a packet cannot be made in the laboratory.
var ErrNotHere = errors.New("this packet cannot be made in the laboratory")

// Kernel is a server with an automaton in its kernel, and a client that sends
// whatever packets it is told to.
type Kernel struct {
	Backend  backend.Backend
	Pair     *lab.Pair
	Injector *lab.Injector

	g        *automaton.Program
	values   []automaton.Value // that were made live
	spent    []int             // those of them that were spent before the last step
	observer *lab.Observer
	start    time.Time
	tag      uint32
	cuts     uint32 // fragmented packets
	flows    map[flowKey]*flow
	listens  map[port.Port]bool
	expects  map[port.Port]uint16 // the ports by which flows are announced
	cables   map[string]lab.Cable // by the server's device
	open     []io.Closer
}

type flowKey struct {
	src netip.Addr
	to  port.Port
}

// flow is one that the server has let in.
type flow struct {
	srcPort  uint16
	tag      uint32 // TCP: the sequence number of the SYN
	answered bool
	ack      uint32
	sent     uint32
}

// Tags are sequence numbers too: each packet has room for what follows in its
// flow. The top bit asks the server not to track the packet.
const (
	tagStep   = 1 << 12
	untracked = 1 << 31
	firstPort = 10000
)

// What stands around the automaton: packets whose tag has the top bit are not
// tracked (raw, -300), and the client's kernel keeps quiet about flows that it
// knows nothing of.
const (
	notrack = `table inet lab_notrack {
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;` + notrackData + `
		meta l4proto udp @th,64,1 1 notrack
		meta l4proto tcp @th,32,1 1 notrack
	}
}
`
	quiet = `table inet lab_quiet {
	chain output {
		type filter hook output priority filter; policy accept;
		tcp flags rst drop
		icmp type destination-unreachable drop
		icmpv6 type destination-unreachable drop
	}
}
`
)

// New makes a pair and loads g on its server.
func New(ctx context.Context, g *automaton.Program, mk Maker) (*Kernel, error) {
	pair, err := lab.NewPair(lab.PairOptions{})
	if err != nil {
		return nil, err
	}
	k := &Kernel{Pair: pair, g: g, Backend: mk(pair.Server), flows: make(map[flowKey]*flow), listens: make(map[port.Port]bool), expects: make(map[port.Port]uint16),
		cables: map[string]lab.Cable{"": {}, lab.ServerDevice: {}}}
	if err := k.prepare(ctx); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Kernel) prepare(ctx context.Context) (err error) {
	if k.Injector, err = lab.NewInjector(k.Pair); err != nil {
		return err
	}
	if k.observer, err = lab.NewObserver(ctx, k.Pair); err != nil {
		return err
	}
	if _, err = k.Pair.Server.Run(ctx, notrack, "nft", "-f", "-"); err != nil {
		return err
	}
	if _, err = k.Pair.Client.Run(ctx, quiet, "nft", "-f", "-"); err != nil {
		return err
	}
	if err := k.Backend.Load(ctx, k.g); err != nil {
		return err
	}
	k.start = time.Now()
	return nil
}

// Close gives everything up.
func (k *Kernel) Close() error {
	var err error
	if k.Injector != nil {
		err = k.Injector.Close()
	}
	for _, o := range k.open {
		err = errors.Join(err, o.Close())
	}
	return errors.Join(err, k.Pair.Close())
}

// Start begins the time of a trace.
func (k *Kernel) Start() { k.start = time.Now() }

// Late says by how much the wall clock is ahead of a time of the trace.
func (k *Kernel) Late(at time.Duration) time.Duration { return time.Since(k.start) - at }

// Send waits until the packet's time, sends it, and says what became of it.
func (k *Kernel) Send(ctx context.Context, p automaton.Packet) (automaton.Verdict, error) {
	v, err := k.SendAll(ctx, []automaton.Packet{p})
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// SendAll sends packets, each at its time, and gives the verdict of each. It
// looks only when it must: it keeps up with packets a fraction of a millisecond
// apart.
func (k *Kernel) SendAll(ctx context.Context, packets []automaton.Packet) ([]automaton.Verdict, error) {
	seen, err := k.Watch(ctx, packets)
	if err != nil {
		return nil, err
	}
	verdicts := make([]automaton.Verdict, len(seen))
	for i, s := range seen {
		verdicts[i] = s.Verdict
	}
	return verdicts, nil
}

// Sight is what became of a packet, and between which times of the trace the
// kernel dealt with it.
type Sight struct {
	Verdict      automaton.Verdict
	After, Until time.Duration
}

// Watch is [Kernel.SendAll], with times. If a packet cannot be made, such as one of
// a flow that was not let in, it gives those before.
func (k *Kernel) Watch(ctx context.Context, packets []automaton.Packet) ([]Sight, error) {
	seen := make([]Sight, len(packets))
	var sent []shot // and not looked at
	look := func(end int) error {
		verdicts, err := k.verdicts(ctx, sent)
		for i, v := range verdicts {
			seen[end-len(sent)+i].Verdict = v
		}
		sent = nil
		return err
	}
	for i, p := range packets {
		if (p.Conn == automaton.Established || p.Conn == automaton.Related) && len(sent) > 0 { // its flow may be among them
			if err := look(i); err != nil {
				return nil, err
			}
		}
		f, err := k.frame(p)
		if err != nil {
			return seen[:i], errors.Join(fmt.Errorf("packet %d: %w", i+1, err), look(i))
		}
		if slices.ContainsFunc(sent, func(s shot) bool { return s.Tag == f.Tag }) { // a value again
			if err := look(i); err != nil {
				return nil, err
			}
		}
		frames, err := k.cut(f, p.Cut)
		if err != nil {
			return nil, fmt.Errorf("packet %d: %w", i+1, err)
		}
		if err := sleep(ctx, time.Until(k.start.Add(p.Time))); err != nil {
			return nil, err
		}
		seen[i].After = k.Late(0)
		if err := k.Injector.SendBy(ctx, k.cables[p.Iface], frames...); err != nil {
			return nil, err
		}
		seen[i].Until = k.Late(0)
		sent = append(sent, newShot(p, f))
	}
	return seen, look(len(packets))
}

// shot is a packet that was sent.
type shot struct {
	lab.Packet
	answered bool // by a program that listens, if no rule is in the way
	begins   bool // a flow that connection tracking knows
}

func newShot(p automaton.Packet, f lab.Packet) shot {
	syn := p.Flags&(automaton.SYN|automaton.ACK|automaton.RST|automaton.FIN) == automaton.SYN
	s := shot{Packet: f}
	s.answered = p.Dest == automaton.ToHost && p.Conn != automaton.Invalid && (p.To.Proto != port.TCP || syn) && !misread(p)
	s.begins = s.answered && p.Conn == automaton.New
	return s
}

// misread says whether the host loses a packet behind all rules: where connection
// tracking has put fragments together it takes the transport header for what
// stands in front of the fragment header (nf_ct_frag6_reasm in
// net/ipv6/netfilter/nf_conntrack_reasm.c moves the transport header, and
// ip6_protocol_deliver_rcu goes by the next header of the IPv6 header).
func misread(p automaton.Packet) bool {
	return p.Cut != automaton.Uncut && p.With&(automaton.Routing|automaton.Destinations) != 0
}

// verdicts says what became of packets that the server has finished with.
func (k *Kernel) verdicts(ctx context.Context, sent []shot) ([]automaton.Verdict, error) {
	passed, err := k.observer.Passed(ctx)
	if err != nil {
		return nil, err
	}
	answers, err := k.Injector.Answers(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.observer.Forget(ctx); err != nil {
		return nil, err
	}
	verdicts := make([]automaton.Verdict, len(sent))
	for i, s := range sent {
		f := s.Packet
		verdicts[i] = judge(f, passed, answers)
		if verdicts[i] == automaton.Accept && s.answered && f.Proto == port.UDP && k.listens[port.Port{Proto: f.Proto, Number: f.DstPort}] {
			if answers, err = k.echoed(ctx, f, answers); err != nil {
				return nil, err
			}
		}
		if s.begins {
			k.remember(f, verdicts[i], answers)
		}
	}
	return verdicts, nil
}

// echoed sees to it that the answer of the service that Listen started is among
// the answers. It is a program: the kernel has finished with the packet before it
// answers.
func (k *Kernel) echoed(ctx context.Context, f lab.Packet, answers []lab.Answer) ([]lab.Answer, error) {
	echo := func(a lab.Answer) bool {
		return a.Kind == lab.Datagram && a.Dst == f.Src && a.DstPort == f.SrcPort
	}
	if slices.ContainsFunc(answers, echo) {
		return answers, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err := k.Injector.AwaitAnswer(ctx, echo)
	if err != nil {
		return nil, fmt.Errorf("%+v: %w", f, err)
	}
	return append(answers, a), nil
}

func judge(sent lab.Packet, passed map[uint32]bool, answers []lab.Answer) automaton.Verdict {
	if passed[sent.Tag] {
		return automaton.Accept
	}
	refused := slices.ContainsFunc(answers, func(a lab.Answer) bool {
		if a.Kind != lab.Reset && a.Kind != lab.Unreachable {
			return false
		}
		// A reset to a segment that had an acknowledgment does not quote its number.
		return a.Tag == sent.Tag || a.Kind == lab.Reset && a.Dst == sent.Src && a.DstPort == sent.SrcPort
	})
	if refused {
		return automaton.Rejected
	}
	return automaton.Dropped
}

// remember keeps what is needed to go on with a flow that was let in.
func (k *Kernel) remember(sent lab.Packet, v automaton.Verdict, answers []lab.Answer) {
	if v != automaton.Accept || sent.SrcPort == 0 {
		return
	}
	key := flowKey{sent.Src, port.Port{Proto: sent.Proto, Number: sent.DstPort}}
	if k.flows[key] != nil && k.flows[key].srcPort == sent.SrcPort {
		return
	}
	f := &flow{srcPort: sent.SrcPort, tag: sent.Tag}
	for _, a := range answers {
		if a.Dst != sent.Src || a.DstPort != sent.SrcPort {
			continue
		}
		if a.Kind == lab.SynAck || a.Kind == lab.Datagram {
			f.answered, f.ack = true, a.Seq+1
		}
	}
	k.flows[key] = f
}

// Place gives the knocks that a source has done, as the kernel holds them, and
// the classes that are open to it.
func (k *Kernel) Place(ctx context.Context, src netip.Addr, ttl uint8) ([]port.Port, []int, error) {
	loaded, err := k.loaded(ctx)
	if err != nil {
		return nil, nil, err
	}
	return k.place(loaded, src, ttl)
}

func (k *Kernel) loaded(ctx context.Context) (*backend.Loaded, error) {
	read := k.Backend.Loaded
	if s, ok := k.Backend.(backend.Skimmer); ok && len(k.g.Users) > 0 {
		read = s.Sources // soon enough to keep the time of a trace
	}
	loaded, err := read(ctx)
	if err == nil && loaded == nil {
		err = errors.New("nothing is loaded")
	}
	return loaded, err
}

func (k *Kernel) place(loaded *backend.Loaded, src netip.Addr, ttl uint8) ([]port.Port, []int, error) {
	src = k.g.Source(src)
	var way []port.Port
	for _, p := range loaded.Places {
		if p.Source != src || k.g.MatchTTL && p.TTL != ttl && p.TTL != 0 {
			continue
		}
		if way != nil {
			return nil, nil, fmt.Errorf("%s stands at two places", src)
		}
		way = k.g.WayOf(p.State, k.values)
	}
	var held []int
	for i, c := range k.g.Classes {
		if slices.ContainsFunc(loaded.Grants, func(g backend.Grant) bool { return g.Source == src && g.Class == c.ID }) {
			held = append(held, i)
		}
	}
	return way, held, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
