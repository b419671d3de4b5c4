package migration

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend/nftables"
	"tirl/internal/importer"
	"tirl/internal/knockd"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// side is one of two servers, and a client that sends the same to both.
type side struct {
	pair   *lab.Pair
	inject *lab.Injector
	tag    uint32
}

func newSide(t *testing.T) *side {
	t.Helper()
	s := &side{pair: labtest.Pair(t, lab.PairOptions{})}
	var err error
	if s.inject, err = lab.NewInjector(s.pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.inject.Close() })
	return s
}

// step is a packet of a trace.
type step struct {
	src   netip.Addr
	to    port.Port
	flags uint8
	wait  time.Duration // before it
}

func server(src netip.Addr) netip.Addr {
	if src.Is6() {
		return lab.Server6()
	}
	return lab.Server4()
}

func (s *side) send(ctx context.Context, steps ...step) error {
	frames := make([]lab.Packet, len(steps))
	for i, p := range steps {
		s.tag++
		frames[i] = lab.Packet{Src: p.src, Dst: server(p.src), Proto: p.to.Proto, SrcPort: uint16(20000 + s.tag%20000), DstPort: p.to.Number, Flags: p.flags, Tag: s.tag}
	}
	return s.inject.Send(ctx, frames...)
}

// reaches says whether a source reaches a service: nothing listens there, so that
// the kernel answers whatever is let in.
func (s *side) reaches(t *testing.T, src netip.Addr, service port.Port) bool {
	t.Helper()
	s.answers(t)
	p := step{src: src, to: service}
	if service.Proto == port.TCP {
		p.flags = automaton.SYN
	}
	if err := s.send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(s.answers(t), func(a lab.Answer) bool {
		return a.Dst == src && a.Proto == service.Proto && a.SrcPort == service.Number || a.Kind == lab.Unreachable && a.Dst == src
	})
}

