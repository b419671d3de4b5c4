// Package connect makes a TCP connection through a door: it knocks, connects,
// and knocks again if the connection does not come. It works on every system
// that Go knows.
//
// Three things decide how. A connection attempt that the door refuses is a wrong
// packet, which undoes the knocks before it; so are the retransmissions of its
// SYN. An attempt is therefore given up, which ends them, before the next knock
// is sent. A lost SYN, on the other hand, is mended by its retransmission after
// a second (RFC 6298, section 2), also at a door that opens for one connection:
// an attempt waits for that. And the knocks of two processes of one machine must
// not mix, since they have one source address: they take turns.
package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"tirl/internal/knock"
	"tirl/internal/port"
)

// Target is a service behind a door.
type Target struct {
	Addrs   []netip.Addr // of the host, the preferred ones first
	Port    uint16       // TCP
	Knocks  []port.Port  // of the door; none: OneTime gives what opens it
	Once    bool         // each connection needs a knock of its own
	OpenFor time.Duration
	Delay   time.Duration // between two knocks; 0: the usual one
	// OneTime, if not nil, begins to take values that work once. It is called when
	// this process has its turn.
	OneTime func(context.Context) (Values, error)
}

// Options of Dial.
type Options struct {
	// Turn is the file by which processes take turns, and share a knock. Empty:
	// they do not.
	Turn string
	// Progress, if not nil, is told of each step before it is taken.
	Progress func(Step)
	// Attempts, if not 0, bounds how often it knocks.
	Attempts int
}

// Step is what Dial is about to do.
type Step struct {
	Kind    Kind
	Attempt int   // from 1; 0 for a connection by an earlier knock
	Last    error // why the attempt before has failed, if there was one
}

// Kind is the kind of a step.
type Kind int

const (
	Waiting    Kind = iota // for another process that knocks at this door
	Knocking               // at all addresses
	Connecting             // to them
)

// ErrRefused says that the host answered, and that nothing can be reached there.
var ErrRefused = errors.New("connection refused")

// attempt is one way to knock and connect.
type attempt struct {
	factor   int           // times the usual delay between two knocks; 0: a burst
	patience time.Duration // for the connection
	payload  []byte        // of knocks: some networks lose empty datagrams
}

// nth gives the attempts: knocks that are further and further apart, against loss
// and reordering, and between them bursts, against somebody who forges wrong
// packets to reset them. A SYN is sent after 0, 1 and 3 s, or on some systems each
// second: an attempt ends half a second after one of those, or more, so that none
// is on its way when the next knocks are.
func nth(n int) attempt {
	slow := []attempt{
		{1, 1500 * time.Millisecond, nil},
		{3, 2500 * time.Millisecond, []byte{0}},
		{knock.Slowest, 2500 * time.Millisecond, nil},
		{knock.Slowest, 4500 * time.Millisecond, []byte{0}},
	}
	if n%2 == 1 {
		return attempt{0, 1500 * time.Millisecond, nil}
	}
	if n /= 2; n < len(slow) {
		return slow[n]
	}
	return slow[len(slow)-1-n%2]
}

// How often a host may refuse, and how long to wait after that: no retransmission
// takes the time that passes between two attempts otherwise.
const (
	maxRefusals  = 5
	refusalPause = 500 * time.Millisecond
)

// Dial knocks and connects until there is a connection, or ctx ends. The error is
// then that of the last attempt. It gives up earlier if no address can be reached
// from here, or if the host refuses again and again.
func Dial(ctx context.Context, t Target, opts Options) (net.Conn, error) {
	tell := func(kind Kind, n int, last error) {
		if opts.Progress != nil {
			opts.Progress(Step{kind, n, last})
		}
	}
	turn, err := takeTurn(ctx, opts.Turn, func() { tell(Waiting, 0, nil) })
	if err != nil {
		return nil, err
	}
	done := turn.end // when nothing is left to be sent
	defer func() { done() }()
	var last error
	if turn.isOpen(t, time.Now()) {
		tell(Connecting, 0, nil)
		conn, err := race(ctx, t.Addrs, t.Port, nth(0).patience)
		if err == nil {
			return conn, nil
		}
		last = err
	}
	values, err := t.values(ctx)
	if err != nil {
		return nil, err
	}
	done = func() { values.Close(); turn.end() }
	refusals := 0
	for n := 0; opts.Attempts == 0 || n < opts.Attempts; n++ {
		tell(Knocking, n+1, last)
		a := nth(n)
		how := t.options(a)
		if err := t.knock(ctx, values, n, how); err != nil {
			if ctx.Err() != nil {
				return nil, failure(ctx, n, last)
			}
			return nil, err
		}
		knocked := time.Now()
		pause(ctx, how.Delay) // the SYN must not overtake the last knock
		tell(Connecting, n+1, last)
		conn, err := race(ctx, t.Addrs, t.Port, a.patience)
		if err == nil {
			turn.opened(knocked)
			left, err := values.Opened()
			if err != nil {
				conn.Close()
				return nil, err
			}
			finish := done
			done = func() {}
			return t.sweep(ctx, conn, values, left, finish), nil
		}
		if ctx.Err() != nil {
			return nil, failure(ctx, n+1, last)
		}
		if last = err; errors.Is(err, ErrRefused) {
			if refusals++; refusals == maxRefusals {
				return nil, failure(ctx, n+1, last)
			}
			pause(ctx, refusalPause)
		}
	}
	return nil, failure(ctx, opts.Attempts, last)
}

// failure is the error of some attempts, of which the last ended like that.
func failure(ctx context.Context, attempts int, last error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case attempts == 0:
		return errors.New("the time was too short to knock once")
	case last == nil:
		last = errNoAnswer
	}
	if attempts == 1 {
		return fmt.Errorf("after 1 attempt: %w", last)
	}
	return fmt.Errorf("after %d attempts: %w", attempts, last)
}

// options are those of an attempt's knocks.
func (t Target) options(a attempt) knock.Options {
	usual := t.Delay
	if usual == 0 {
		usual = knock.DefaultDelay
	}
	opts := knock.Options{Delay: usual * time.Duration(a.factor), Payload: a.payload}
	switch {
	case a.factor > 0:
	case usual > knock.DefaultDelay:
		// Whoever asked for more had a reason, such as a host that hears few
		// packets a second.
		opts.Delay = usual
	default:
		opts.Delay = -1
	}
	return opts
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// errNoAnswer is what a closed door looks like.
var errNoAnswer = errors.New("no answer")

// plain turns the error of a dial into one that says what happened, and no more.
func plain(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), isRefused(err):
		return ErrRefused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.Canceled):
		return errNoAnswer
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// isRefused knows Winsock's number for it, which package syscall does not name.
func isRefused(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && errno == 10061
}
