package spec

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/port"
)

const operated = `
[door.a]
opens    = ["tcp/22"]
knocks   = ["udp/1001", "udp/5002", "udp/1003"]
open_for = "5s"

[door.b]
opens    = ["tcp/2222", "udp/5000"]
knocks   = ["udp/1001", "udp/6002", "udp/2003"]
open_for = "once"
from     = ["10.9.0.0/24", "2001:db8:9::/64"]
`

// stage is a loaded policy with the hand of an administrator.
type stage struct {
	*testing.T
	*backendtest.Kernel
	op backend.Operator
	g  *automaton.Program
}

// operate runs a test with every kind of kernel program, in both modes.
func operate(t *testing.T, source string, test func(s stage)) {
	labtest.Require(t)
	for _, v := range kinds.All() {
		for _, mode := range []string{"guard", "firewall"} {
			t.Run(v.Name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				g := automatontest.Compile(t, "mode = \""+mode+"\"\n"+source)
				k, err := backendtest.New(t.Context(), g, v.Make)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := k.Close(); err != nil {
						t.Error(err)
					}
				})
				test(stage{t, k, k.Backend.(backend.Operator), g})
			})
		}
	}
}

// sends sends packets one after the other and gives the verdict of the last.
func (s stage) sends(src string, to ...string) automaton.Verdict {
	s.Helper()
	var v automaton.Verdict
	for _, name := range to {
		p, err := port.Parse(name)
		if err != nil {
			s.Fatal(err)
		}
		if v, err = s.Send(context.Background(), automaton.Packet{Src: netip.MustParseAddr(src), To: p, Flags: automaton.SYN, TTL: 64}); err != nil {
			s.Fatal(err)
		}
	}
	return v
}

func (s stage) wants(want automaton.Verdict, why, src string, to ...string) {
	s.Helper()
	if got := s.sends(src, to...); got != want {
		s.Errorf("%s: %s to %v: %s, want %s", why, src, to, got, want)
	}
}

func (s stage) grant(door int, src string, d time.Duration) time.Duration {
	s.Helper()
	has, err := s.op.Grant(context.Background(), s.g, door, netip.MustParseAddr(src), d)
	if err != nil {
		s.Fatal(err)
	}
	return has
}

func (s stage) revoke(door int, src string) int {
	s.Helper()
	n, err := s.op.Revoke(context.Background(), s.g, door, netip.MustParseAddr(src))
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s stage) loaded() *backend.Loaded {
	s.Helper()
	l, err := s.Backend.Loaded(context.Background())
	if err != nil || l == nil {
		s.Fatalf("loaded: %v, %v", l, err)
	}
	return l
}

func (s stage) do(what func(context.Context) error) {
	s.Helper()
	if err := what(context.Background()); err != nil {
		s.Fatal(err)
	}
}

func TestGrant(t *testing.T) {
	operate(t, operated, func(s stage) {
		text := s.loaded().Text
		for _, src := range []string{"10.9.0.20", "2001:db8:9::20"} {
			s.wants(automaton.Dropped, "before", src, "tcp/22")
			s.sends(src, "udp/1001", "udp/5002")
			if has := s.grant(0, src, 0); has != 5*time.Second {
				s.Errorf("it has %v", has)
			}
			s.wants(automaton.Accept, "granted", src, "tcp/22")
			s.wants(automaton.Accept, "and again", src, "tcp/22")
			s.wants(automaton.Dropped, "another door", src, "tcp/2222")
		}
		s.wants(automaton.Dropped, "another source", "10.9.0.21", "tcp/22")
		s.wants(automaton.Dropped, "another source", "2001:db8:9::21", "tcp/22")
		if got := s.loaded().Text; got != text {
			s.Errorf("a grant looks like drift:\n%s\n%s", text, got)
		}
		time.Sleep(5*time.Second + 300*time.Millisecond)
		s.wants(automaton.Dropped, "after its time", "10.9.0.20", "tcp/22")
		s.wants(automaton.Dropped, "after its time", "2001:db8:9::20", "tcp/22")
	})
}

