package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

const kmsgPath = "/dev/kmsg"

// maxRecord is PRINTK_MESSAGE_MAX (kernel/printk/internal.h).
const maxRecord = 2048

// Since says where a reader of the kernel log begins.
type Since int

const (
	Oldest Since = iota // with the oldest record that the kernel has kept
	Now                 // with what comes next
)

// kernelLog reads /dev/kmsg.
type kernelLog struct {
	fd     int
	follow bool
	boot   time.Time
}

// KernelLog reads the kernel's own buffer of its log. Without follow it ends with
// what is in it.
func KernelLog(since Since, follow bool) (Reader, error) {
	fd, err := unix.Open(kmsgPath, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the kernel log %s: %w", kmsgPath, err)
	}
	k := &kernelLog{fd: fd, follow: follow}
	var up unix.Timespec
	// The records' clock stands still while the host is suspended, as this one does.
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &up); err != nil {
		return nil, errors.Join(fmt.Errorf("read the kernel's clock: %w", err), k.Close())
	}
	k.boot = time.Now().Add(-time.Duration(up.Nano()))
	if since == Now {
		if _, err := unix.Seek(fd, 0, io.SeekEnd); err != nil {
			return nil, errors.Join(fmt.Errorf("go to the end of the kernel log: %w", err), k.Close())
		}
	}
	return k, nil
}

// Next implements Reader.
func (k *kernelLog) Next(ctx context.Context) (Event, error) {
	buf := make([]byte, 4*maxRecord) // control characters are written as \xNN
	for {
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		n, err := unix.Read(k.fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			// EPIPE: records were overwritten before they were read.
		case errors.Is(err, unix.EAGAIN) && !k.follow:
			return Event{}, io.EOF
		case errors.Is(err, unix.EAGAIN):
			if err := await(ctx, k.fd); err != nil {
				return Event{}, err
			}
		case err != nil:
			return Event{}, fmt.Errorf("read the kernel log: %w", err)
		default:
			if e, ok := parseRecord(string(buf[:n]), k.boot); ok {
				return e, nil
			}
		}
	}
}

// Close implements Reader.
func (k *kernelLog) Close() error { return unix.Close(k.fd) }
