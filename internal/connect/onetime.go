package connect

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/knock"
	"tirl/internal/port"
)

// Values are what a one-time user knocks with.
type Values interface {
	// Another gives what the next attempt sends. By then it is noted for good that
	// it was on the wire.
	Another() (knock.Volley, error)
	// Opened notes for good that the last one has opened the door, and gives what was
	// on the wire and may be worth something still.
	Opened() ([]knock.Volley, error)
	// Swept notes that all that was sent once more.
	Swept() error
	Close() error
}

// fixed are knocks that are always the same.
type fixed []port.Port

func (f fixed) Another() (knock.Volley, error)  { return knock.Volley{Knocks: f}, nil }
func (f fixed) Opened() ([]knock.Volley, error) { return nil, nil }
func (f fixed) Swept() error                    { return nil }
func (f fixed) Close() error                    { return nil }

func (t Target) values(ctx context.Context) (Values, error) {
	if t.OneTime == nil {
		return fixed(t.Knocks), nil
	}
	return t.OneTime(ctx)
}

// copies is how often a token is sent, and what is left of a knock, against loss. Where the door opens for one
// connection it is sent once: there a second one would be a wrong packet behind it.
const copies = 3

// knock sends what attempt n sends.
func (t Target) knock(ctx context.Context, values Values, n int, how knock.Options) error {
	v, err := values.Another()
	if err != nil {
		return err
	}
	return t.Send(ctx, v, n, how)
}

// Send sends a volley as attempt n, from 0, does.
func (t Target) Send(ctx context.Context, v knock.Volley, n int, how knock.Options) error {
	if t.OneTime == nil {
		return v.Send(ctx, t.Addrs, how)
	}
	if len(v.Knocks) == 1 && !t.Once {
		v.Knocks = slices.Repeat(v.Knocks, copies)
		if how.Delay > 0 {
			how.Delay = max(how.Delay/10, time.Millisecond)
		}
	}
	return v.Send(ctx, ofEachFamily(t.Addrs, n), how)
}

// ofEachFamily chooses an address of each family, another one for each attempt. The
// knocks to two addresses of one family come from one source, and those of a
// one-time sequence must not come twice.
func ofEachFamily(addrs []netip.Addr, n int) (chosen []netip.Addr) {
	var families [2][]netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			families[0] = append(families[0], a)
		} else {
			families[1] = append(families[1], a)
		}
	}
	for _, f := range families {
		if len(f) > 0 {
			chosen = append(chosen, f[n%len(f)])
		}
	}
	return chosen
}

// sweeping is a connection while what is left of its knock is sent.
type sweeping struct {
	*net.TCPConn
	swept <-chan struct{}
}

// Close also waits until all is sent.
func (s sweeping) Close() error {
	err := s.TCPConn.Close()
	<-s.swept
	return err
}

// sweep sends once more what was on the wire, while the connection is in use
// already, and then calls done. If it is interrupted that is left for the next
// connection.
func (t Target) sweep(ctx context.Context, conn net.Conn, values Values, left []knock.Volley, done func()) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if len(left) == 0 || !ok {
		done()
		return conn
	}
	// To the address that can be reached.
	t.Addrs = []netip.Addr{tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()}
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		defer done()
		if t.SendAgain(ctx, left) == nil {
			// What could not be noted is sent again the next time.
			_ = values.Swept()
		}
	}()
	return sweeping{tcp, swept}
}

// SendAgain sends volleys once more, one after another, and all of them several times:
// nothing tells whether they arrive.
func (t Target) SendAgain(ctx context.Context, left []knock.Volley) error {
	how := t.options(nth(0))
	for i, v := range slices.Repeat(left, copies) {
		if i > 0 {
			pause(ctx, how.Delay)
		}
		if err := v.Send(ctx, ofEachFamily(t.Addrs, 0), how); err != nil {
			return err
		}
	}
	return nil
}