// A grant to an open-once door lets in the next connection and no other, and is
// spent by a wrong packet as a knock would be.
func TestGrantOnce(t *testing.T) {
	operate(t, operated, func(s stage) {
		for _, src := range []string{"10.9.0.20", "2001:db8:9::20"} {
			for _, before := range [][]string{nil, {"udp/1001"}, {"udp/1001", "udp/6002"}, {"udp/1001", "udp/6002", "udp/2003"}} {
				s.sends(src, before...)
				if has := s.grant(1, src, 0); has != 10*time.Second {
					s.Errorf("it has %v", has)
				}
				if places := s.loaded().Places; len(places) != 1 || places[0].State != s.g.Doors[1].End {
					s.Errorf("after %v it stands at %v", before, places)
				}
				s.wants(automaton.Accept, "granted", src, "tcp/2222")
				s.wants(automaton.Dropped, "once", src, "tcp/2222")
			}
			s.grant(1, src, 0)
			s.wants(automaton.Dropped, "spent by a wrong packet", src, "udp/9", "tcp/2222")
		}
	})
}

// The end of a grant is the latest that anybody has given, by hand or by knock.
func TestGrantNeverShortens(t *testing.T) {
	operate(t, operated, func(s stage) {
		src := "10.9.0.20"
		if s.Backend.Name() != policy.BackendNftables {
			_, err := s.op.Grant(context.Background(), s.g, 0, netip.MustParseAddr(src), time.Minute)
			if !errors.Is(err, backend.ErrFixedTime) {
				s.Errorf("another time: %v", err)
			}
			if n := len(s.loaded().Grants); n != 0 {
				s.Errorf("%d grants", n)
			}
			return
		}
		left := func() time.Duration {
			grants := s.loaded().Grants
			if len(grants) != 1 {
				s.Fatalf("grants: %v", grants)
			}
			return grants[0].Left
		}
		for _, c := range []struct{ give, min, max time.Duration }{
			{2 * time.Second, 0, 2 * time.Second},
			{time.Minute, 50 * time.Second, time.Minute},
			{10 * time.Second, 50 * time.Second, time.Minute},
			{0, 50 * time.Second, time.Minute},
			{time.Hour, 59 * time.Minute, time.Hour},
		} {
			has := s.grant(0, src, c.give)
			if got := left(); got < c.min || got > c.max || has < c.min || has > c.max {
				s.Errorf("given %v it has %v, and %v by its own account", c.give, got, has)
			}
		}
		s.wants(automaton.Accept, "it knocks itself", src, "udp/1001", "udp/5002", "udp/1003", "tcp/22")
		if got := left(); got < 59*time.Minute {
			s.Errorf("a knock left %v", got)
		}
		s.sends("10.9.0.30", "udp/1001", "udp/5002", "udp/1003")
		if has := s.grant(0, "10.9.0.30", time.Second); has < 4*time.Second {
			s.Errorf("less than the knock gave: %v", has)
		}
	})
}

func TestRevoke(t *testing.T) {
	operate(t, operated, func(s stage) {
		for _, src := range []string{"10.9.0.20", "2001:db8:9::20"} {
			s.grant(0, src, 0)
			s.sends(src, "udp/1001", "udp/6002")
			s.sends("10.9.0.30", "udp/1001", "udp/5002", "udp/1003", "udp/1001")
			if n := s.revoke(-1, "10.9.0.99"); n != 0 {
				s.Errorf("%d taken from nobody", n)
			}
			if n := s.revoke(0, src); n != 1 {
				s.Errorf("door a: %d taken, want the grant", n)
			}
			s.wants(automaton.Accept, "progress at the other door", src, "udp/2003", "tcp/2222")
			s.wants(automaton.Dropped, "revoked", src, "tcp/22")
			s.sends(src, "udp/1001", "udp/5002", "udp/1003", "udp/1001", "udp/5002")
			if n := s.revoke(-1, src); n != 2 {
				s.Errorf("%d taken, want a grant and a place", n)
			}
			s.wants(automaton.Dropped, "all revoked", src, "tcp/22")
			s.wants(automaton.Dropped, "no progress", src, "udp/1003", "tcp/22")
			s.wants(automaton.Accept, "somebody else", "10.9.0.30", "tcp/22")
			s.wants(automaton.Accept, "it may knock again", src, "udp/1001", "udp/5002", "udp/1003", "tcp/22")
			s.revoke(-1, src)
		}
	})
}

