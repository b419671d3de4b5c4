package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/port"
)

// Listen records in w which of its knocks arrive, and calls told with each, until
// ctx ends, which is no error. It reads copies of packets before any rule of this
// host sees them, packet(7), and needs CAP_NET_RAW. Packets that go out,
// or come in by lo, or are not for this host, are left out; so are knocks behind IPv6
// extension headers.
//
// Ready, if it is not nil, is called when nothing can be missed any more.
func Listen(ctx context.Context, w *Watch, told func(Arrival), ready func()) error {
	fd, err := listenSocket(w.knocks)
	if err != nil {
		return fmt.Errorf("listen to packets: %w", err)
	}
	defer unix.Close(fd)
	if ready != nil {
		ready()
	}
	buffer := make([]byte, 128)
	var seen echoes
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return fmt.Errorf("listen to packets: %w", err)
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype != unix.PACKET_HOST || link.Hatype == unix.ARPHRD_LOOPBACK {
			continue
		}
		src, to, ok := decode(buffer[:n])
		now := time.Now()
		if !ok || seen.again(now, link.Ifindex, buffer[:n]) {
			continue
		}
		if a, ok := w.Note(now, src, to); ok {
			told(a)
		}
	}
	return nil
}

// listenSocket opens a packet socket that gives nothing but packets to the knocks'
// ports: the filter is there before it is bound to a protocol.
func listenSocket(knocks []port.Port) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	program := filter(knocks)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
	runtime.KeepAlive(program)
	if err != nil {
		return -1, err
	}
	// A read ends now and then, to look whether to go on.
	wait := unix.Timeval{Usec: 100000}
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return -1, err
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all})
}

// filter is a classic BPF program (Documentation/networking/filter.rst) for
// packets that begin with the IP header. The accumulator becomes protocol<<16 | port.
func filter(knocks []port.Port) []unix.SockFilter {
	const (
		load8, load16  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		equal, anyBits = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		shiftLeft      = unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K
		shiftRight     = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
		ret            = unix.BPF_RET | unix.BPF_K
	)
	p := []unix.SockFilter{
		{Code: load8, K: 0},
		{Code: shiftRight, K: 4},
		{Code: equal, K: 4, Jt: 2},
		{Code: equal, K: 6}, // to IPv6, which is behind all of this
		{Code: ret, K: 0},
		// IPv4: the first fragment only; the header has a length.
		{Code: load16, K: 6},
		{Code: anyBits, K: 0x1fff}, // a later fragment has no port
		{Code: load8, K: 9},
		{Code: shiftLeft, K: 16},
		{Code: unix.BPF_ST, K: 0},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	}
	// Both families end alike, but for where the port is.
	tail := func(port16 unix.SockFilter) []unix.SockFilter {
		t := []unix.SockFilter{port16,
			{Code: unix.BPF_LDX | unix.BPF_MEM, K: 0},
			{Code: unix.BPF_ALU | unix.BPF_OR | unix.BPF_X}}
		for i, k := range knocks {
			t = append(t, unix.SockFilter{Code: equal, K: uint32(k.Proto)<<16 | uint32(k.Number), Jt: uint8(len(knocks) - i)})
		}
		return append(t, unix.SockFilter{Code: ret, K: 0}, unix.SockFilter{Code: ret, K: 0xffff})
	}
	v4 := tail(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2})
	p = append(p, v4...)
	p[3].Jt, p[6].Jt = uint8(len(p)-4), uint8(len(p)-9)
	p = append(p,
		unix.SockFilter{Code: load8, K: 6},
		unix.SockFilter{Code: shiftLeft, K: 16},
		unix.SockFilter{Code: unix.BPF_ST, K: 0})
	return append(p, tail(unix.SockFilter{Code: load16, K: 42})...)
}

// decode reads who knocks where: a UDP datagram or a TCP SYN.
func decode(b []byte) (src netip.Addr, to port.Port, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && len(b) >= int(b[0]&15)*4:
		src = netip.AddrFrom4([4]byte(b[12:]))
		to.Proto = port.Proto(b[9])
		b = b[int(b[0]&15)*4:]
	case len(b) >= 40 && b[0]>>4 == 6:
		src = netip.AddrFrom16([16]byte(b[8:]))
		to.Proto = port.Proto(b[6])
		b = b[40:]
	default:
		return src, to, false
	}
	if len(b) < 4 {
		return src, to, false
	}
	to.Number = binary.BigEndian.Uint16(b[2:])
	const syn, others = 0x02, 0x01 | 0x04 | 0x10 // FIN, RST, ACK
	isSYN := to.Proto == port.TCP && len(b) >= 14 && b[13]&syn != 0 && b[13]&others == 0
	return src, to, isSYN || to.Proto == port.UDP
}

// echoes knows a packet that has passed another interface of this host before: a
// bridge and its port, a VLAN and its card.
type echoes struct {
	packet string
	device int
	at     time.Time
}

func (e *echoes) again(now time.Time, device int, b []byte) bool {
	if e.packet == string(b) && e.device != device && now.Sub(e.at) < 100*time.Millisecond {
		return true
	}
	e.packet, e.device, e.at = string(b), device, now
	return false
}
