package backendtest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/tool"
	"tirl/internal/vector"
)

// WithIptables gives a runner that runs one kind of the iptables programs, "nft"
// or "legacy", whatever the host's alternatives are.
func WithIptables(r tool.Runner, kind string) tool.Runner { return named{r, kind} }

// named runs iptables-restore as iptables-legacy-restore, and so on.
type named struct {
	tool.Runner
	kind string
}

// Run implements tool.Runner.
func (n named) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	for _, family := range [...]string{"iptables", "ip6tables"} {
		if rest, ok := strings.CutPrefix(name, family); ok && (rest == "" || rest[0] == '-') {
			name = family + "-" + n.kind + rest
			break
		}
	}
	return n.Runner.Run(ctx, stdin, name, args...)
}

// Tardy says that this machine was too busy to send a packet at its time, so that
// the replay says nothing.
type Tardy struct{ By time.Duration }

func (e Tardy) Error() string { return fmt.Sprintf("a packet was %v late", e.By) }

// Replay sends a vector's packets at a real kernel and says where it differs.
func Replay(ctx context.Context, v *vector.Vector, mk Maker) error {
	k, err := New(ctx, v.Program, mk)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.Fill(ctx, v.Values); err != nil {
		return err
	}
	var all []automaton.Packet
	for _, s := range v.Steps {
		all = append(all, s.Packets...)
	}
	if err := k.serve(ctx, all); err != nil {
		return err
	}
	// The lateness of reading back counts, too: what is read is of a later time.
	tolerance := v.Slack() * 2 / 3
	k.Start()
	for _, s := range v.Steps {
		if len(s.Packets) == 0 {
			continue
		}
		if err := k.replayStep(ctx, s, tolerance); err != nil {
			return err
		}
	}
	return nil
}

// serve has the server listen where a flow must be answered, and gives it the
// devices that packets come in by. Connection tracking forgets a TCP flow that is
// refused, so that no error can be about it.
func (k *Kernel) serve(ctx context.Context, packets []automaton.Packet) error {
	if err := k.expect(ctx, packets); err != nil {
		return err
	}
	related := make(map[netip.Addr]bool)
	for _, p := range packets {
		related[p.Src] = related[p.Src] || p.Conn == automaton.Related
		if _, ok := k.cables[p.Iface]; !ok && p.Iface != "lo" {
			cable, err := k.Pair.AddCable(p.Iface)
			if err != nil {
				return err
			}
			k.cables[p.Iface] = cable
		}
	}
	for _, p := range packets {
		flow := p.Conn == automaton.Established || related[p.Src] && p.Conn == automaton.New
		if flow && (p.To.Proto == port.TCP || p.To.Proto == port.UDP) {
			if err := k.Listen(p.To); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Kernel) replayStep(ctx context.Context, s vector.Step, tolerance time.Duration) error {
	verdicts, err := k.SendAll(ctx, s.Packets)
	if err != nil {
		return fmt.Errorf("line %d: %s: %w", s.Line, s.Text, err)
	}
	last := s.Packets[len(s.Packets)-1]
	way, open, err := k.Place(ctx, last.Src, last.TTL)
	if err != nil {
		return fmt.Errorf("line %d: %s: %w", s.Line, s.Text, err)
	}
	before := k.spent
	if k.spent, err = k.Spent(ctx); err != nil {
		return fmt.Errorf("line %d: %s: %w", s.Line, s.Text, err)
	}
	spent := slices.DeleteFunc(slices.Clone(k.spent), func(i int) bool { return slices.Contains(before, i) })
	if late := k.Late(last.Time); late > tolerance {
		return Tardy{late}
	}
	for i, v := range verdicts {
		if v != s.Verdict {
			return fmt.Errorf("line %d: %s: packet %d: the kernel says %s, want %s", s.Line, s.Text, i+1, v, s.Verdict)
		}
	}
	if !slices.Equal(way, s.Place) {
		return fmt.Errorf("line %d: %s: in the kernel the source has done %v, want %v", s.Line, s.Text, way, s.Place)
	}
	if !slices.Equal(open, s.Open) {
		return fmt.Errorf("line %d: %s: in the kernel the classes %v are open to the source, want %v", s.Line, s.Text, open, s.Open)
	}
	if !slices.Equal(spent, s.Spent) {
		return fmt.Errorf("line %d: %s: in the kernel the values %v are spent by it, want %v", s.Line, s.Text, spent, s.Spent)
	}
	return nil
}
