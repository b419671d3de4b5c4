package session

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/port"
)

// machine builds a /proc of a small-endian host.
type machine struct {
	fstest.MapFS
	inode int
}

const tableHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func newMachine() *machine {
	m := &machine{MapFS: fstest.MapFS{}, inode: 100}
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		m.put("proc/net/"+name, tableHeader)
	}
	m.process(1, 0, "systemd")
	m.process(500, 1, "sshd")
	m.listen(500, "[::]:22")
	return m
}

func (m *machine) put(name, text string) {
	if old, ok := m.MapFS[name]; ok {
		text = string(old.Data) + text
	}
	m.MapFS[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
}

func (m *machine) process(pid, parent int, name string) {
	m.put(fmt.Sprintf("proc/%d/stat", pid), fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 0", pid, name, parent))
	m.put(fmt.Sprintf("proc/%d/environ", pid), "HOME=/root\x00")
	m.hold(pid, 0, "/dev/null")
}

func (m *machine) hold(pid, fd int, target string) {
	m.MapFS[fmt.Sprintf("proc/%d/fd/%d", pid, fd)] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
}

func hexEndpoint(ap netip.AddrPort, as16 bool) string {
	b := ap.Addr().AsSlice()
	if as16 {
		a := ap.Addr().As16()
		b = a[:]
	}
	var s strings.Builder
	for i := 0; i < len(b); i += 4 {
		fmt.Fprintf(&s, "%02X%02X%02X%02X", b[i+3], b[i+2], b[i+1], b[i])
	}
	return fmt.Sprintf("%s:%04X", s.String(), ap.Port())
}

// socket adds a socket and gives its inode.
func (m *machine) socket(table, local, remote, state string) int {
	m.inode++
	l, r := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
	m.put("proc/net/"+table, fmt.Sprintf("   0: %s %s %s 00000000:00000000 00:00000000 00000000     0        0 %d 1\n",
		hexEndpoint(l, strings.HasSuffix(table, "6")), hexEndpoint(r, strings.HasSuffix(table, "6")), state, m.inode))
	return m.inode
}

func (m *machine) own(pid, fd, inode int) { m.hold(pid, fd, fmt.Sprintf("socket:[%d]", inode)) }

func (m *machine) listen(pid int, local string) {
	m.own(pid, 3, m.socket("tcp6", local, "[::]:0", "0A"))
}

// login makes an sshd with a shell below it, and gives the shell.
func (m *machine) login(pid int, remote string) int {
	m.process(pid, 500, "sshd")
	m.own(pid, 4, m.socket("tcp6", "10.9.0.1:22", remote, "01"))
	m.process(pid+1, pid, "bash")
	m.put(fmt.Sprintf("proc/%d/environ", pid+1), "SSH_CONNECTION="+sshValue(remote)+"\x00")
	return pid + 1
}

func sshValue(remote string) string {
	r := netip.MustParseAddrPort(remote)
	return fmt.Sprintf("%s %d 10.9.0.1 22", r.Addr(), r.Port())
}

func conn(local, remote string) Conn {
	c := Conn{Proto: port.TCP, Local: netip.MustParseAddrPort(local)}
	if remote != "" {
		c.Remote = netip.MustParseAddrPort(remote)
	}
	return c
}

func noEnv(string) string { return "" }

func env(value string) func(string) string {
	return func(name string) string {
		if name == sshConnection {
			return value
		}
		return ""
	}
}

const (
	here  = "10.9.0.1:22"
	alice = "198.51.100.7:40000"
	bob   = "203.0.113.9:50000"
)

var finds = []struct {
	name string
	make func(m *machine) (pid int, getenv func(string) string)
	want *Session
}{
	{"sudo below ssh", func(m *machine) (int, func(string) string) {
		m.login(700, bob)
		m.process(610, m.login(600, alice), "sudo")
		m.process(611, 610, "tirl")
		return 611, noEnv
	}, &Session{Conn: conn(here, alice), Process: "sshd", How: ByAncestry}},

	{"a name like the end of another line", func(m *machine) (int, func(string) string) {
		m.process(610, m.login(600, alice), "a) S 1 (b\n) x")
		m.process(611, 610, "tirl")
		return 611, noEnv
	}, &Session{Conn: conn(here, alice), Process: "sshd", How: ByAncestry}},

	{"the console", func(m *machine) (int, func(string) string) {
		m.login(600, alice)
		m.process(800, 1, "login")
		m.process(801, 800, "bash")
		return 801, noEnv
	}, nil},

	{"forwarded ports", func(m *machine) (int, func(string) string) {
		shell := m.login(600, alice)
		// ssh -R: listens for it and serves it; ssh -L: a client of something else.
		m.own(600, 3, m.socket("tcp6", "[::]:8080", "[::]:0", "0A"))
		m.own(600, 2, m.socket("tcp", "10.9.0.1:8080", bob, "01"))
		m.own(600, 1, m.socket("tcp", "10.9.0.1:41000", "192.0.2.1:443", "01"))
		return shell, noEnv
	}, &Session{Conn: conn(here, alice), Process: "sshd", How: ByAncestry}},

	{"a web terminal of one process", func(m *machine) (int, func(string) string) {
		m.process(600, 1, "ttyd")
		m.listen(600, "[::]:7681")
		m.own(600, 10, m.socket("tcp", "10.9.0.1:7681", bob, "01"))
		m.own(600, 9, m.socket("tcp", "10.9.0.1:7681", alice, "01"))
		m.process(601, 600, "sh")
		return 601, noEnv
	}, &Session{Conn: conn("10.9.0.1:7681", alice), Others: []Conn{conn("10.9.0.1:7681", bob)}, Process: "ttyd", How: ByAncestry}},

	{"inetd hands the socket itself", func(m *machine) (int, func(string) string) {
		m.process(600, 1, "in.telnetd")
		m.socket("tcp", "0.0.0.0:23", "0.0.0.0:0", "0A")
		m.own(600, 0, m.socket("tcp", "10.9.0.1:23", alice, "01"))
		m.process(601, 600, "tirl")
		return 601, noEnv
	}, &Session{Conn: conn("10.9.0.1:23", alice), Process: "in.telnetd", How: ByAncestry}},

	{"IPv6", func(m *machine) (int, func(string) string) {
		m.process(600, 500, "sshd-session")
		m.own(600, 4, m.socket("tcp6", "[2001:db8:9::1]:22", "[2001:db8:9::2]:40000", "01"))
		return 600, noEnv
	}, &Session{Conn: conn("[2001:db8:9::1]:22", "[2001:db8:9::2]:40000"), Process: "sshd-session", How: ByAncestry}},

	{"a tmux that was started elsewhere", func(m *machine) (int, func(string) string) {
		m.process(900, 1, "tmux: server")
		m.put("proc/900/environ", "SSH_CONNECTION="+sshValue(bob)+"\x00")
		m.login(700, bob)
		m.process(611, m.login(600, alice), "tmux: client")
		m.process(901, 900, "bash")
		return 901, noEnv
	}, &Session{Conn: conn(here, alice), Process: "sshd", How: ByTerminal}},

	{"a tmux with two clients", func(m *machine) (int, func(string) string) {
		m.process(900, 1, "tmux: server")
		m.process(711, m.login(700, bob), "tmux: client")
		m.process(611, m.login(600, alice), "tmux: client")
		m.process(901, 900, "bash")
		return 901, noEnv
	}, &Session{Conn: conn(here, bob), Others: []Conn{conn(here, alice)}, Process: "sshd", How: ByTerminal}},

	{"a tmux that nobody is attached to, with a stale environment", func(m *machine) (int, func(string) string) {
		m.login(600, alice)
		m.process(900, 1, "tmux: server")
		m.process(901, 900, "bash")
		return 901, env(sshValue("198.51.100.7:40001"))
	}, nil},

	{"the environment of the process", func(m *machine) (int, func(string) string) {
		m.login(600, alice)
		m.process(901, 1, "tirl")
		return 901, env(sshValue(alice))
	}, &Session{Conn: conn(here, alice), How: ByEnvironment}},

	{"the environment of an ancestor", func(m *machine) (int, func(string) string) {
		m.login(600, alice)
		m.process(900, 1, "dtach")
		m.put("proc/900/environ", "SSH_CONNECTION="+sshValue(alice)+"\x00")
		m.process(901, 900, "sudo")
		return 901, noEnv
	}, &Session{Conn: conn(here, alice), How: ByEnvironment}},

	{"mosh", func(m *machine) (int, func(string) string) {
		m.process(900, 1, "mosh-server")
		m.put("proc/900/environ", "SSH_CONNECTION="+sshValue(alice)+"\x00")
		m.own(900, 4, m.socket("udp", "0.0.0.0:60001", "0.0.0.0:0", "07"))
		m.process(901, 900, "bash")
		return 901, noEnv
	}, &Session{Conn: Conn{port.UDP, netip.MustParseAddrPort("10.9.0.1:60001"), netip.MustParseAddrPort("198.51.100.7:0"), false},
		Process: "mosh-server", How: ByMosh}},

	{"a circle of processes", func(m *machine) (int, func(string) string) {
		m.process(900, 901, "a")
		m.process(901, 900, "b")
		return 901, noEnv
	}, nil},

	{"a process that is not there", func(m *machine) (int, func(string) string) { return 4711, noEnv }, nil},
}

var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b []Conn) bool { return slices.Equal(a, b) }),
}

