package session

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/port"
	"tirl/internal/procnet"
)

// process is what /proc/PID/stat says.
type process struct {
	pid, parent int
	name        string // at most 15 bytes, of whatever kind
}

// parseStat reads PID (NAME) STATE PPID ..., proc_pid_stat(5). The name is what
// the process calls itself: it may hold blanks, parentheses and line ends.
func parseStat(text string) (process, error) {
	digits, rest, ok := strings.Cut(text, " (")
	end := strings.LastIndexByte(rest, ')')
	if !ok || end < 0 {
		return process{}, fmt.Errorf("%q is not the state of a process", text)
	}
	fields := strings.Fields(rest[end+1:])
	if len(fields) < 2 {
		return process{}, fmt.Errorf("%q is not the state of a process", text)
	}
	pid, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return process{}, err
	}
	parent, err := strconv.ParseUint(fields[1], 10, 31)
	if err != nil {
		return process{}, err
	}
	return process{int(pid), int(parent), rest[:end]}, nil
}

func directory(pid int) string { return "proc/" + strconv.Itoa(pid) }

func (f *finder) process(pid int) (process, bool) {
	text, err := fs.ReadFile(f.root, directory(pid)+"/stat")
	var p process
	if err == nil {
		p, err = parseStat(string(text))
	}
	f.fail(pid, err)
	return p, err == nil
}

// ancestors lists a process and its ancestors. Processes come and go meanwhile,
// so that there may be circles.
func (f *finder) ancestors(pid int) []process {
	var line []process
	seen := make(map[int]bool)
	for pid > 0 && !seen[pid] {
		seen[pid] = true
		p, ok := f.process(pid)
		if !ok {
			break
		}
		line = append(line, p)
		pid = p.parent
	}
	return line
}

// inodes lists the sockets of a process by descending age, as far as the numbers
// of its files tell it.
func (f *finder) inodes(pid int) []uint64 {
	files, err := fs.ReadDir(f.root, directory(pid)+"/fd")
	f.fail(pid, err)
	slices.SortFunc(files, func(a, b fs.DirEntry) int {
		return cmp.Or(cmp.Compare(len(a.Name()), len(b.Name())), cmp.Compare(a.Name(), b.Name()))
	})
	var list []uint64
	for _, file := range files {
		target, err := fs.ReadLink(f.root, directory(pid)+"/fd/"+file.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // closed meanwhile
		case err != nil:
			f.fail(pid, err)
			return list // the others will not do either
		}
		if inode, ok := procnet.ParseLink(target); ok && !slices.Contains(list, inode) {
			list = append(list, inode)
		}
	}
	return list
}

// inLine looks for a session among the sockets of a line of processes.
func (f *finder) inLine(line []process) *Session {
	for _, p := range line {
		inodes := f.inodes(p.pid)
		if conns := f.served(inodes); len(conns) > 0 {
			return &Session{Conn: conns[0], Others: conns[1:], Process: p.name, How: ByAncestry}
		}
		if p.name == "mosh-server" {
			if s := f.mosh(p, inodes); s != nil {
				return s
			}
		}
	}
	return nil
}

// served gives the inbound connections among sockets. Whoever serves a session
// may listen for it too (ssh -R), so that connections to ports which the
// process itself listens on count only if there are no others.
func (f *finder) served(inodes []uint64) []Conn {
	var listens []procnet.Socket
	for _, inode := range inodes {
		if s := f.byInode[inode]; s.State == procnet.Listen {
			listens = append(listens, s)
		}
	}
	var handed, own []Conn
	for _, inode := range inodes {
		s := f.byInode[inode]
		c, ok := f.inbound(s)
		if !ok || c.Opening {
			continue
		}
		if slices.ContainsFunc(listens, func(l procnet.Socket) bool { return l.Local.Port() == s.Local.Port() }) {
			own = append(own, c)
		} else {
			handed = append(handed, c)
		}
	}
	if len(handed) > 0 {
		return handed
	}
	return own
}

// mosh gives the UDP port of a mosh-server, whose socket is not connected.
func (f *finder) mosh(p process, inodes []uint64) *Session {
	udp, err := procnet.Read(f.root, procnet.OfProcess, port.UDP)
	f.fail(p.pid, err)
	for _, s := range udp {
		if s.Inode == 0 || !slices.Contains(inodes, s.Inode) {
			continue
		}
		c := Conn{Proto: port.UDP, Local: s.Local}
		if started, err := parseSSHConnection(f.environ(p.pid, sshConnection)); err == nil {
			c.Local = addrPort(started.Local.Addr(), s.Local.Port())
			c.Remote = addrPort(started.Remote.Addr(), 0)
		}
		return &Session{Conn: c, Process: p.name, How: ByMosh}
	}
	return nil
}

// attached looks for the sessions that are attached to the tmux(1) or screen(1)
// that the process runs in: its server has left its parents, but its clients,
// which run in the sessions, have not. The clients are told by their names, so
// that those of all servers count; hence Others.
func (f *finder) attached(line []process) *Session {
	client := ""
	for _, p := range line {
		switch strings.ToLower(p.name) {
		case "tmux: server":
			client = "tmux: client"
		case "screen":
			client = "screen"
		}
	}
	if client == "" {
		return nil
	}
	var found *Session
	for _, p := range f.all() {
		if p.name != client {
			continue
		}
		s := f.inLine(f.ancestors(p.pid))
		switch {
		case s == nil:
		case found == nil:
			found = s
			found.How = ByTerminal
		default:
			found.add(s.Conns())
		}
	}
	return found
}

func (s *Session) add(conns []Conn) {
	for _, c := range conns {
		if !slices.ContainsFunc(s.Conns(), c.same) {
			s.Others = append(s.Others, c)
		}
	}
}

// all lists the processes of the host, the latest first.
func (f *finder) all() []process {
	entries, err := fs.ReadDir(f.root, "proc")
	if err != nil {
		f.errs = append(f.errs, fmt.Errorf("list the processes: %w", err))
	}
	var list []process
	for _, e := range entries {
		pid, err := strconv.ParseUint(e.Name(), 10, 31)
		if err != nil {
			continue
		}
		if p, ok := f.process(int(pid)); ok {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b process) int { return cmp.Compare(b.pid, a.pid) })
	return list
}
