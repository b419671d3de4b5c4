package host

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"tirl/internal/port"
)

// States of a socket in /proc/net/tcp and udp, include/net/tcp_states.h. A UDP
// socket that is not connected is TCP_CLOSE.
const (
	tcpClose  = "07"
	tcpListen = "0A"
)

// socket is a socket that waits for anybody.
type socket struct {
	port  port.Port
	inode uint64 // 0: it belongs to the kernel
	addr  netip.Addr
}

// readSockets lists what listens. A missing file is a host without that family.
func readSockets(root fs.FS) ([]socket, error) {
	var all []socket
	var errs []error
	for _, f := range []struct {
		name  string
		proto port.Proto
		state string
	}{
		{"tcp", port.TCP, tcpListen}, {"tcp6", port.TCP, tcpListen},
		{"udp", port.UDP, tcpClose}, {"udp6", port.UDP, tcpClose},
	} {
		text, err := fs.ReadFile(root, "proc/net/"+f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			var found []socket
			found, err = parseSockets(string(text), f.proto, f.state)
			all = append(all, found...)
		}
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// parseSockets reads a table of the kernel's tcp4_seq_show (net/ipv4/tcp_ipv4.c)
// and its kin: a header, then a line a socket.
func parseSockets(table string, proto port.Proto, state string) ([]socket, error) {
	var all []socket
	first := true
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if first || len(f) == 0 {
			first = false
			continue
		}
		// sl local remote state queues timer retransmits uid timeout inode
		if len(f) < 10 {
			return all, fmt.Errorf("%q is not a socket", strings.TrimSpace(line))
		}
		if f[3] != state {
			continue
		}
		addr, number, err := parseEndpoint(f[1])
		if err != nil {
			return all, err
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return all, fmt.Errorf("%q is not an inode: %w", f[9], err)
		}
		if number != 0 {
			all = append(all, socket{port.Port{Proto: proto, Number: number}, inode, addr})
		}
	}
	return all, nil
}

// parseEndpoint reads ADDRESS:PORT, where the address is one or four 32-bit words
// in the byte order of the machine.
func parseEndpoint(s string) (netip.Addr, uint16, error) {
	words, digits, ok := strings.Cut(s, ":")
	if !ok {
		return netip.Addr{}, 0, fmt.Errorf("%q is not an address with a port", s)
	}
	number, err := strconv.ParseUint(digits, 16, 16)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("%q is not an address with a port: %w", s, err)
	}
	b, err := hex.DecodeString(words)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, 0, fmt.Errorf("%q is not an address with a port", s)
	}
	for ; len(words) > 0; words = words[8:] {
		at := len(b) - len(words)/2
		binary.NativeEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:]))
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr, uint16(number), nil
}
