package confirm

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/session"
)

// TestWatch: whatever happens, the wait ends, and as it should.
func TestWatch(t *testing.T) {
	const id = "ID"
	for _, c := range []struct {
		name   string
		loaded bool
		during func(d Dir, w *Watch, stop func())
		back   string // why it is taken back; empty: it is not
		kept   string
	}{
		{"nobody confirms", true, func(Dir, *Watch, func()) {}, "nobody confirmed it within 50ms", ""},
		{"tirl confirm", true, func(d Dir, w *Watch, _ func()) {
			if err := d.End(&Pending{ID: id}, Confirmed, "", time.Now()); err != nil {
				panic(err)
			}
		}, "", ""},
		{"tirl rollback", true, func(d Dir, w *Watch, _ func()) {
			if err := d.End(&Pending{ID: id}, RolledBack, "", time.Now()); err != nil {
				panic(err)
			}
		}, "", ""},
		{"proof", true, func(_ Dir, w *Watch, _ func()) { w.Proof = func(context.Context) string { return "a knock" } }, "", "a knock"},
		{"proof that cannot be noted", true, func(_ Dir, w *Watch, _ func()) {
			w.Proof = func(context.Context) string { return "a knock" }
			w.Confirm = func(context.Context, string) error { return errors.New("busy") }
		}, "nobody confirmed it within 50ms", ""},
		{"tirl was killed", false, func(Dir, *Watch, func()) {}, "tirl was killed while it loaded", ""},
		{"the watchdog is stopped", true, func(_ Dir, w *Watch, stop func()) { w.Wait = time.Hour; stop() }, "the watchdog was stopped", ""},
		{"everything is removed", true, func(d Dir, _ *Watch, _ func()) { os.RemoveAll(string(d)) }, "nobody confirmed it within 50ms", ""},
		{"a later one waits", true, func(d Dir, _ *Watch, _ func()) { d.Write(&Pending{ID: "LATER"}) }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Dir(filepath.Join(t.TempDir(), "tirl"))
			if err := os.Mkdir(string(d), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := d.Write(&Pending{ID: id, Loaded: c.loaded}); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			back, kept, tries := "", "", 0
			w := &Watch{
				Dir: d, ID: id, Wait: 50 * time.Millisecond, Poll: time.Millisecond,
				Idle: func() bool { return true }, Begin: func(context.Context) {},
				Proof:   func(context.Context) string { return "" },
				Confirm: func(_ context.Context, how string) error { kept = how; return nil },
				Rollback: func(_ context.Context, why string) error {
					if tries++; tries < 3 {
						return errors.New("not yet")
					}
					back = why
					return nil
				},
			}
			c.during(d, w, stop)
			w.Run(ctx)
			if back != c.back || kept != c.kept {
				t.Errorf("taken back: %q, kept: %q", back, kept)
			}
		})
	}
}

// While somebody is at work, nobody was killed.
func TestWatchWaitsForTheLoad(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Write(&Pending{ID: "ID"}); err != nil {
		t.Fatal(err)
	}
	n := 0
	w := &Watch{
		Dir: d, ID: "ID", Wait: time.Millisecond, Poll: time.Millisecond, Begin: func(context.Context) {},
		Proof: func(context.Context) string { return "" },
		Idle: func() bool {
			if n++; n == 20 {
				d.Write(&Pending{ID: "ID", Loaded: true})
				return true
			}
			return false
		},
		Rollback: func(_ context.Context, why string) error {
			if !strings.HasPrefix(why, "nobody") {
				t.Errorf("taken back because %s", why)
			}
			return nil
		},
	}
	w.Run(t.Context())
}

