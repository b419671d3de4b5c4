package connect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tirl/internal/filelock"
	"tirl/internal/port"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// door is a service of this machine that is there only after a last knock has
// arrived. (That knocks come in order is for tests with a kernel that judges them.)
type door struct {
	Target

	mu     sync.Mutex
	lose   int // how many last knocks are lost
	knocks int // how many have arrived
}

// newDoor has ports of its own. While the door is closed nothing listens there.
func newDoor(t *testing.T, lose int) *door {
	t.Helper()
	d := &door{lose: lose}
	d.Addrs, d.Delay, d.OpenFor = []netip.Addr{loopback}, 50*time.Millisecond, time.Minute
	last, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { last.Close() })
	udp := func(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }
	d.Knocks = []port.Port{udp(9), udp(7), udp(last.LocalAddr().(*net.UDPAddr).AddrPort().Port())}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.Port = l.Addr().(*net.TCPAddr).AddrPort().Port()
	l.Close()
	go func() {
		for buf := make([]byte, 1); ; {
			if _, _, err := last.ReadFromUDP(buf); err != nil {
				return
			}
			d.arrived(t)
		}
	}()
	return d
}

func (d *door) arrived(t *testing.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.knocks++; d.knocks != d.lose+1 {
		return // lost; or it is open already
	}
	l, err := net.Listen("tcp4", netip.AddrPortFrom(loopback, d.Port).String())
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}

// steps notes what Dial does.
func steps(to *[]Step) func(Step) { return func(s Step) { *to = append(*to, s) } }

func TestDialAtTheFirstTry(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	var got []Step
	conn, err := Dial(t.Context(), d.Target, Options{Progress: steps(&got)})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if want := []Step{{Knocking, 1, nil}, {Connecting, 1, nil}}; !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
}

func TestDialKnocksAgain(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 2)
	var got []Step
	conn, err := Dial(t.Context(), d.Target, Options{Progress: steps(&got)})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	want := []Step{{Knocking, 1, nil}, {Connecting, 1, nil}, {Knocking, 2, ErrRefused}, {Connecting, 2, ErrRefused},
		{Knocking, 3, ErrRefused}, {Connecting, 3, ErrRefused}}
	if !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
}

func TestDialGivesUp(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 1000)
	_, err := Dial(t.Context(), d.Target, Options{})
	if !errors.Is(err, ErrRefused) || err.Error() != "after 5 attempts: connection refused" {
		t.Errorf("a host that refuses: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err = Dial(ctx, d.Target, Options{}); !errors.Is(err, ErrRefused) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a time that has passed: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err = Dial(ctx, d.Target, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a user who has enough: %v", err)
	}
}

// Of many that begin together one knocks, if one knock is good for all.
func TestSharedKnock(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{false, true} {
		d := newDoor(t, 0)
		target := d.Target
		target.Once = once
		file := filepath.Join(t.TempDir(), "run", "a.turn")
		const n = 4
		var knocks atomic.Int32
		opts := Options{Turn: file, Progress: func(s Step) {
			if s.Kind == Knocking {
				knocks.Add(1)
			}
		}}
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				conn, err := Dial(t.Context(), target, opts)
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			})
		}
		all.Wait()
		if want := map[bool]int32{false: 1, true: n}[once]; knocks.Load() != want {
			t.Errorf("once is %v: %d connections by %d knocks, want %d", once, n, knocks.Load(), want)
		}
	}
}

// A knock of long ago, of the future, or by somebody who wrote nonsense is none.
func TestIsOpen(t *testing.T) {
	now := time.Now()
	target := Target{OpenFor: 30 * time.Second}
	for _, tt := range []struct {
		text string
		once bool
		want bool
	}{
		{now.Add(-27 * time.Second).Format(time.RFC3339Nano), false, true},
		{now.Add(-27*time.Second).Format(time.RFC3339Nano) + "\n", true, false},
		{now.Add(-29 * time.Second).Format(time.RFC3339Nano), false, false},
		{now.Add(time.Second).Format(time.RFC3339Nano), false, false},
		{"", false, false},
		{strings.Repeat("9", 1000), false, false},
	} {
		file := filepath.Join(t.TempDir(), "turn")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		turn, err := takeTurn(t.Context(), file, func() {})
		if err != nil {
			t.Fatal(err)
		}
		target.Once = tt.once
		if got := turn.isOpen(target, now); got != tt.want {
			t.Errorf("%.40q, once %v: %v", tt.text, tt.once, got)
		}
		turn.opened(now)
		turn.end()
		if turn, err = takeTurn(t.Context(), file, func() {}); err != nil || turn.isOpen(target, now) == tt.once {
			t.Errorf("after a knock: %v", err)
		}
		turn.end()
	}
}

// Whoever waits says so, and not for ever. Where nothing can be locked everybody
// may knock.
func TestTakeTurn(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "turn")
	first, err := takeTurn(t.Context(), file, func() { t.Error("waits for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	defer first.end()
	waited := make(chan bool, 1)
	ctx, cancel := context.WithTimeout(t.Context(), filelock.Notice+200*time.Millisecond)
	defer cancel()
	if _, err := takeTurn(ctx, file, func() { waited <- true }); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a turn that another has: %v", err)
	}
	if len(waited) != 1 {
		t.Error("it did not say that it waits")
	}
	if turn, err := takeTurn(t.Context(), filepath.Join(file, "below", "a file"), nil); err != nil || turn.file != nil {
		t.Errorf("no place for the file: %v, %v", turn, err)
	}
}

// Slower and slower, and bursts between.
func TestAttempts(t *testing.T) {
	for _, tt := range []struct {
		n     int
		delay time.Duration // that of the target
		want  time.Duration
	}{
		{0, 0, 100 * time.Millisecond}, {1, 0, -1}, {2, 0, 300 * time.Millisecond}, {3, 0, -1}, {4, 0, 500 * time.Millisecond},
		{6, 0, 500 * time.Millisecond}, {101, 0, -1}, {100, 0, 500 * time.Millisecond},
		{0, 20 * time.Millisecond, 20 * time.Millisecond}, {2, 20 * time.Millisecond, 60 * time.Millisecond},
		{1, time.Second, time.Second}, {1, 20 * time.Millisecond, -1},
	} {
		if got := (Target{Delay: tt.delay}).options(nth(tt.n)).Delay; got != tt.want {
			t.Errorf("attempt %d of a delay of %v: %v, want %v", tt.n+1, tt.delay, got, tt.want)
		}
	}
	// No SYN is sent in the last half second.
	for n := range 20 {
		patience := nth(n).patience
		for _, at := range []time.Duration{0, 1, 2, 3, 4, 7} {
			if at *= time.Second; at < patience && patience-at < 500*time.Millisecond {
				t.Errorf("attempt %d ends %v after a SYN", n+1, patience-at)
			}
		}
	}
}

// The first address that answers is taken; one that cannot be reached, or does not
// answer, costs little.
func TestRace(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	number := l.Addr().(*net.TCPAddr).AddrPort().Port()
	unreachable := netip.MustParseAddr("ff02::1") // no stream goes to many
	start := time.Now()
	conn, err := race(t.Context(), []netip.Addr{unreachable, loopback}, number, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
	l.Close()
	if _, err = race(t.Context(), []netip.Addr{unreachable, loopback}, number, 5*time.Second); !errors.Is(err, ErrRefused) {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err = race(t.Context(), []netip.Addr{unreachable}, number, 5*time.Second); err == nil || errors.Is(err, ErrRefused) || errors.Is(err, errNoAnswer) {
		t.Errorf("nobody can be reached: %v", err)
	}
}
