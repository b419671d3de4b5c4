package iptables

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/port"
)

var (
	differ = flag.Int("differ", 4, "random policies to try on the kernel, with each variant")
	seed   = flag.Uint64("seed", 0, "the first random policy; 0: chosen by the clock")
)

// The kernel does with random packets what the reference interpreter does.
func TestDiffer(t *testing.T) {
	start := *seed
	if start == 0 {
		start = uint64(time.Now().Unix())
	}
	for _, v := range variants {
		for i := range *differ {
			n := start + uint64(i)
			t.Run(fmt.Sprintf("%s/seed=%d", v.name, n), func(t *testing.T) {
				t.Parallel()
				newTrial(t, v.binary, n).run()
			})
		}
	}
}

// trial compares the kernel and the interpreter on one random policy. Packets
// come in short bursts. The time between any two bursts is far from every time
// in the policies, and from a whole number of tokens.
type trial struct {
	*host
	rand *rand.Rand
	g    *automaton.Program
	in   *automaton.Interpreter
	log  []string
}

const (
	gap      = 1400 * time.Millisecond
	maxBurst = 60 * time.Millisecond
)

func newTrial(t *testing.T, binary string, seed uint64) *trial {
	r := &trial{host: newHost(t, binary), rand: rand.New(rand.NewPCG(seed, 1))}
	var err error
	p := r.policy()
	for r.g, err = automaton.Compile(p); err != nil; r.g, err = automaton.Compile(p) {
		p = r.policy() // a sequence was the beginning of another
	}
	r.logf("%+v", *p)
	r.host.run("iptables", "-t", "raw", "-I", "PREROUTING", "-m", "ttl", "--ttl-eq", "99", "-j", "NOTRACK")
	r.host.run("ip6tables", "-t", "raw", "-I", "PREROUTING", "-m", "hl", "--hl-eq", "99", "-j", "NOTRACK")
	if err := r.backend.Load(t.Context(), r.g); err != nil {
		t.Fatal(err)
	}
	r.in = automaton.NewInterpreter(r.g)
	return r
}

func (r *trial) logf(format string, args ...any) { r.log = append(r.log, fmt.Sprintf(format, args...)) }

func (r *trial) policy() *policy.Policy {
	p := &policy.Policy{
		Mode:   pick(r, policy.Guard, policy.Firewall),
		Refuse: policy.Drop,
		Log:    policy.Log{Events: pick(r, policy.NoEvents, policy.KernelEvents, policy.NflogEvents)},
		Public: policy.Public{Services: []port.Range{{Proto: port.TCP, First: 80, Last: 81}}},
		Trust:  policy.Trust{Prefixes: []netip.Prefix{netip.PrefixFrom(lab.Forged4(0), 32), netip.PrefixFrom(lab.Forged6(0), 64)}},
		Knocking: policy.Knocking{
			StepTimeout: pick[time.Duration](r, 1, 2, 3, 86400) * time.Second,
			Duplicates:  pick(r, policy.IgnoreDuplicates, policy.ResetDuplicates),
			MatchTTL:    pick(r, true, false, false),
			IPv6Prefix:  pick(r, 64, 128),
			PerSource:   pick(r, 1, 1, 2, 20),
			Sources:     pick(r, 50, 1000),
		},
	}
	if p.Mode == policy.Firewall {
		p.Refuse = pick(r, policy.Drop, policy.Reset)
		p.Public.Protocols = pick(r, nil, []port.Proto{47})
		p.Firewall = policy.FirewallOptions{ICMP: pick(r, true, false), DHCP: pick(r, true, false)}
	}
	for i := range 1 + r.rand.IntN(5) {
		d := policy.Door{Name: fmt.Sprint("d", i), Opens: []port.Range{pick(r, services...)}}
		for range pick(r, 1, 2, 3, 3, 3, 4) {
			d.Knocks = append(d.Knocks, pick(r, steps...))
		}
		if d.Once = pick(r, true, false); !d.Once {
			d.OpenFor = pick[time.Duration](r, 1, 2, 60) * time.Second
		}
		if pick(r, true, false, false) {
			d.Opens = append(d.Opens, pick(r, services...))
		}
		if pick(r, true, false, false) {
			d.From = []netip.Prefix{netip.PrefixFrom(lab.Forged4(4), 30).Masked(), netip.PrefixFrom(lab.Forged6(5), 64).Masked()}
		}
		p.Doors = append(p.Doors, d)
	}
	return p
}

var (
	steps    = []port.Port{udp(1001), udp(1002), udp(1003), tcp(1001), tcp(1004)}
	services = []port.Range{{Proto: port.TCP, First: 22, Last: 22}, {Proto: port.TCP, First: 20, Last: 25}, {Proto: port.UDP, First: 500, Last: 500}}
)

func pick[T any](r *trial, from ...T) T { return from[r.rand.IntN(len(from))] }

const sources = 10 // of each family

