package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flood sends frames at a given rate from the client's end of the cable, to a server
// that takes all that comes from one queue, on one CPU, and loses what that does not keep
// up with, whoever sent it, as a network card does. [Live] has no such queue: it
// waits for the server.
type Flood struct {
	tap *Tap
	at  int // the number of the next frame
}

const (
	// Packets that come together: half of what the receive queue has room for
	// (VETH_RING_SIZE in drivers/net/veth.c).
	floodBunch = 128
	floodTick  = 100 * time.Microsecond
)

// NewFlood gives the server its queue, for good, and opens a packet socket on the
// client's device. It needs CAP_BPF and CAP_NET_ADMIN outside of all user namespaces.
func NewFlood(ctx context.Context, p *Pair) (*Flood, error) {
	if err := p.oneQueue(ctx); err != nil {
		return nil, fmt.Errorf("prepare a flood: %w", err)
	}
	t, err := NewTap(p.Client, ClientDevice)
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(t.socket, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	if err == nil {
		err = unix.SetsockoptInt(t.socket, unix.SOL_SOCKET, unix.SO_RCVBUF, 0) // it does not listen
	}
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), t.Close())
	}
	return &Flood{tap: t}, nil
}

// oneQueue has a thread of the kernel receive what comes to the server. With a program for XDP a
// veth has a queue of its own, a ring (veth_xdp_rx in drivers/net/veth.c), and a
// threaded NAPI leaves the sender's CPU alone (Documentation/networking/napi.rst). Sysfs
// shows the devices of the namespace in which it was mounted.
func (p *Pair) oneQueue(ctx context.Context) error {
	if _, err := p.acceptsLive(); err != nil {
		return err
	}
	_, err := p.Server.Run(ctx, "", "unshare", "--mount", "sh", "-c", "mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/"+ServerDevice+"/threaded")
	if err != nil {
		return fmt.Errorf("have a thread receive what comes by %s: %w", ServerDevice, err)
	}
	return nil
}

// Close closes the socket.
func (f *Flood) Close() error { return f.tap.Close() }

// Sent is what a flood has sent. Some of it the server may have lost.
type Sent struct {
	Packets int
	Took    time.Duration
}

// Rate is how many packets there were a second.
func (s Sent) Rate() float64 { return float64(s.Packets) / s.Took.Seconds() }

// Send sends frames, which it asks for by their number: so many a second, or, with
// rate 0, as fast as it can. It ends when the context is done, which is no error, and when it has
// sent most, unless that is 0. What it could not send in time it leaves out.
func (f *Flood) Send(ctx context.Context, frame func(n int) []byte, rate, most int) (s Sent, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := time.Now()
	skipped := 0
	for ctx.Err() == nil && (most == 0 || s.Packets < most) {
		n := floodBunch
		if rate > 0 {
			due := int(time.Since(begin).Seconds()*float64(rate)) - s.Packets - skipped
			n = min(floodBunch, due)
			skipped += due - n
		}
		for range n {
			if err := f.tap.Write(frame(f.at)); err != nil {
				return s, fmt.Errorf("flood: %w", err)
			}
			f.at++
		}
		s.Packets += n
		if rate > 0 && n < floodBunch {
			tick := unix.NsecToTimespec(floodTick.Nanoseconds())
			if err := unix.Nanosleep(&tick, nil); err != nil && !errors.Is(err, unix.EINTR) {
				return s, os.NewSyscallError("nanosleep", err)
			}
		}
	}
	s.Took = time.Since(begin)
	return s, nil
}

// Received says how many packets the server has taken from its receive queue since
// it has one.
func (p *Pair) Received() (n uint64, err error) {
	err = p.Server.Do(func() error {
		link, err := netlink.LinkByName(ServerDevice)
		if err == nil {
			n = link.Attrs().Statistics.RxPackets
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count what %s has received: %w", ServerDevice, err)
	}
	return n, nil
}
