package knock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"tirl/internal/port"
)

// Open says at which addresses a TCP port is open, by connecting to all of them
// at once; the connections are closed again. If none is, the error says what the
// first of them answered.
func Open(ctx context.Context, addrs []netip.Addr, p port.Port, patience time.Duration) ([]netip.Addr, error) {
	if p.Proto != port.TCP {
		return nil, fmt.Errorf("only a TCP port tells whether it is open, not %s", p)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := make([]error, len(addrs))
	var all sync.WaitGroup
	for i, a := range addrs {
		all.Go(func() {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, p.Number).String())
			if errs[i] = err; err == nil {
				conn.Close()
			}
		})
	}
	all.Wait()
	var open []netip.Addr
	for i, a := range addrs {
		if errs[i] == nil {
			open = append(open, a)
		}
	}
	if len(open) > 0 || len(addrs) == 0 {
		return open, nil
	}
	if err := errs[0]; errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer in %v", patience)
	}
	return nil, plain(errs[0])
}