func (s *side) answers(t *testing.T) []lab.Answer {
	t.Helper()
	all, err := s.inject.Answers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// both is a configuration that is tried.
type both struct {
	*testing.T
	config  *knockd.Config
	policy  *policy.Policy
	program *automaton.Program
	daemon  *daemon
	knockd  *side
	tirl    *side
	next    int // source
	marks   int
}

func imported(name string, c *knockd.Config) *importer.Result { return importer.Knockd(name, c, nil) }

// sentinel is a door that tells that knockd has seen a trace to its end. Another
// source knocks at it.
const sentinel = "\n[the end]\nsequence = 9999:udp\n"

func newBoth(t *testing.T, name, text string) *both {
	t.Helper()
	b := &both{T: t, knockd: newSide(t), tirl: newSide(t)}
	var found policy.Diagnostics
	if b.config, found = knockd.Parse(name, []byte(text)); b.config == nil {
		t.Fatal(found)
	}
	b.policy = imported(name, b.config).Policy
	var err error
	if b.program, err = automaton.Compile(b.policy); err != nil {
		t.Fatal(err)
	}
	if err := nftables.New(b.tirl.pair.Server).Load(t.Context(), b.program); err != nil {
		t.Fatal(err)
	}
	b.daemon = start(t, b.knockd.pair.Server, text+sentinel)
	if b.config, found = knockd.Parse(name, []byte(text+sentinel)); b.config == nil {
		t.Fatal(found)
	}
	return b
}

// source gives one that nobody has used.
func (b *both) source(ipv6 bool) netip.Addr {
	b.next++
	if ipv6 {
		return lab.Forged6(b.next)
	}
	return lab.Forged4(b.next)
}

// run sends a trace to both servers, and says at which doors it ended in each. The
// two models, and the kernel, must say the same.
func (b *both) run(trace []step, src netip.Addr, door string, service port.Port) (knockdOpens, tirlOpens bool) {
	b.Helper()
	b.fresh()
	away(20 * time.Millisecond)
	matcher := knockd.NewMatcher(b.config, lab.Server4(), lab.Server6())
	model := automaton.NewInterpreter(b.program)
	begin := time.Now()
	var opened []string
	granted := false
	for i := 0; i < len(trace); {
		end := i + 1
		for end < len(trace) && trace[end].wait == 0 {
			end++
		}
		if trace[i].wait > 0 {
			time.Sleep(trace[i].wait)
			away(20 * time.Millisecond)
		}
		now := time.Now()
		for _, p := range trace[i:end] {
			for _, n := range matcher.Packet(knockd.Packet{Second: now.Unix(), Src: p.src, Dst: server(p.src), To: p.to, Flags: p.flags}) {
				opened = append(opened, fmt.Sprintf("%s %s", p.src, b.config.Doors[n].Name))
			}
			conn := automaton.New
			if p.to.Proto == port.TCP && p.flags != automaton.SYN {
				conn = automaton.Invalid
			}
			out := model.Packet(automaton.Packet{Time: now.Sub(begin), Src: p.src, To: p.to, Flags: p.flags, TTL: 64, Conn: conn, Iface: lab.ServerDevice})
			granted = granted || out.Reason == automaton.Opened && p.src == src
		}
		for _, s := range []*side{b.knockd, b.tirl} {
			if err := s.send(b.Context(), trace[i:end]...); err != nil {
				b.Fatal(err)
			}
		}
		i = end
	}
	lines := b.mark(patience)
	got := openings(lines)
	if got = got[:len(got)-1]; !slices.Equal(got, opened) {
		b.Errorf("knockd opens %q, and its algorithm %q", got, opened)
	}
	ran := slices.Contains(opened, fmt.Sprintf("%s %s", src, door))
	knockdOpens = b.waits(ran, lines, src, door, service)
	if tirlOpens = b.tirl.reaches(b.T, src, service); tirlOpens != granted {
		b.Errorf("tirl lets %s in at %s: %v, and the interpreter %v", src, service, tirlOpens, granted)
	}
	return knockdOpens, tirlOpens
}

// play sends a trace to both servers, whatever comes of it.
func (b *both) play(trace []step) {
	b.Helper()
	b.fresh()
	for _, s := range []*side{b.knockd, b.tirl} {
		if err := s.send(b.Context(), trace...); err != nil {
			b.Fatal(err)
		}
	}
	b.mark(patience)
}

// mark gives what knockd says until it has seen all that was sent, or nil if it
// has not in time.
func (b *both) mark(within time.Duration) []string {
	b.Helper()
	b.marks++
	src := lab.Forged4(100000 + b.marks)
	if err := b.knockd.send(b.Context(), knock(src, port.Port{Proto: port.UDP, Number: 9999})); err != nil {
		b.Fatal(err)
	}
	return b.daemon.within(within, func(line string) bool { s, _, _ := opening(line); return s == src.String() })
}

// fresh has knockd begin without attempts. What comes while it changes its filter
// is lost.
func (b *both) fresh() {
	b.Helper()
	b.daemon.reload()
	for deadline := time.Now().Add(patience); b.mark(200*time.Millisecond) == nil; {
		if time.Now().After(deadline) {
			b.Fatal("knockd is deaf")
		}
	}
}

// waits says whether knockd's command lets a source in. It is run when knockd has
// long gone on, takes as long as it takes, and may fail.
func (b *both) waits(ran bool, lines []string, src netip.Addr, door string, service port.Port) bool {
	b.Helper()
	d := b.door(door)
	failed := func(line string) bool { return strings.HasPrefix(line, door+": command returned non-zero") }
	if !ran || d.StartFor(src.Is6()) == nil || slices.ContainsFunc(lines, failed) {
		return b.knockd.reaches(b.T, src, service)
	}
	limit := patience
	if !runsFor(d, src.Is6()) {
		limit = 500 * time.Millisecond // what fails may go on with something else
	}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if b.knockd.reaches(b.T, src, service) {
			return true
		}
		if b.daemon.within(20*time.Millisecond, failed) != nil {
			break
		}
	}
	return b.knockd.reaches(b.T, src, service)
}

func (b *both) door(name string) *knockd.Door {
	i := slices.IndexFunc(b.config.Doors, func(d *knockd.Door) bool { return d.Name == name })
	return b.config.Doors[i]
}
