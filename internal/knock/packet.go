package knock

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"tirl/internal/port"
)

// How long a TCP knock waits for an answer before it gives up its socket. The
// SYN is out by then. The first retransmission is due after 1 s (RFC 6298,
// section 2), and after a reset Windows tries again within 500 ms.
const (
	minPatience = 5 * time.Millisecond
	maxPatience = 50 * time.Millisecond
)

// one sends one knock from a socket of its own, so that an ICMP error that
// answers it cannot become the error of the next, and says when it was sent.
func one(ctx context.Context, proto port.Proto, to netip.AddrPort, payload []byte, patience time.Duration) (time.Time, error) {
	if proto == port.TCP {
		return syn(ctx, to, patience)
	}
	return datagram(to, payload)
}

func datagram(to netip.AddrPort, payload []byte) (time.Time, error) {
	// A connected socket, though not needed to send: to bind one instead makes
	// the firewall of Windows ask the user whether this program may be a server.
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return time.Time{}, err
	}
	defer c.Close()
	_, err = c.Write(payload)
	return time.Now(), err
}

func syn(ctx context.Context, to netip.AddrPort, patience time.Duration) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sent time.Time
	d := net.Dialer{
		// The clock starts only when connect(2) is next: a deadline that passes
		// earlier, on a busy machine, would leave the knock unsent unnoticed.
		Control: func(string, string, syscall.RawConn) error {
			sent = time.Now()
			time.AfterFunc(patience, cancel)
			return nil
		},
	}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", to.String())
	switch {
	case err == nil:
		// Somebody listens there. Reset the connection: nothing of it remains,
		// on either side.
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	case sent.IsZero():
		return sent, err
	case ctx.Err() == nil && !answered(err, to):
		return sent, err
	}
	return sent, nil
}

// answered says whether a failed TCP connect is the network's answer to a SYN,
// and not the refusal of this host to send one. The numbers are those of Winsock,
// which package syscall does not name; no other system uses them.
func answered(err error, to netip.AddrPort) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ETIMEDOUT, 10061, 10054, 10060:
		return true
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, 10065, 10051, 10064,
		syscall.EACCES, syscall.ENOPROTOOPT: // ICMP "administratively prohibited" of IPv6, and "protocol unreachable"
		return routed(to)
	}
	return false
}

// routed says whether this host has a route to an address. To connect a UDP
// socket takes a route and sends nothing. It tells an ICMP error from a remote
// firewall, which a TCP connect reports in the same words, from no route.
func routed(to netip.AddrPort) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return false
	}
	c.Close()
	return true
}
