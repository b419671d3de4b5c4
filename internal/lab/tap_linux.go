package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tirl/internal/port"
)

// Tap is somebody at one end of the cable who sees and sends whole frames. It waits
// for nothing that it is not told to wait for, so that a clock can be held to it; an
// [Injector] knows when the server is done. It is not safe for concurrent use.
type Tap struct {
	socket int
	buffer []byte
}

// NewTap opens a packet socket (packet(7)) on a device. It does not see what it
// sends itself.
func NewTap(n *Namespace, device string) (*Tap, error) {
	t := &Tap{socket: -1, buffer: make([]byte, 4096)}
	err := n.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		if t.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptInt(t.socket, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		everything := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network byte order
		return os.NewSyscallError("bind", unix.Bind(t.socket, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: link.Attrs().Index}))
	})
	if err != nil {
		if t.socket >= 0 {
			err = errors.Join(err, unix.Close(t.socket))
		}
		return nil, fmt.Errorf("tap the cable: %w", err)
	}
	return t, nil
}

// Close closes the socket.
func (t *Tap) Close() error { return os.NewSyscallError("close", unix.Close(t.socket)) }

// OnlySynAcks has the kernel throw away all but SYN-ACK over IPv4, before it takes
// room in the buffer.
func (t *Tap) OnlySynAcks() error {
	const (
		load8, load16 = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		equal, ret    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		both          = flagSYN | flagACK
	)
	program := []unix.SockFilter{
		{Code: load16, K: 12},
		{Code: equal, K: etherIPv4, Jf: 6},
		{Code: load8, K: etherHeader + 9},
		{Code: equal, K: uint32(port.TCP), Jf: 4},
		{Code: load8, K: etherHeader + ipv4Header + 13}, // an answer has no IP options
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: both},
		{Code: equal, K: both, Jf: 1},
		{Code: ret, K: 0xffff},
		{Code: ret, K: 0},
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(t.socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}

// Write puts a frame on the cable. That the server's queue was full is no error: see [Flood].
func (t *Tap) Write(frame []byte) error {
	_, err := unix.Write(t.socket, frame)
	if errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	return os.NewSyscallError("write", err)
}

// Next gives the next IP packet that comes, but for neighbour discovery; nil if none
// comes in time. It is overwritten by the one after it. It keeps the processor busy.
func (t *Tap) Next(within time.Duration) ([]byte, error) {
	for deadline := time.Now().Add(within); ; {
		n, _, err := unix.Recvfrom(t.socket, t.buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			if !time.Now().Before(deadline) {
				return nil, nil
			}
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if n > etherHeader+ipv4Header && !discovery(t.buffer[:n]) {
			return t.buffer[etherHeader:n], nil
		}
	}
}

// Answers gives what the server has answered since the last call.
func (t *Tap) Answers() ([]Answer, error) {
	var all []Answer
	for {
		n, _, err := unix.Recvfrom(t.socket, t.buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return all, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return all, os.NewSyscallError("recvfrom", err)
		}
		if a, ok := parseAnswer(t.buffer[:n]); ok {
			all = append(all, a)
		}
	}
}

// discovery says whether a frame is none of IP, or how neighbours and routers
// find each other (RFC 4861, RFC 3810).
func discovery(frame []byte) bool {
	switch be.Uint16(frame[12:]) {
	case etherIPv4:
		return false
	case etherIPv6:
		ip := frame[etherHeader:]
		return ip[6] == 0 || ip[6] == uint8(port.ICMPv6) && len(ip) > ipv6Header && ip[ipv6Header] >= 130
	}
	return true
}
