// Package host reads what a policy's audit wants to know of this Linux host:
// the ports that its own connections use and the sockets that listen on it. It
// changes nothing, and what it may not read it leaves out.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/port"
)

// Facts are what is known of a host.
type Facts struct {
	// Ephemeral are the ports that the kernel gives to sockets that ask for none,
	// as in ip_local_port_range, Documentation/networking/ip-sysctl.rst.
	Ephemeral Ephemeral
	// Listeners are sorted by port. Each port and program is there once.
	Listeners []Listener
}

// Ephemeral is a range of port numbers, both ends included. The zero value is
// an unknown range.
type Ephemeral struct {
	First, Last uint16
}

// Listener is a port of this host that other hosts can reach, by the host's
// sockets alone: a firewall may be in the way.
type Listener struct {
	Port    port.Port
	Program string // as in /proc/PID/comm; empty if it is unknown
}

// Read gathers the facts from a file system that has /proc in it, as
// os.DirFS("/") does. What is there is returned along with the errors.
func Read(root fs.FS) (Facts, error) {
	var f Facts
	var errs []error
	ports, err := fs.ReadFile(root, "proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		f.Ephemeral, err = parseEphemeral(string(ports))
	}
	errs = append(errs, wrap("read the ephemeral ports", err))

	sockets, err := readSockets(root)
	errs = append(errs, wrap("read the listening sockets", err))
	owners := readOwners(root, sockets)
	for _, s := range sockets {
		f.Listeners = append(f.Listeners, Listener{s.port, owners[s.inode]})
	}
	slices.SortFunc(f.Listeners, func(a, b Listener) int {
		if c := a.Port.Compare(b.Port); c != 0 {
			return c
		}
		return strings.Compare(a.Program, b.Program)
	})
	f.Listeners = slices.Compact(f.Listeners)
	return f, errors.Join(errs...)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func parseEphemeral(s string) (Ephemeral, error) {
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return Ephemeral{}, fmt.Errorf("%q is not a range of ports", s)
	}
	var ends [2]uint16
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 16)
		if err != nil {
			return Ephemeral{}, fmt.Errorf("%q is not a range of ports: %w", s, err)
		}
		ends[i] = uint16(n)
	}
	if ends[0] > ends[1] {
		return Ephemeral{}, fmt.Errorf("%q is not a range of ports", s)
	}
	return Ephemeral{ends[0], ends[1]}, nil
}

// local says whether only this host itself can reach an address.
func local(a netip.Addr) bool { return a.Unmap().IsLoopback() }
