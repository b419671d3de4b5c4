package host

import (
	"errors"
	"io/fs"
	"net/netip"

	"tirl/internal/port"
	"tirl/internal/procnet"
)

// socket is a socket that waits for anybody.
type socket struct {
	port  port.Port
	inode uint64 // 0: it belongs to the kernel
	addr  netip.Addr
}

// readSockets lists what listens. A missing file is a host without that family.
func readSockets(root fs.FS) ([]socket, error) {
	tcp, err := inState(root, port.TCP, procnet.Listen)
	// A UDP socket that is not connected is closed, in the kernel's words.
	udp, err2 := inState(root, port.UDP, procnet.Close)
	return append(tcp, udp...), errors.Join(err, err2)
}

// inState lists the sockets of a protocol that are in a state. What can be read
// is returned along with the error.
func inState(root fs.FS, proto port.Proto, state procnet.State) ([]socket, error) {
	found, err := procnet.Read(root, procnet.OfProcess, proto)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	var all []socket
	for _, s := range found {
		if s.State == state && s.Local.Port() != 0 {
			all = append(all, socket{port.Port{Proto: proto, Number: s.Local.Port()}, s.Inode, s.Local.Addr()})
		}
	}
	return all, err
}
