package attack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
	"tirl/internal/port"
)

// tap is somebody at one end of the cable who sees and sends whole frames.
type tap struct {
	*site
	socket int
	buffer []byte
}

const (
	etherHeader = 14
	ipv4Header  = 20
	ipv6Header  = 40
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
)

func (s *site) tap(at *lab.Namespace, device string) *tap {
	s.Helper()
	t := &tap{site: s, buffer: make([]byte, 4096)}
	err := at.Do(func() error {
		device, err := net.InterfaceByName(device)
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
		return os.NewSyscallError("bind", unix.Bind(t.socket, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: device.Index}))
	})
	if err != nil {
		s.Fatal(fmt.Errorf("tap the cable: %w", err))
	}
	s.Cleanup(func() { unix.Close(t.socket) })
	return t
}

// write puts a frame on the cable.
func (t *tap) write(frame []byte) {
	if _, err := unix.Write(t.socket, frame); err != nil {
		t.Fatal(os.NewSyscallError("write", err))
	}
}

// next gives the next IP packet that comes, but for neighbour discovery; nil if none
// comes in time. It is overwritten by the one after it.
func (t *tap) next(within time.Duration) []byte {
	for deadline := time.Now().Add(within); ; {
		n, _, err := unix.Recvfrom(t.socket, t.buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			if time.Now().After(deadline) {
				return nil
			}
			continue
		case err != nil:
			t.Fatal(os.NewSyscallError("recvfrom", err))
		}
		if ip := t.buffer[etherHeader:n]; n > etherHeader+ipv4Header && !discovery(t.buffer[:n]) {
			return ip
		}
	}
}

// discovery says whether a frame is none of IP, or how neighbours and routers
// find each other (RFC 4861, RFC 3810).
func discovery(frame []byte) bool {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		return false
	case etherIPv6:
		ip := frame[etherHeader:]
		return ip[6] == 0 || ip[6] == uint8(port.ICMPv6) && len(ip) > ipv6Header && ip[ipv6Header] >= 130
	}
	return true
}

// datagrams gives the ports of the next UDP packets that come.
func (t *tap) datagrams(count int) []port.Port {
	t.Helper()
	var seen []port.Port
	for len(seen) < count {
		ip := t.next(5 * time.Second)
		if ip == nil {
			t.Fatalf("%d datagrams came, not %d", len(seen), count)
		}
		header, proto := ipv4Header, ip[9]
		if ip[0]>>4 == 6 {
			header, proto = ipv6Header, ip[6]
		}
		if proto == uint8(port.UDP) {
			seen = append(seen, udp(binary.BigEndian.Uint16(ip[header+2:])))
		}
	}
	return seen
}
