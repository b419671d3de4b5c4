package session

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"tirl/internal/port"
	"tirl/internal/procnet"
)

// sshConnection is set by sshd: client address and port, server address and
// port (ssh(1)).
const sshConnection = "SSH_CONNECTION"

// parseSSHConnection reads the value of SSH_CONNECTION. Zones of link-local
// addresses are left out, as the kernel's table of sockets does.
func parseSSHConnection(value string) (Conn, error) {
	f := strings.Fields(value)
	if len(f) != 4 {
		return Conn{}, fmt.Errorf("%q is not of the form CLIENT PORT SERVER PORT", value)
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(f[2*i])
		if err != nil {
			return Conn{}, err
		}
		number, err := strconv.ParseUint(f[2*i+1], 10, 16)
		if err != nil {
			return Conn{}, err
		}
		ends[i] = addrPort(addr, uint16(number))
	}
	return Conn{Proto: port.TCP, Local: ends[1], Remote: ends[0]}, nil
}

func addrPort(a netip.Addr, number uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Unmap().WithZone(""), number)
}

// inEnvironment looks for a session that the environment of the process, or of
// an ancestor, names. tmux keeps what it was started with, so that the
// connection may have ended: it must be there.
func (f *finder) inEnvironment(line []process, getenv func(string) string) *Session {
	values := []string{getenv(sshConnection)}
	for _, p := range line {
		values = append(values, f.environ(p.pid, sshConnection))
	}
	for _, v := range values {
		c, err := parseSSHConnection(v)
		if err == nil && f.open(c) {
			return &Session{Conn: c, How: ByEnvironment}
		}
	}
	return nil
}

// open says whether there is such a connection. Its server need not listen any more.
func (f *finder) open(c Conn) bool {
	for _, s := range f.tcp {
		if s.State == procnet.Established && s.Local == c.Local && s.Remote == c.Remote {
			return true
		}
	}
	return false
}

// environ gives a variable of another process as it was when that was started,
// proc_pid_environ(5); empty if it is not set or may not be read.
func (f *finder) environ(pid int, name string) string {
	text, err := fs.ReadFile(f.root, directory(pid)+"/environ")
	f.fail(pid, err)
	return lookup(string(text), name)
}

// lookup finds a variable in an environment whose strings end in NUL.
func lookup(environ, name string) string {
	for text := range strings.SplitSeq(environ, "\x00") {
		if value, ok := strings.CutPrefix(text, name+"="); ok {
			return value
		}
	}
	return ""
}
