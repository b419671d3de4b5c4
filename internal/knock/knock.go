// Package knock is the client's side of a knock: it finds a host's addresses
// and sends a door's knocks to each of them. It needs no privilege and no
// system beyond what package net supports.
//
// A UDP knock is one datagram. A TCP knock is one SYN that is never sent again:
// the connection attempt is given up long before an operating system's first
// retransmission, and whatever the host answers is ignored.
package knock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"tirl/internal/port"
)

// DefaultDelay is the time between two knocks if Options.Delay is 0. Packets
// that are sent in one burst can be reordered on their way.
const DefaultDelay = 100 * time.Millisecond

// Slowest is how many times the usual delay is, at most, waited between two
// knocks by somebody who tries again.
const Slowest = 5

// maxPayload is the length of a one-time token.
const maxPayload = 16

// Options of Resolve and Send. The zero value is the default of each.
type Options struct {
	// Delay is the least time between the sending of a knock and of the next
	// one to the same address. 0 means DefaultDelay, less than 0 no delay.
	Delay time.Duration
	// Network limits Resolve to one address family.
	Network Family
	// Payload is what a UDP knock carries: nothing, a byte, or a one-time token.
	Payload []byte
	// Resolver looks up names. Nil means net.DefaultResolver.
	Resolver Resolver
	// Progress, if not nil, is called after each attempt to send knock i
	// (counted from 0) to addr. An address with an error gets no further knocks.
	Progress func(addr netip.Addr, i int, k port.Port, err error)
}

// Send sends the knocks in order to every address: the first knock to all of
// them, then the second to all of them, and so on, so that afterwards a
// connection may use any of them. Sockets are made by the calling goroutine; if
// that is locked to a thread of another network namespace, knocks leave from there.
//
// What the hosts answer is ignored. A knock that the operating system does not
// send (no route, a local firewall) is an error of its address; Send fails only
// if no address got all knocks, or if ctx ends before they are sent. The error
// then wraps the errors of all addresses, or ctx.Err.
func Send(ctx context.Context, addrs []netip.Addr, knocks []port.Port, opts Options) error {
	if err := check(addrs, knocks, opts); err != nil {
		return err
	}
	delay := opts.Delay
	if delay == 0 {
		delay = DefaultDelay
	}
	// The waits for TCP answers of one round fit into one delay.
	patience := min(max(delay/time.Duration(len(addrs)), minPatience), maxPatience)

	failed := make([]error, len(addrs))
	var failure error
	var last time.Time
	for i, k := range knocks {
		if i > 0 {
			pause(ctx, time.Until(last.Add(delay)))
		}
		for j, addr := range addrs {
			if failed[j] != nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("stopped before knock %d of %d: %w", i+1, len(knocks), err)
			}
			sent, err := one(ctx, k.Proto, netip.AddrPortFrom(addr, k.Number), opts.Payload, patience)
			if err == nil {
				last = sent
			} else {
				failed[j] = fmt.Errorf("knock %d of %d (%s) to %s: %w", i+1, len(knocks), k, addr, plain(err))
				failure = join(failure, failed[j])
			}
			if opts.Progress != nil {
				opts.Progress(addr, i, k, err)
			}
		}
	}
	for _, err := range failed {
		if err == nil {
			return nil
		}
	}
	return failure
}

func check(addrs []netip.Addr, knocks []port.Port, opts Options) error {
	if len(addrs) == 0 {
		return errors.New("no address to knock at")
	}
	if len(knocks) == 0 {
		return errors.New("no knocks to send")
	}
	for _, k := range knocks {
		if k.Proto != port.UDP && k.Proto != port.TCP || k.Number == 0 {
			return fmt.Errorf("%s is not a knock: it must be a TCP or UDP port from 1 to 65535", k)
		}
	}
	if len(opts.Payload) > maxPayload {
		return fmt.Errorf("the payload of a knock is at most %d bytes, not %d", maxPayload, len(opts.Payload))
	}
	return nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// plain takes from a net.OpError what the text of Send's error says already.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// join is errors.Join on one line.
func join(a, b error) error {
	if a == nil {
		return b
	}
	return fmt.Errorf("%w; %w", a, b)
}
