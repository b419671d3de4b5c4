package host

import (
	"io/fs"
	"net/netip"

	"tirl/internal/port"
	"tirl/internal/procnet"
)

// Listening is a socket that waits for anybody.
type Listening struct {
	Service port.Port
	Addr    netip.Addr // unspecified: every address of the family, and of IPv4 too if :: is not only for IPv6
	Program string     // empty if it is not known
}

// Loopback says whether only the host itself can reach it.
func (l Listening) Loopback() bool { return local(l.Addr) }

// Sockets lists all that listens, on the loopback device too, in the order of
// the kernel's tables. What can be read is returned along with the errors.
func Sockets(root fs.FS) ([]Listening, error) {
	sockets, err := readSockets(root)
	owners := readOwners(root, sockets)
	list := make([]Listening, len(sockets))
	for i, s := range sockets {
		list[i] = Listening{s.port, s.addr, owners[s.inode]}
	}
	return list, wrap("read the listening sockets", err)
}

// Connections counts the TCP connections that are open with other hosts.
func Connections(root fs.FS) (int, error) {
	open, err := inState(root, port.TCP, procnet.Established)
	n := 0
	for _, s := range open {
		if !local(s.addr) {
			n++
		}
	}
	return n, wrap("read the open connections", err)
}