// While blocked nobody gets in but trust and what is established, and nothing
// that is done meanwhile helps later.
func TestBlock(t *testing.T) {
	source := "trust = [\"10.9.0.77\"]\n" + operated
	operate(t, source, func(s stage) {
		ctx := context.Background()
		const src = "10.9.0.20"
		tcp22 := port.Port{Proto: port.TCP, Number: 22}
		if err := s.Listen(tcp22); err != nil {
			s.Fatal(err)
		}
		s.wants(automaton.Accept, "before", src, "udp/1001", "udp/5002", "udp/1003", "tcp/22")
		s.sends("10.9.0.21", "udp/1001", "udp/6002", "udp/2003")
		s.grant(0, "2001:db8:9::20", 0)
		text := s.loaded().Text
		s.do(s.op.Block)
		s.do(s.op.Block)
		if l := s.loaded(); !l.Blocked || len(l.Grants)+len(l.Places) != 0 || l.Text != text {
			s.Errorf("blocked is %v, grants %v, places %v, drift %v", l.Blocked, l.Grants, l.Places, l.Text != text)
		}
		closed := func(when string) {
			s.Helper()
			s.wants(automaton.Dropped, when+", had a grant", src, "tcp/22")
			s.wants(automaton.Dropped, when+", was let in once", "10.9.0.21", "tcp/2222")
			s.wants(automaton.Dropped, when+", granted by hand", "2001:db8:9::20", "tcp/22")
			s.wants(automaton.Dropped, when+", knocks", src, "udp/1001", "udp/5002", "udp/1003", "tcp/22")
			s.wants(automaton.Dropped, when+", knocks", "2001:db8:9::20", "udp/1001", "udp/6002", "udp/2003", "udp/5000")
			s.wants(automaton.Accept, when+", trust", "10.9.0.77", "tcp/22")
			if !s.g.Firewall {
				s.wants(automaton.Accept, when+", no business of ours", src, "udp/9")
			}
			v, err := s.Send(ctx, automaton.Packet{Src: netip.MustParseAddr(src), To: tcp22, Conn: automaton.Established, TTL: 64})
			if err != nil || v != automaton.Accept {
				s.Errorf("%s: an established session: %s, %v", when, v, err)
			}
		}
		closed("blocked")
		changed := automatontest.Compile(s.T, strings.Replace("mode = \""+map[bool]string{true: "firewall", false: "guard"}[s.g.Firewall]+"\"\n"+source, "udp/5002", "udp/5003", 1))
		s.do(func(ctx context.Context) error { return s.Backend.Load(ctx, changed) })
		if !s.loaded().Blocked {
			s.Error("a load ended the block")
		}
		s.do(func(ctx context.Context) error { return s.Backend.Load(ctx, s.g) })
		closed("blocked and loaded anew")
		s.sends(src, "udp/1001", "udp/5002", "udp/1003")
		s.do(s.op.Unblock)
		s.do(s.op.Unblock)
		if l := s.loaded(); l.Blocked || l.Text != text {
			s.Errorf("after the block: blocked is %v, drift %v", l.Blocked, l.Text != text)
		}
		s.wants(automaton.Dropped, "what was done while blocked", src, "tcp/22")
		s.wants(automaton.Accept, "afterwards", src, "udp/1001", "udp/5002", "udp/1003", "tcp/22")
	})
}

// Going back to older rules neither ends a block that was made since nor brings
// back one that was ended.
func TestBlockOutlivesARestore(t *testing.T) {
	operate(t, operated, func(s stage) {
		ctx := context.Background()
		keeper := s.Backend.(backend.Snapshotter)
		for _, before := range []bool{false, true} {
			for _, meanwhile := range []bool{false, true} {
				set := func(on bool) {
					if on {
						s.do(s.op.Block)
					} else {
						s.do(s.op.Unblock)
					}
				}
				set(before)
				snapshot, err := keeper.Snapshot(ctx)
				if err != nil {
					s.Fatal(err)
				}
				set(meanwhile)
				if err := keeper.Restore(ctx, snapshot, 0); err != nil {
					s.Fatal(err)
				}
				if got := s.loaded().Blocked; got != meanwhile {
					s.Errorf("blocked %v, then %v, then restored: %v", before, meanwhile, got)
				}
				if !meanwhile {
					s.wants(automaton.Accept, "not blocked", "10.9.0.20", "udp/1001", "udp/5002", "udp/1003", "tcp/22")
					s.revoke(-1, "10.9.0.20")
				} else {
					s.wants(automaton.Dropped, "blocked", "10.9.0.20", "udp/1001", "udp/5002", "udp/1003", "tcp/22")
				}
			}
		}
	})
}