func (r *trial) run() {
	seen := make(map[netip.Addr]uint8)
	walks := make(map[int][]port.Port) // what each source means to send next
	var first time.Duration
	for burst := range 4 {
		time.Sleep(first + time.Duration(burst)*gap - time.Since(r.started))
		var packets []lab.Packet
		var model []automaton.Packet
		quiet := r.rand.Uint64() & r.rand.Uint64() // a quarter of the sources
		for i := range 2 * sources * pick(r, 1, 2, 4, 8) {
			src := r.rand.IntN(2 * sources)
			if quiet>>src&1 == 1 {
				continue
			}
			p, m := r.packet(i, src, walks)
			packets, model = append(packets, p), append(model, m)
			seen[m.Src] = m.TTL
		}
		begin := time.Since(r.started)
		late := begin - first - time.Duration(burst)*gap
		if burst == 0 {
			first, late = begin, 0
		}
		through := r.sendAll(packets)
		answers, err := r.injector.Answers(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if late+r.took > maxBurst {
			r.t.Logf("the machine is busy: a burst took %v", late+r.took)
			return
		}
		// A reset does not tell the tag of a segment with ACK; its port is as good.
		answered := make(map[uint16]bool)
		for _, a := range answers {
			answered[a.DstPort] = true
		}
		for i, m := range model {
			m.Time = begin
			out := r.in.Packet(m)
			got := automaton.Accept
			if !through[i] {
				got = automaton.Dropped
				if answered[packets[i].SrcPort] {
					got = automaton.Rejected
				}
			}
			r.logf("%v %v %v ttl=%d flags=%x conn=%v dest=%v: %v at %v to %v: %v, kernel %v", begin, m.Src, m.To, m.TTL, m.Flags, m.Conn, m.Dest, out.Reason, out.Before, out.After, out.Verdict, got)
			if got != out.Verdict {
				r.fail(m.Src, "verdict %v, want %v", got, out.Verdict)
			}
		}
		r.compare(seen)
	}
}

// compare looks at what the kernel remembers of each source.
func (r *trial) compare(seen map[netip.Addr]uint8) {
	got, err := r.backend.Loaded(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.in.Advance(time.Since(r.started))
	places := make(map[netip.Addr]string)
	for _, p := range got.Places {
		places[p.Source] += fmt.Sprint(r.g.Way(p.State))
	}
	grants := make(map[netip.Addr][]uint32)
	for _, g := range got.Grants {
		grants[g.Source] = append(grants[g.Source], g.Class)
	}
	for src, ttl := range seen {
		want, at := "", r.in.Place(src, ttl)
		if len(at) > 0 {
			want = fmt.Sprint(at)
		}
		if have := places[r.g.Source(src)]; have != want {
			r.fail(src, "at %q, want %q", have, want)
		}
		var held []uint32
		for _, c := range r.in.Grants(src) {
			held = append(held, r.g.Classes[c].ID)
		}
		slices.Sort(held)
		have := slices.Sorted(slices.Values(grants[r.g.Source(src)]))
		if !slices.Equal(have, held) {
			r.fail(src, "grants %x, want %x", have, held)
		}
	}
}

func (r *trial) fail(src netip.Addr, format string, args ...any) {
	net := netip.PrefixFrom(src, src.BitLen()/2).Masked()
	if src.Is4() {
		net = netip.PrefixFrom(src, 32)
	}
	r.t.Log(r.log[0])
	for _, line := range r.log[1:] {
		if f := strings.Fields(line); net.Contains(netip.MustParseAddr(f[1])) {
			r.t.Log(line)
		}
	}
	r.t.Fatalf("%v: "+format, append([]any{src}, args...)...)
}

// packet makes a packet that is likely to lead somewhere.
func (r *trial) packet(i, src int, walks map[int][]port.Port) (lab.Packet, automaton.Packet) {
	m := automaton.Packet{Src: lab.Forged4(src), Flags: automaton.SYN, TTL: uint8(64 + src%2)}
	p := lab.Packet{Dst: lab.Server4(), SrcPort: uint16(10000 + r.tag + uint32(i))}
	if src >= sources {
		m.Src, p.Dst = lab.Forged6(src-sources), lab.Server6()
		if pick(r, true, false, false) {
			a := m.Src.As16()
			a[15] ^= 1
			m.Src = netip.AddrFrom16(a)
		}
	}
	m.To = r.to(src, walks)
	switch pick(r, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5) {
	case 1:
		m.Flags = pick(r, automaton.ACK, automaton.RST, automaton.SYN|automaton.PSH)
		if m.To.Proto == port.TCP && m.Flags == automaton.RST {
			m.Conn = automaton.Invalid
		}
	case 2:
		if m.To.Proto == port.TCP || m.To.Proto == port.UDP {
			m.Conn, p.BadChecksum = automaton.Invalid, true
		}
	case 3:
		if !r.g.MatchTTL {
			m.TTL, m.Conn = 99, automaton.Untracked
		}
	case 4:
		if m.To.Proto != port.ICMP && m.To.Proto != port.ICMPv6 {
			m.Dest = automaton.ToMulticast
			p.Dst = netip.MustParseAddr("224.0.0.1")
			if m.Src.Is6() {
				p.Dst = netip.MustParseAddr("ff02::1")
			}
		}
	case 5:
		m.To = port.Port{Proto: pick(r, 47, port.ICMP)}
		if m.To.Proto == port.ICMP {
			m.ICMP = 8
			if m.Src.Is6() {
				m.To.Proto, m.ICMP = port.ICMPv6, 128
			}
		}
	}
	p.Src, p.Proto, p.DstPort, p.Flags, p.TTL, p.ICMPType = m.Src, m.To.Proto, m.To.Number, m.Flags, m.TTL, m.ICMP
	return p, m
}

// to follows a door's sequence, and now and then does not.
func (r *trial) to(src int, walks map[int][]port.Port) port.Port {
	if r.rand.IntN(5) == 0 {
		return pick(r, append([]port.Port{udp(9), tcp(80), tcp(22), udp(500)}, steps...)...)
	}
	if len(walks[src]) == 0 {
		d := r.g.Doors[r.rand.IntN(len(r.g.Doors))]
		s := r.g.Classes[d.Class].Services[0]
		walks[src] = append(slices.Clone(d.Knocks), port.Port{Proto: s.Proto, Number: s.First})
	}
	next := walks[src][0]
	if r.rand.IntN(6) > 0 {
		walks[src] = walks[src][1:]
	}
	return next
}
