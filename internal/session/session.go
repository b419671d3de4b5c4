// Package session finds the network session by which whoever runs this process
// came to the host, and lists the sessions of others. It reads /proc and
// changes nothing.
//
// sudo(8) and its kin drop SSH_CONNECTION, so what counts is which socket an
// ancestor of the process holds. What cannot be found: a session whose server
// is no ancestor, such as Cockpit's (its bridge is started by another
// process), a job of cron(8) or at(1), a process that has left its parent and
// its environment, and what lies behind a proxy or tunnel that ends on this
// host: there the session comes from the loopback device.
package session

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"syscall"

	"tirl/internal/port"
	"tirl/internal/procnet"
)

// Conn is a connection of another host, or of this one, to a listening port of
// this host.
type Conn struct {
	Proto  port.Proto
	Local  netip.AddrPort
	Remote netip.AddrPort // the zero value if it is not known; port 0 if only the address is
	// Opening says that its SYN was let in but the handshake is not over.
	Opening bool
}

func (c Conn) String() string {
	to := port.Port{Proto: c.Proto, Number: c.Local.Port()}
	switch {
	case !c.Remote.IsValid():
		return fmt.Sprintf("%s of %s", to, c.Local.Addr())
	case c.Remote.Port() == 0:
		return fmt.Sprintf("%s to %s of %s", c.Remote.Addr(), to, c.Local.Addr())
	}
	return fmt.Sprintf("%s to %s of %s", c.Remote, to, c.Local.Addr())
}

// Service is the port that it came to.
func (c Conn) Service() port.Port { return port.Port{Proto: c.Proto, Number: c.Local.Port()} }

// same says whether two are one connection, at whatever time they were seen.
func (c Conn) same(d Conn) bool {
	return c.Proto == d.Proto && c.Local == d.Local && c.Remote == d.Remote
}

// How says what a Session was known by.
type How string

const (
	// ByAncestry: an ancestor holds its socket.
	ByAncestry How = "ancestry"
	// ByTerminal: it is attached to the tmux or screen that the process runs in.
	ByTerminal How = "terminal"
	// ByMosh: an ancestor is a mosh-server. The remote address, if there is one, is
	// that of the SSH session which started it: mosh's clients roam, and the
	// kernel's table does not tell where to.
	ByMosh How = "mosh"
	// ByEnvironment: SSH_CONNECTION (ssh(1)) of the process or of an ancestor names
	// it, and there is such a connection.
	ByEnvironment How = "environment"
)

// Session is how somebody came in.
type Session struct {
	Conn
	// Others are connections that it may be as well, since the same process serves
	// them, or the same tmux.
	Others  []Conn
	Process string // the program that serves it; empty if it is not known
	How     How
}

// Conns lists all connections that the session may be.
func (s *Session) Conns() []Conn { return append([]Conn{s.Conn}, s.Others...) }

// Find gives the session of a process, from a file system that has /proc in it,
// as os.DirFS("/") does, and the process's environment. It is nil if there is
// none: at the console, from cron(8), or one that cannot be found. An error
// says that not all could be read and nothing was found in the rest; looking
// into the processes of others takes root.
func Find(root fs.FS, pid int, getenv func(string) string) (*Session, error) {
	f, err := newFinder(root)
	if err != nil {
		return nil, err
	}
	line := f.ancestors(pid)
	if s := f.inLine(line); s != nil {
		return s, nil
	}
	if s := f.attached(line); s != nil {
		return s, nil
	}
	if s := f.inEnvironment(line, getenv); s != nil {
		return s, nil
	}
	return nil, errors.Join(f.errs...)
}

// List gives the TCP connections to listening ports of this host, those on the
// loopback device too, in the order of their addresses: to any of the services,
// or to all ports if there are none.
//
// Connections that the kernel hands on to another host or container, by DNAT,
// have no socket here and are not listed.
func List(root fs.FS, services ...port.Range) ([]Conn, error) {
	f, err := newFinder(root)
	if err != nil {
		return nil, err
	}
	var list []Conn
	for _, s := range f.tcp {
		c, ok := f.inbound(s)
		if ok && (len(services) == 0 || slices.ContainsFunc(services, func(r port.Range) bool { return r.Contains(c.Service()) })) {
			list = append(list, c)
		}
	}
	// A table that changes while it is read can hold a line twice.
	slices.SortFunc(list, compare)
	return slices.CompactFunc(list, Conn.same), nil
}

func compare(a, b Conn) int {
	return cmp.Or(a.Service().Compare(b.Service()), a.Remote.Compare(b.Remote), a.Local.Compare(b.Local), fromBool(a.Opening)-fromBool(b.Opening))
}

func fromBool(b bool) int {
	if b {
		return 1
	}
	return 0
}

// NewSince gives the connections of after that are not in before, both as List
// gave them. One that was opening before is not new: the rules in force when
// its SYN came let it in. So every SYN of a connection that it gives came
// after before was listed, and if that was after a ruleset was loaded, that
// ruleset let it in. A client that uses its port again may be missed.
func NewSince(before, after []Conn) []Conn {
	known := make(map[Conn]bool, len(before))
	for _, c := range before {
		c.Opening = false
		known[c] = true
	}
	var fresh []Conn
	for _, c := range after {
		if !c.Opening && !known[c] {
			fresh = append(fresh, c)
		}
	}
	return fresh
}

// finder is what Find has read.
type finder struct {
	root      fs.FS
	tcp       []procnet.Socket
	byInode   map[uint64]procnet.Socket
	listeners map[uint16][]netip.Addr
	errs      []error
}

func newFinder(root fs.FS) (*finder, error) {
	tcp, err := procnet.Read(root, procnet.OfProcess, port.TCP)
	if err != nil {
		return nil, err
	}
	f := &finder{
		root: root, tcp: tcp,
		byInode: make(map[uint64]procnet.Socket), listeners: make(map[uint16][]netip.Addr),
	}
	for _, s := range tcp {
		if s.Inode != 0 {
			f.byInode[s.Inode] = s
		}
		if s.State == procnet.Listen {
			f.listeners[s.Local.Port()] = append(f.listeners[s.Local.Port()], s.Local.Addr())
		}
	}
	return f, nil
}

// inbound says whether a socket is a connection to a listening port.
func (f *finder) inbound(s procnet.Socket) (Conn, bool) {
	if s.State != procnet.Established && s.State != procnet.SynRecv {
		return Conn{}, false
	}
	hears := func(a netip.Addr) bool { return a.IsUnspecified() || a == s.Local.Addr() }
	if !slices.ContainsFunc(f.listeners[s.Local.Port()], hears) {
		return Conn{}, false
	}
	return Conn{s.Proto, s.Local, s.Remote, s.State == procnet.SynRecv}, true
}

// fail notes what could not be read of a process. That one has ended is no loss.
// Nor is process 1: the kernel may keep even root from looking into it, in a
// container or by a security module, and it serves no sessions.
func (f *finder) fail(pid int, err error) {
	if err != nil && pid != 1 && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		f.errs = append(f.errs, fmt.Errorf("look into process %d: %w", pid, err))
	}
}