func TestCounters(t *testing.T) {
	operate(t, operated, func(s stage) {
		counters := func(when string, want backend.Counters) {
			s.Helper()
			got, err := s.op.Counters(context.Background(), s.g)
			if err != nil {
				s.Fatal(err)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				s.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		counters("at first", backend.Counters{Doors: []uint64{0, 0}})
		for _, src := range []string{"10.9.0.20", "2001:db8:9::20"} {
			s.sends(src, "udp/1001", "udp/5002", "udp/1003", "tcp/22", "tcp/22")
			s.sends(src, "udp/1001", "udp/6002", "udp/2003", "udp/5000", "udp/5000")
			s.sends(src, "udp/1001", "udp/6002", "udp/2003", "udp/9")
			s.sends(src, "udp/1001", "udp/6002", "udp/9", "udp/9")
			s.sends(src, "udp/1001", "udp/6002", "udp/1001", "tcp/22")
		}
		// From outside, the end of a door opens nothing.
		s.sends("198.18.7.7", "udp/1001", "udp/6002", "udp/2003", "tcp/2222")
		want := backend.Counters{Opened: 6, Accepted: 8, Wrong: 4, Doors: []uint64{2, 4}}
		counters("after all", want)
		s.grant(0, "10.9.0.30", 0)
		s.sends("10.9.0.30", "tcp/22")
		want.Accepted++
		counters("by hand", want)
		changed := automatontest.Compile(s.T, strings.Replace(operated, "udp/5002", "udp/5003", 1))
		s.do(func(ctx context.Context) error { return s.Backend.Load(ctx, changed) })
		if s.Backend.Name() == policy.BackendNftables {
			want.Doors = []uint64{0, 0}
			counters("after another policy", want)
		}
		flood := slices.Repeat([]automaton.Packet{{Src: netip.MustParseAddr("10.9.0.40"), To: port.Port{Proto: port.UDP, Number: 1001}, TTL: 64}}, 100)
		if _, err := s.SendAll(context.Background(), flood); err != nil {
			s.Fatal(err)
		}
		if c, err := s.op.Counters(context.Background(), changed); err != nil || c.Limited == 0 {
			s.Errorf("a flood: %+v, %v", c, err)
		}
	})
}

// What an administrator does leaves other people's rules alone, and is an error
// where nothing is loaded.
func TestOperatorTouchesNothingElse(t *testing.T) {
	operate(t, operated, func(s stage) {
		ctx := context.Background()
		const others = `table ip others {
	set grant4 { type ipv4_addr; flags timeout; elements = { 10.9.0.20 } }
	chain c {
		type filter hook input priority 10; policy accept;
		ip saddr @grant4 counter accept
	}
}
`
		if _, err := s.Pair.Server.Run(ctx, others, "nft", "-f", "-"); err != nil {
			s.Fatal(err)
		}
		list := func() string {
			out, err := s.Pair.Server.Run(ctx, "", "nft", "list", "table", "ip", "others")
			if err != nil {
				s.Fatal(err)
			}
			return out
		}
		before := list()
		s.grant(0, "10.9.0.20", 0)
		s.grant(1, "10.9.0.20", 0)
		s.revoke(-1, "10.9.0.20")
		s.do(s.op.Block)
		s.do(s.op.Unblock)
		if after := list(); after != before {
			s.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		s.do(s.Backend.Remove)
		src := netip.MustParseAddr("10.9.0.20")
		for name, err := range map[string]error{
			"grant":   second(s.op.Grant(ctx, s.g, 0, src, 0)),
			"revoke":  second(s.op.Revoke(ctx, s.g, -1, src)),
			"block":   s.op.Block(ctx),
			"unblock": s.op.Unblock(ctx),
		} {
			if !errors.Is(err, backend.ErrNotLoaded) {
				s.Errorf("%s of nothing: %v", name, err)
			}
		}
		if slices.Contains(strings.Fields(list()), "tirl") {
			s.Error("something was made")
		}
	})
}

func second[T any](_ T, err error) error { return err }
