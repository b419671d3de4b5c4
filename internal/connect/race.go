package connect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// headStart is how long an address is tried alone before the next one is tried as
// well (RFC 8305, section 5).
const headStart = 250 * time.Millisecond

// race connects to whichever address answers first, and leaves nothing of the
// other attempts behind.
func race(ctx context.Context, addrs []netip.Addr, number uint16, patience time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	started, pending := 0, 0
	start := func() {
		to := netip.AddrPortFrom(addrs[started], number)
		go func() {
			conn, err := dial(ctx, to)
			results <- result{conn, err}
		}()
		started++
		pending++
	}
	var failed error
	start()
	next := time.NewTimer(headStart)
	defer next.Stop()
	for pending > 0 {
		select {
		case <-next.C:
		case r := <-results:
			pending--
			if r.err == nil {
				cancel()
				go func() {
					for range pending {
						if late := <-results; late.err == nil {
							late.conn.Close()
						}
					}
				}()
				return r.conn, nil
			}
			failed = worse(failed, plain(r.err))
		}
		if started < len(addrs) && ctx.Err() == nil {
			start()
			next.Reset(headStart)
		}
	}
	return nil, failed
}

// worse chooses what to tell of two failed attempts: no answer may still become
// an answer, and so says most; that an address cannot be reached says least.
func worse(a, b error) error {
	switch {
	case a == nil || errors.Is(b, errNoAnswer):
		return b
	case errors.Is(b, ErrRefused) && !errors.Is(a, errNoAnswer):
		return b
	}
	return a
}

// dial makes one connection. Keepalives come as seldom as the system sends them:
// a connection must survive a pause of the network as it would without tirl.
func dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", to.String())
}