func TestFind(t *testing.T) {
	for _, c := range finds {
		m := newMachine()
		pid, getenv := c.make(m)
		got, err := Find(m, pid, getenv)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, got, comparers); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// forbidden hides the files of a process, as the kernel does from other users.
type forbidden struct {
	fs.FS
	pid int
}

func (f forbidden) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, directory(f.pid)+"/fd") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f.FS.Open(name)
}

func (f forbidden) ReadLink(name string) (string, error) { return fs.ReadLink(f.FS, name) }
func (f forbidden) Lstat(name string) (fs.FileInfo, error) {
	return fs.Lstat(f.FS, name)
}

func TestFindWithoutTheRight(t *testing.T) {
	m := newMachine()
	shell := m.login(600, alice)
	delete(m.MapFS, fmt.Sprintf("proc/%d/environ", shell))
	if s, err := Find(forbidden{m, 600}, shell, noEnv); err == nil || s != nil {
		t.Errorf("got %v, %v", s, err)
	}
	// The environment says it all the same.
	if s, err := Find(forbidden{m, 600}, shell, env(sshValue(alice))); err != nil || s == nil || s.How != ByEnvironment {
		t.Errorf("got %v, %v", s, err)
	}
	if _, err := Find(fstest.MapFS{}, 1, noEnv); err == nil {
		t.Error("no /proc: no error")
	}
}

