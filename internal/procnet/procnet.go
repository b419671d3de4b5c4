// Package procnet reads the kernel's tables of sockets: /proc/net/tcp, udp and
// their IPv6 twins (proc_pid_net(5)), and which process holds a socket. It
// reads whatever file system it is given and changes nothing.
package procnet

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

// State is that of a socket, as numbered in include/net/tcp_states.h. A UDP
// socket that is not connected is in Close.
type State uint8

// The states that TCP sockets are listed in.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
)

// Socket is one line of a table. An IPv4 address of a dual-stack socket is given
// as what it is; an unspecified one stands for every address.
type Socket struct {
	Proto         port.Proto
	Local, Remote netip.AddrPort
	State         State
	Inode         uint64 // 0: no process holds it (yet)
}

// Directories with the tables of a network namespace: that of the process, and
// that of the thread, which may have entered another (setns(2)).
const (
	OfProcess = "proc/net"
	OfThread  = "proc/thread-self/net"
)

// Read lists the sockets of a protocol, of both families, from a directory of a
// file system such as os.DirFS("/"). A missing file is a host without that
// family; that both are missing is an error. What can be read is returned along
// with the errors.
func Read(root fs.FS, dir string, proto port.Proto) ([]Socket, error) {
	var all []Socket
	var errs []error
	missing := 0
	for _, name := range [...]string{proto.String(), proto.String() + "6"} {
		text, err := fs.ReadFile(root, dir+"/"+name)
		if errors.Is(err, fs.ErrNotExist) {
			if missing++; missing == 1 {
				continue
			}
		}
		var found []Socket
		if err == nil {
			found, err = Parse(string(text), proto)
		}
		all = append(all, found...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return all, fmt.Errorf("read the %s sockets: %w", proto, err)
	}
	return all, nil
}

// Parse reads a table as tcp4_seq_show (net/ipv4/tcp_ipv4.c) and its kin write
// it: a header, then a line for each socket. It returns what comes before a line
// that it cannot read along with the error.
func Parse(table string, proto port.Proto) ([]Socket, error) {
	var all []Socket
	first := true
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if first || len(f) == 0 {
			first = false
			continue
		}
		s, err := parseLine(f, proto)
		if err != nil {
			return all, fmt.Errorf("%q is not a socket: %w", strings.TrimSpace(line), err)
		}
		all = append(all, s)
	}
	return all, nil
}

func parseLine(f []string, proto port.Proto) (Socket, error) {
	// sl local remote state queues timer retransmits uid timeout inode
	if len(f) < 10 {
		return Socket{}, fmt.Errorf("%d fields", len(f))
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	inode, err2 := strconv.ParseUint(f[9], 10, 64)
	local, err3 := parseEndpoint(f[1])
	remote, err4 := parseEndpoint(f[2])
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return Socket{}, err
	}
	return Socket{Proto: proto, Local: local, Remote: remote, State: State(state), Inode: inode}, nil
}

// parseEndpoint reads ADDRESS:PORT, where the address is one or four 32-bit
// words in the byte order of the machine.
func parseEndpoint(s string) (netip.AddrPort, error) {
	words, digits, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address with a port", s)
	}
	number, err := strconv.ParseUint(digits, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr, err := ParseAddr(words)
	return netip.AddrPortFrom(addr, uint16(number)), err
}

// ParseAddr reads an address as these tables write it: one or four 32-bit words
// in hexadecimal, each in the byte order of the machine.
func ParseAddr(words string) (netip.Addr, error) {
	b, err := hex.DecodeString(words)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, fmt.Errorf("%q is not an address", words)
	}
	for at := 0; at < len(b); at += 4 {
		binary.NativeEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:]))
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr.Unmap(), nil
}

// ParseLink reads the target of a link in /proc/PID/fd, socket:[INODE]
// (proc_pid_fd(5)); false if it is no socket.
func ParseLink(target string) (inode uint64, ok bool) {
	digits, isSocket := strings.CutPrefix(target, "socket:[")
	digits, closed := strings.CutSuffix(digits, "]")
	inode, err := strconv.ParseUint(digits, 10, 64)
	return inode, isSocket && closed && err == nil
}
