package knock

import (
	"context"
	"net/netip"

	"tirl/internal/port"
)

// Volley is what opens a door if all of it arrives, in order: knocks, and what is
// in each of them.
type Volley struct {
	Knocks  []port.Port
	Payload []byte // nil: that of the options
}

// Send sends the volley to every address.
func (v Volley) Send(ctx context.Context, addrs []netip.Addr, opts Options) error {
	if v.Payload != nil {
		opts.Payload = v.Payload
	}
	return Send(ctx, addrs, v.Knocks, opts)
}
