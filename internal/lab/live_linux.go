package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Live has a server's kernel receive a stream of packets as fast as it can, and
// says what that costs: a million packets a second and more.
//
// BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES (Documentation/bpf/bpf_prog_run.rst)
// runs an XDP program on frames that are said to have come in by the server's device. The
// program writes the next packet of the stream into the frame and passes it, and the kernel
// goes on with it as a driver does: 64 frames at a time go through the whole receive path,
// rules and all, in the system call and so on the thread that made it
// (xdp_test_run_batch in net/bpf/test_run.c calls netif_receive_skb_list). So the CPU
// time of that thread is what the packets cost, however busy the machine is. Not in it is
// what the kernel does about them elsewhere, such as collecting garbage; what
// the server answers goes to the client's device and is in it.
//
// It is not safe for concurrent use; several on different CPUs are fine.
type Live struct {
	thread        *thread // in the server's namespace
	state, frames *ebpf.Map
	pass, drop    *ebpf.Program
	blank         []byte
	device        int
}

// Cost is what packets cost.
type Cost struct {
	Packets int
	CPU     time.Duration // of the thread that had them received
	Wall    time.Duration
}

// PerPacket is the CPU time of one packet in nanoseconds.
func (c Cost) PerPacket() float64 { return float64(c.CPU.Nanoseconds()) / float64(c.Packets) }

// One system call for this many packets: it cannot be interrupted in between.
const liveChunk = 1 << 18

// AnyCPU leaves it to the kernel where a stream is received.
const AnyCPU = -1

// NewLive prepares a stream that the server of a pair receives on a CPU, or on
// [AnyCPU]. It needs CAP_BPF and CAP_NET_ADMIN outside of all user namespaces.
func NewLive(p *Pair, s Stream, cpu int) (*Live, error) {
	l := &Live{}
	if err := l.prepare(p, s, cpu); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare a live stream: %w", err), l.Close())
	}
	return l, nil
}

func (l *Live) prepare(p *Pair, s Stream, cpu int) (err error) {
	frames, where, err := s.frames()
	if err != nil {
		return err
	}
	l.blank = make([]byte, where.length)
	if err := l.maps(frames, where); err != nil {
		return err
	}
	for _, v := range []struct {
		to      **ebpf.Program
		verdict int32
	}{{&l.pass, xdpPass}, {&l.drop, xdpDrop}} {
		if *v.to, err = xdp("lab_live", s.instructions(where, l.state, l.frames, v.verdict)); err != nil {
			return err
		}
	}
	if l.device, err = p.acceptsLive(); err != nil {
		return err
	}
	l.thread, err = newThread(func() error {
		// A signal would end the system call early (bpf_test_timer_continue in
		// net/bpf/test_run.c), and the runtime sends some to make goroutines yield.
		var all unix.Sigset_t
		for i := range all.Val {
			all.Val[i] = ^all.Val[i]
		}
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
			return fmt.Errorf("block signals: %w", err)
		}
		if cpu != AnyCPU {
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				return fmt.Errorf("settle on CPU %d: %w", cpu, err)
			}
		}
		return setns(p.Server.file)
	})
	return err
}

func (l *Live) maps(frames [][]byte, where layout) (err error) {
	l.state, err = ebpf.NewMap(&ebpf.MapSpec{Name: "lab_position", Type: ebpf.Array, KeySize: 4, ValueSize: 24, MaxEntries: 1})
	if err != nil {
		return err
	}
	l.frames, err = ebpf.NewMap(&ebpf.MapSpec{Name: "lab_frames", Type: ebpf.Array, KeySize: 4,
		ValueSize: uint32(where.length), MaxEntries: uint32(len(frames))})
	if err != nil {
		return err
	}
	for i, frame := range frames {
		if err := l.frames.Put(uint32(i), frame); err != nil {
			return err
		}
	}
	return nil
}

func xdp(name string, instructions asm.Instructions) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, Instructions: instructions, License: "Apache-2.0"})
}

// acceptsLive gives the server's device, and sees to it that frames can be said to
// have come in by it: a veth has receive queues for XDP only while a program is
// attached (xdp_convert_md_to_buff in net/bpf/test_run.c, veth_enable_xdp in
// drivers/net/veth.c). The program lets real packets pass.
func (p *Pair) acceptsLive() (device int, err error) {
	err = p.Server.Do(func() error {
		link, err := netlink.LinkByName(ServerDevice)
		if err != nil {
			return err
		}
		device = link.Attrs().Index
		if link.Attrs().Xdp != nil && link.Attrs().Xdp.Attached {
			return nil
		}
		pass, err := xdp("lab_pass", asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()})
		if err != nil {
			return err
		}
		defer pass.Close() // the device keeps it
		return netlink.LinkSetXdpFdWithFlags(link, pass.FD(), unix.XDP_FLAGS_DRV_MODE)
	})
	if err != nil {
		return 0, fmt.Errorf("attach XDP to %s: %w", ServerDevice, err)
	}
	return device, nil
}

// Close gives up what the kernel holds for it.
func (l *Live) Close() error {
	if l.thread != nil {
		l.thread.stop()
	}
	var errs []error
	for _, p := range []*ebpf.Program{l.pass, l.drop} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	for _, m := range []*ebpf.Map{l.state, l.frames} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// Run has the server receive the next n packets.
func (l *Live) Run(ctx context.Context, n int) (Cost, error) { return l.run(ctx, l.pass, n) }

// Drop has the program drop the next n packets, before anything else of the kernel
// sees them: what making them costs, and the least that receiving can cost.
func (l *Live) Drop(ctx context.Context, n int) (Cost, error) { return l.run(ctx, l.drop, n) }

// Rewind begins the stream anew.
func (l *Live) Rewind() error { return l.state.Put(uint32(0), position{}) }

func (l *Live) run(ctx context.Context, program *ebpf.Program, n int) (c Cost, err error) {
	before, err := l.sent()
	if err != nil {
		return c, err
	}
	err = l.thread.do(func() error {
		for left := n; left > 0; left -= min(left, liveChunk) {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			start, cpu := time.Now(), threadTime()
			_, err := program.Run(&ebpf.RunOptions{
				Data:    l.blank,
				Context: &xdpContext{DataEnd: uint32(len(l.blank)), Ingress: uint32(l.device)},
				Repeat:  uint32(min(left, liveChunk)),
				Flags:   unix.BPF_F_TEST_XDP_LIVE_FRAMES,
			})
			c.CPU += threadTime() - cpu
			c.Wall += time.Since(start)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("receive a live stream: %w", err)
	}
	after, err := l.sent()
	c.Packets = int(after - before)
	if err == nil && c.Packets != n {
		err = fmt.Errorf("receive a live stream: %d packets instead of %d", c.Packets, n)
	}
	return c, err
}

func (l *Live) sent() (uint64, error) {
	var p position
	if err := l.state.Lookup(uint32(0), &p); err != nil {
		return 0, fmt.Errorf("look where a live stream is: %w", err)
	}
	return p.Sent, nil
}

// xdpContext is struct xdp_md.
type xdpContext struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }

// threadTime is the CPU time of the calling thread.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0 // clock_gettime(2): not for this clock
	}
	return time.Duration(t.Nano())
}
