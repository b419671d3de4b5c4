package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// Packets between two fences. Fewer than net.core.netdev_max_backlog, and their
	// answers fit into a socket buffer of the default size.
	batch = 64
	// Asked for; without privileges the kernel gives less.
	receiveBuffer = 32 << 20
	// How long the server's kernel may take for what it does at once.
	fenceTimeout = 10 * time.Second
	maxFrame     = 64 << 10
)

// Injector puts packets of any kind on the client's end of the cable, and collects what
// the server answers. It is safe for concurrent use, but answers go to
// whoever asks first.
//
// Inject from addresses that the client does not own, such as [Forged4]:
// the client's kernel resets connections that it knows nothing of.
type Injector struct {
	socket int
	thread *thread
	home   unix.CPUSet // the one CPU from which it sends
	all    []int       // the CPUs from which the client's programs send

	mu      sync.Mutex
	token   uint32
	answers []Answer
	lost    uint32
	buffer  []byte
}

// NewInjector opens a packet socket (packet(7)) on the client's device.
func NewInjector(p *Pair) (*Injector, error) {
	i := &Injector{token: rand.Uint32(), buffer: make([]byte, maxFrame)}
	if err := p.Client.Do(i.open); err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	var err error
	if i.thread, err = newThread(i.settleOnCPU); err != nil {
		return nil, errors.Join(fmt.Errorf("choose a CPU: %w", err), unix.Close(i.socket))
	}
	return i, nil
}

// Close closes the socket.
func (i *Injector) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.socket < 0 {
		return os.ErrClosed
	}
	i.thread.stop()
	err := unix.Close(i.socket)
	i.socket = -1
	return err
}

func (i *Injector) open() (err error) {
	link, err := netlink.LinkByName(ClientDevice)
	if err != nil {
		return err
	}
	// No protocol, so nothing arrives, before it is bound to the device.
	i.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if unix.SetsockoptInt(i.socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		err = unix.SetsockoptInt(i.socket, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if err == nil {
		err = unix.SetsockoptInt(i.socket, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err == nil {
		// The protocol is in network byte order.
		everything := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		err = unix.Bind(i.socket, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: link.Attrs().Index})
	}
	if err != nil {
		return errors.Join(err, unix.Close(i.socket))
	}
	return nil
}

// settleOnCPU runs on the thread. Packets sent from one CPU go through the
// queue of that CPU (netif_rx in net/core/dev.c), and so stay in order.
func (i *Injector) settleOnCPU() error {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			i.all = append(i.all, cpu)
		}
	}
	i.home.Set(i.all[rand.IntN(len(i.all))])
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &i.home))
}

// Send puts packets on the wire, in order. When it returns, the server's kernel has
// finished with each of them: rules have seen it, sockets have it, and what the
// kernel answers by itself, such as a reset, is there for [Injector.Answers].
func (i *Injector) Send(ctx context.Context, packets ...Packet) error {
	frames := make([][]byte, len(packets))
	for n, p := range packets {
		var err error
		if frames[n], err = p.Frame(); err != nil {
			return err
		}
	}
	return i.SendFrames(ctx, frames...)
}

// SendFrames is [Injector.Send] for frames that the caller has made.
func (i *Injector) SendFrames(ctx context.Context, frames ...[]byte) error {
	return i.SendBy(ctx, Cable{}, frames...)
}

// SendBy is [Injector.SendFrames] by another cable between client and server.
func (i *Injector) SendBy(ctx context.Context, by Cable, frames ...[]byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for chunk := range slices.Chunk(frames, batch) {
		err := i.thread.do(func() error {
			for _, frame := range chunk {
				if err := i.write(frame, by); err != nil {
					return err
				}
			}
			return i.fence(ctx)
		})
		if err != nil {
			return fmt.Errorf("inject: %w", err)
		}
	}
	return nil
}

// Settle waits until the server's kernel has finished with every packet that the
// client sent before, whichever program sent it.
func (i *Injector) Settle(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	err := i.thread.do(func() (err error) {
		defer func() {
			back := unix.SchedSetaffinity(0, &i.home)
			err = errors.Join(err, os.NewSyscallError("sched_setaffinity", back))
		}()
		for _, cpu := range i.all {
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return os.NewSyscallError("sched_setaffinity", err)
			}
			if err := i.fence(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// Answers gives what came out of the client's end of the cable since the last
// call, answers to the client's own programs among it. Like [Injector.Settle] it
// waits for what the server's kernel is about to answer. It is an error if some
// were lost because nobody asked for too long.
func (i *Injector) Answers(ctx context.Context) ([]Answer, error) {
	if err := i.Settle(ctx); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	answers, lost := i.answers, i.lost
	i.answers, i.lost = nil, 0
	if lost > 0 {
		return answers, fmt.Errorf("the socket buffer was full: %d packets were lost", lost)
	}
	return answers, nil
}

// AwaitAnswer waits for an answer that a program of the server gives. It takes
// the first that fits and leaves the others for [Injector.Answers].
func (i *Injector) AwaitAnswer(ctx context.Context, fits func(Answer) bool) (Answer, error) {
	for {
		if err := i.Settle(ctx); err != nil {
			return Answer{}, err
		}
		if a, ok := i.take(fits); ok {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("wait for an answer: %w", context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
}

func (i *Injector) take(fits func(Answer) bool) (Answer, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := slices.IndexFunc(i.answers, fits)
	if n < 0 {
		return Answer{}, false
	}
	a := i.answers[n]
	i.answers = slices.Delete(i.answers, n, n+1)
	return a, true
}

func (i *Injector) write(frame []byte, by Cable) error {
	if by.client == 0 {
		_, err := unix.Write(i.socket, frame)
		return os.NewSyscallError("write", err)
	}
	return os.NewSyscallError("sendto", unix.Sendto(i.socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: by.client}))
}
