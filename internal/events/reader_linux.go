package events

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Reader gives events, one after the other.
type Reader interface {
	// Next waits for an event. It gives io.EOF when there will be none, and the
	// context's error when that is over.
	Next(ctx context.Context) (Event, error)
	Close() error
}

// await waits until a descriptor can be read.
func await(ctx context.Context, fd int) error {
	const step = 100 * time.Millisecond
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(step/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		}
	}
}
