package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tirl/internal/port"
)

// Fate is what becomes of a packet on its way.
type Fate struct {
	Lost  bool
	Delay time.Duration // packets with different delays can arrive in another order
}

// Devices of a relay, named by what they lead to.
const (
	relayServer = "toserver"
	relayClient = "toclient"
)

// relay passes frames between two devices of a namespace of its own, each with
// the fate that the path gives it. The kernel forwards nothing there.
type relay struct {
	namespace *Namespace
	path      func(ip []byte) Fate
	sockets   []*os.File
}

func newRelay(path func([]byte) Fate) (*relay, error) {
	n, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	r := &relay{namespace: n, path: path}
	// It says nothing by itself.
	if err := n.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) }); err != nil {
		return nil, errors.Join(fmt.Errorf("set a kernel parameter: %w", err), n.Close())
	}
	return r, nil
}

// Close stops the relay and gives its namespace up.
func (r *relay) Close() error {
	var err error
	for _, s := range r.sockets {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, r.namespace.Close())
}

func (r *relay) run() error {
	err := r.namespace.Do(func() error {
		if err := raise(relayServer, relayClient); err != nil {
			return err
		}
		for _, device := range []string{relayServer, relayClient} {
			s, err := openDevice(device)
			if err != nil {
				return fmt.Errorf("open %s: %w", device, err)
			}
			r.sockets = append(r.sockets, s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	go r.pass(r.sockets[0], r.sockets[1])
	go r.pass(r.sockets[1], r.sockets[0])
	return nil
}

// openDevice gives all frames that a device receives and sends what is written,
// each behind a header that carries its offloads along (packet(7), PACKET_VNET_HDR):
// a TCP packet here can be longer than the MTU, and its checksum not made yet.
func openDevice(name string) (*os.File, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index}))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// pass relays one direction until the sockets are closed. What cannot be written
// is lost, as on any path.
func (r *relay) pass(from, to *os.File) {
	buf := make([]byte, 1<<17)
	for {
		n, err := from.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			// ENETDOWN: the device is not up yet, or not any more.
			time.Sleep(time.Millisecond)
			continue
		}
		var fate Fate
		if ip := transported(buf[:n]); ip != nil {
			fate = r.path(ip)
		}
		switch {
		case fate.Lost:
		case fate.Delay <= 0:
			to.Write(buf[:n])
		default:
			frame := slices.Clone(buf[:n])
			time.AfterFunc(fate.Delay, func() { to.Write(frame) })
		}
	}
}

// transported gives what is in a frame if that is TCP or UDP: ARP and neighbour
// discovery are of the link, and no path spoils them.
func transported(b []byte) []byte {
	const offloads = 10 // struct virtio_net_hdr
	if len(b) < offloads+etherHeader {
		return nil
	}
	b = b[offloads:]
	if kind := be.Uint16(b[12:]); kind != etherIPv4 && kind != etherIPv6 {
		return nil
	}
	b = b[etherHeader:]
	if ip, ok := parseIP(b); !ok || ip.proto != port.TCP && ip.proto != port.UDP {
		return nil
	}
	return b
}
