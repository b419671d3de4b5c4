// Package host reads what a policy's audit wants to know of this Linux host:
// the ports that its own connections use and the sockets that listen on it. It
// changes nothing, and what it may not read it leaves out.
package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// Read gathers the facts from a file system that has /proc in it, as
// os.DirFS("/") does. What can be read is returned along with the errors. The
// policy file's mode is left to the caller.
func Read(root fs.FS) (policy.Host, error) {
	var h policy.Host
	ports, err := fs.ReadFile(root, "proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		h.EphemeralFirst, h.EphemeralLast, err = parseEphemeral(string(ports))
	}
	if reserved, err2 := fs.ReadFile(root, "proc/sys/net/ipv4/ip_local_reserved_ports"); err == nil && err2 == nil {
		h.Reserved, err = parseReserved(string(reserved))
	}
	err = wrap("read the ephemeral ports", err)

	sockets, err2 := readSockets(root)
	sockets = slices.DeleteFunc(sockets, func(s socket) bool { return local(s.addr) || isClient(s, h) })
	owners := readOwners(root, sockets)
	for _, s := range sockets {
		h.Listeners = append(h.Listeners, policy.Listener{Service: s.port, Program: owners[s.inode]})
	}
	slices.SortFunc(h.Listeners, func(a, b policy.Listener) int {
		return cmp.Or(a.Service.Compare(b.Service), strings.Compare(a.Program, b.Program))
	})
	h.Listeners = slices.Compact(h.Listeners)
	return h, errors.Join(err, wrap("read the listening sockets", err2))
}

// isClient tells a UDP socket that waits for the answer to a question of its own,
// which looks like any server's but for its port. Sockets of the kernel, such as
// WireGuard's, ask for their port.
func isClient(s socket, h policy.Host) bool {
	return s.port.Proto == port.UDP && s.inode != 0 &&
		h.Ephemeral(s.port.Number)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// parseEphemeral reads ip_local_port_range, Documentation/networking/ip-sysctl.rst.
func parseEphemeral(s string) (first, last uint16, err error) {
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return 0, 0, fmt.Errorf("%q is not a range of ports", s)
	}
	low, err := strconv.ParseUint(fields[0], 10, 16)
	high, err2 := strconv.ParseUint(fields[1], 10, 16)
	if err = errors.Join(err, err2); err != nil {
		return 0, 0, fmt.Errorf("%q is not a range of ports: %w", s, err)
	}
	if low > high {
		return 0, 0, fmt.Errorf("%q is not a range of ports", s)
	}
	return uint16(low), uint16(high), nil
}

// parseReserved reads ip_local_reserved_ports, such as 8080,40000-40999, the same
// document.
func parseReserved(s string) ([]port.Span, error) {
	var all []port.Span
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '\n' }) {
		low, high, isRange := strings.Cut(word, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err = errors.Join(err, err2); err != nil {
			return all, fmt.Errorf("%q is no list of ports: %w", s, err)
		}
		all = append(all, port.Span{First: uint16(first), Last: uint16(last)})
	}
	return all, nil
}

// local says whether only this host itself can reach an address.
func local(a netip.Addr) bool { return a.Unmap().IsLoopback() }
