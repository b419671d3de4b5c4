package lab

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fence returns when the server's kernel has finished with all that was sent from
// this CPU before, and its answers have been read.
//
// A frame that is sent on a veth is queued on the sending CPU, and each is processed
// to its end, answers included, before the next one of the queue is. So the fence is
// one more frame, and its answer comes after all others. It is an ARP probe, since
// rules for IP do not see it: the server answers without learning from it
// (arp_process in net/ipv4/arp.c), to a link-layer address that tells which probe it was.
func (i *Injector) fence(ctx context.Context) error {
	// Room for the answer, whatever was received since the last fence.
	if _, err := i.read(ctx, MAC{}, time.Time{}); err != nil {
		return err
	}
	i.token++
	token := MAC{0x02, 0xfe}
	be.PutUint32(token[2:], i.token)
	if err := i.write(arpProbe(token), Cable{}); err != nil {
		return err
	}
	found, err := i.read(ctx, token, time.Now().Add(fenceTimeout))
	if err == nil && !found {
		err = errors.Join(context.Cause(ctx), errors.New("the server does not answer ARP"))
	}
	return errors.Join(err, i.countLost())
}

// read collects answers until it finds the one to the probe with the token, or, past the
// deadline or when the context is done, until there are no more.
func (i *Injector) read(ctx context.Context, token MAC, deadline time.Time) (bool, error) {
	for {
		n, _, err := unix.Recvfrom(i.socket, i.buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if ctx.Err() != nil || time.Now().After(deadline) {
				return false, nil
			}
			if err := wait(i.socket); err != nil {
				return false, err
			}
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, os.NewSyscallError("recvfrom", err)
		}
		frame := i.buffer[:n]
		if isProbeAnswer(frame) {
			if MAC(frame[:6]) == token {
				return true, nil
			}
			continue
		}
		if a, ok := parseAnswer(frame); ok {
			i.answers = append(i.answers, a)
		}
	}
}

// wait waits for a frame, for as long as a cancelled context may go unnoticed.
func wait(socket int) error {
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: unix.POLLIN}}, 20)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return os.NewSyscallError("poll", err)
}

func (i *Injector) countLost() error {
	// Reading sets the counters to zero.
	stats, err := unix.GetsockoptTpacketStats(i.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	i.lost += stats.Drops
	return nil
}

// arpProbe asks who has the server's address, from nobody (RFC 5227, section 1.1).
func arpProbe(from MAC) []byte {
	to := ServerMAC()
	frame := append(to[:], from[:]...)
	frame = be.AppendUint16(frame, etherARP)
	frame = append(frame, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
	frame = append(frame, from[:]...)
	frame = append(frame, 0, 0, 0, 0)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	return append(frame, Server4().AsSlice()...)
}

func isProbeAnswer(frame []byte) bool {
	return len(frame) >= etherHeader && be.Uint16(frame[12:]) == etherARP && frame[0] == 0x02 && frame[1] == 0xfe
}