func TestList(t *testing.T) {
	m := newMachine()
	m.login(700, bob)
	m.login(600, alice)
	m.socket("tcp6", "10.9.0.1:22", "192.0.2.1:1", "03")          // opening
	m.socket("tcp6", "10.9.0.1:22", "192.0.2.1:2", "06")          // over
	m.socket("tcp", "10.9.0.1:33000", "192.0.2.1:22", "01")       // ours
	m.socket("tcp", "127.0.0.1:25", "0.0.0.0:0", "0A")            //
	m.socket("tcp", "10.9.0.1:25", "192.0.2.1:3", "01")           // nobody listens there
	m.socket("tcp", "127.0.0.1:25", "127.0.0.1:4", "01")          //
	m.socket("tcp6", "[2001:db8::1]:22", "[2001:db8::2]:5", "01") //
	opening := conn(here, "192.0.2.1:1")
	opening.Opening = true
	ssh := []Conn{opening, conn(here, alice), conn(here, bob), conn("[2001:db8::1]:22", "[2001:db8::2]:5")}
	for _, c := range []struct {
		services []port.Range
		want     []Conn
	}{
		{nil, append(slices.Clone(ssh), conn("127.0.0.1:25", "127.0.0.1:4"))},
		{[]port.Range{{Proto: port.TCP, First: 20, Last: 22}}, ssh},
		{[]port.Range{{Proto: port.UDP, First: 20, Last: 22}}, nil},
	} {
		got, err := List(m, c.services...)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, %v\nwant %v", c.services, got, err, c.want)
		}
	}
}

func TestNewSince(t *testing.T) {
	opening := conn(here, "192.0.2.1:1")
	opening.Opening = true
	other := conn(here, "192.0.2.1:2")
	other.Opening = true
	before := []Conn{conn(here, alice), opening}
	after := []Conn{conn(here, alice), conn(here, "192.0.2.1:1"), other, conn(here, bob)}
	if got := NewSince(before, after); !slices.Equal(got, []Conn{conn(here, bob)}) {
		t.Errorf("got %v", got)
	}
	if got := NewSince(after, before); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