func TestArmAndHold(t *testing.T) {
	d := Dir(t.TempDir())
	held := make(chan func(), 1)
	err := d.Arm(t.Context(), "ID", func(context.Context) error {
		go func() {
			time.Sleep(50 * time.Millisecond)
			release, err := d.Hold("ID")
			if err != nil {
				t.Error(err)
			}
			held <- release
		}()
		return nil
	})
	release := <-held
	if err != nil || !d.Alive("ID") {
		t.Fatalf("armed: %v", err)
	}
	if _, err := d.Hold("ID"); err == nil {
		t.Error("there are two")
	}
	release()
	if d.Alive("ID") {
		t.Error("it lives on")
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := d.Arm(ctx, "ID", func(context.Context) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody came: %v", err)
	}
}

// What a watchdog must still find out is not cleaned away.
func TestCleanWaitsForTheWatchdog(t *testing.T) {
	d := Dir(t.TempDir())
	release, err := d.Hold("ID")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(&Pending{ID: "ID"}); err != nil {
		t.Fatal(err)
	}
	if err := d.End(&Pending{ID: "ID"}, Confirmed, "so", time.Now()); err != nil {
		t.Fatal(err)
	}
	if d.Clean() || !d.Over("ID") {
		t.Error("it is cleaned away")
	}
	release()
	if !d.Clean() {
		t.Error("it is not cleaned away")
	}
	if left, _ := os.ReadDir(string(d)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func program(t *testing.T, extra string) *automaton.Program {
	t.Helper()
	p, found := policy.Parse("", []byte(extra+`
[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/40213", "udp/7719", "udp/28816"]
open_for = "30s"

[door.once]
opens    = ["tcp/2222"]
knocks   = ["udp/50213", "udp/7719", "udp/28816"]
open_for = "once"
`))
	if p == nil {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func conn(remote string, number uint16) session.Conn {
	local := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), number)
	return session.Conn{Proto: port.TCP, Local: local, Remote: netip.MustParseAddrPort(remote)}
}

func TestProof(t *testing.T) {
	now := time.Now()
	class := program(t, "").Classes[0].ID
	grant := func(left time.Duration) []backend.Grant {
		return []backend.Grant{{Source: netip.MustParseAddr("203.0.113.9"), Class: class, Left: left}}
	}
	me := conn("203.0.113.9:1000", 22)
	for _, c := range []struct {
		name          string
		policy        string
		session       *session.Session
		fresh         session.Conn
		before, after []backend.Grant
		want          bool
	}{
		{"a connection after a knock", "", &session.Session{Conn: me}, conn("203.0.113.9:1001", 22), nil, grant(time.Second), true},
		{"through a door that opens once", "", &session.Session{Conn: me}, conn("203.0.113.9:1001", 2222), nil, nil, true},
		{"nothing", "", &session.Session{Conn: me}, me, nil, nil, false},
		{"of somebody else", "", &session.Session{Conn: me}, conn("203.0.113.8:1001", 22), nil, nil, false},
		{"nobody knows who applied", "", nil, conn("203.0.113.9:1001", 22), nil, nil, false},
		{"to what is not hidden", "", &session.Session{Conn: me}, conn("203.0.113.9:1001", 80), nil, nil, false},
		{"of a trusted address", `trust = ["203.0.113.0/24"]`, &session.Session{Conn: me}, conn("203.0.113.9:1001", 22), nil, nil, false},
		{"by an older grant", "", &session.Session{Conn: me}, conn("203.0.113.9:1001", 22), grant(20 * time.Second), grant(10 * time.Second), false},
		{"by an older grant, given anew", "", &session.Session{Conn: me}, conn("203.0.113.9:1001", 22), grant(20 * time.Second), grant(25 * time.Second), true},
		{"perhaps by a trusted device", `trust = ["iface:wg0"]`, &session.Session{Conn: me}, conn("203.0.113.9:1001", 22), nil, nil, false},
		{"not by a trusted device", `trust = ["iface:wg0"]`, &session.Session{Conn: me}, conn("203.0.113.9:1001", 22), nil, grant(25 * time.Second), true},
		{"by a grant of unknown age", `trust = ["iface:wg0"]`, &session.Session{Conn: me}, conn("203.0.113.9:1001", 22), nil, grant(-1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewProof(program(t, c.policy), c.session, []session.Conn{me}, c.before, now)
			got := p.Check([]session.Conn{me, c.fresh}, func() ([]backend.Grant, error) { return c.after, nil }, now.Add(time.Second))
			if (got != "") != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestSame(t *testing.T) {
	mine, beside, other := conn("203.0.113.9:1000", 22), conn("203.0.113.9:1001", 22), conn("203.0.113.9:1002", 22)
	p := &Pending{Session: &session.Session{Conn: mine}, Open: []session.Conn{mine, beside}}
	for _, c := range []struct {
		name string
		s    *session.Session
		want bool
	}{
		{"the same", &session.Session{Conn: mine}, true},
		{"open before", &session.Session{Conn: beside}, true},
		{"another", &session.Session{Conn: other}, false},
		{"perhaps another", &session.Session{Conn: mine, Others: []session.Conn{other}}, false},
		{"the console", nil, false},
	} {
		if got := p.Same(c.s); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if (&Pending{}).Same(&session.Session{Conn: mine}) {
		t.Error("applied at the console, and not confirmed from a connection")
	}
}
