package connect

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"tirl/internal/knock"
	"tirl/internal/port"
)

// values are numbers whose packets go to one port.
type values struct {
	to           port.Port
	sent         atomic.Int32
	left         int // how many are to be sent again
	opened       atomic.Bool
	swept, ended atomic.Bool
	fail         error // of Opened
}

func (v *values) volley() knock.Volley {
	return knock.Volley{Knocks: []port.Port{v.to}, Payload: []byte("sixteen bytes ..")}
}

func (v *values) Another() (knock.Volley, error) { v.sent.Add(1); return v.volley(), nil }

func (v *values) Opened() ([]knock.Volley, error) {
	v.opened.Store(true)
	return slices.Repeat([]knock.Volley{v.volley()}, v.left), v.fail
}

func (v *values) Swept() error { v.swept.Store(true); return nil }
func (v *values) Close() error { v.ended.Store(true); return nil }

// oneTime has a door open by values. It opens for one connection, so that each is sent once.
func (d *door) oneTime(left int) *values {
	v := &values{to: d.Knocks[2], left: left}
	d.Once, d.Knocks = true, nil
	d.OneTime = func(context.Context) (Values, error) { return v, nil }
	return v
}

// Each attempt takes another value; what is left is sent once more by the time that the
// connection is closed.
func TestOneTime(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 2)
	v := d.oneTime(3)
	conn, err := Dial(t.Context(), d.Target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if v.sent.Load() != 3 || !v.opened.Load() {
		t.Errorf("%d values, opened %v", v.sent.Load(), v.opened.Load())
	}
	conn.Close()
	if !v.swept.Load() || !v.ended.Load() {
		t.Errorf("swept %v, ended %v", v.swept.Load(), v.ended.Load())
	}
}

func TestOneTimeInVain(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 1000)
	v := d.oneTime(0)
	if _, err := Dial(t.Context(), d.Target, Options{Attempts: 2}); err == nil || err.Error() != "after 2 attempts: connection refused" {
		t.Errorf("two attempts: %v", err)
	}
	if v.sent.Load() != 2 || v.opened.Load() || !v.ended.Load() {
		t.Errorf("%d values, opened %v, ended %v", v.sent.Load(), v.opened.Load(), v.ended.Load())
	}
	broken := errors.New("no place")
	d.OneTime = func(context.Context) (Values, error) { return nil, broken }
	if _, err := Dial(t.Context(), d.Target, Options{}); !errors.Is(err, broken) {
		t.Errorf("no values: %v", err)
	}
}

// A connection that cannot be noted is none.
func TestOneTimeNotNoted(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	v := d.oneTime(1)
	v.fail = errors.New("disk full")
	if _, err := Dial(t.Context(), d.Target, Options{}); !errors.Is(err, v.fail) {
		t.Errorf("%v", err)
	}
	if !v.ended.Load() {
		t.Error("nobody else can go on")
	}
}

func TestOfEachFamily(t *testing.T) {
	a := func(texts ...string) (all []netip.Addr) {
		for _, s := range texts {
			all = append(all, netip.MustParseAddr(s))
		}
		return all
	}
	all := a("192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3")
	for n, want := range [][]netip.Addr{
		a("192.0.2.1", "2001:db8::1"), a("192.0.2.2", "2001:db8::1"), a("192.0.2.3", "2001:db8::1"), a("192.0.2.1", "2001:db8::1"),
	} {
		if got := ofEachFamily(all, n); !slices.Equal(got, want) {
			t.Errorf("attempt %d: %v, want %v", n, got, want)
		}
	}
}
