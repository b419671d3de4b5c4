package session

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
	"tirl/internal/tool"
)

// helperEnv makes the test binary print the session that it was started in.
const helperEnv = "TIRL_SESSION_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) == "1" {
		s, err := Find(os.DirFS("/"), os.Getpid(), os.Getenv)
		switch {
		case err != nil:
			fmt.Println("error:", err)
		case s == nil:
			fmt.Println("none")
		default:
			device, err := Interface(s.Remote.Addr())
			fmt.Println(s.Conn, s.How, len(s.Others), device, err)
		}
		return
	}
	os.Exit(labtest.Main(m))
}

// server is an OpenSSH server in a namespace.
type server struct {
	*lab.Pair
	t   *testing.T
	dir string
}

func newServer(t *testing.T) *server {
	s := &server{labtest.Pair(t, lab.PairOptions{}), t, t.TempDir()}
	for _, name := range []string{"host", "client"} {
		s.must(s.Server, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, name))
	}
	// sshd(8) wants a directory that nobody else can write to.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool.Find("sshd"), "-D", "-e", "-f", "/dev/null",
		"-o", "HostKey="+filepath.Join(s.dir, "host"), "-o", "AuthorizedKeysFile="+filepath.Join(s.dir, "client.pub"),
		"-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none", "-o", "PermitRootLogin=prohibit-password", "-o", "Port=22")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := s.Server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", said.String())
		}
	})
	s.eventually("sshd listens", func() bool {
		return s.Client.Do(func() error {
			c, err := net.Dial("tcp", netip.AddrPortFrom(lab.Server4(), 22).String())
			if err == nil {
				c.Close()
			}
			return err
		}) == nil
	})
	return s
}

func (s *server) must(n *lab.Namespace, name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := n.Run(ctx, "", name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *server) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not in 10 s: %s", what)
		}
	}
}

func (s *server) sshArgs(to netip.Addr, more ...string) []string {
	return append([]string{"-F", "/dev/null", "-i", filepath.Join(s.dir, "client"), "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "ConnectTimeout=5", "root@" + to.String()}, more...)
}

// helper is a command line that prints the session, with no environment, as
// under sudo.
func helper(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return "env -i " + helperEnv + "=1 " + self
}

func TestFindOverSSH(t *testing.T) {
	s := newServer(t)
	helper := helper(t)
	for _, c := range []struct {
		name    string
		to      netip.Addr
		command string
		want    string // with %s for the client's end
	}{
		{"IPv4", lab.Server4(), helper, "10.9.0.2: to tcp/22 of 10.9.0.1 ancestry 0 srv0 <nil>"},
		{"IPv6", lab.Server6(), helper, "2001:db8:9::2: to tcp/22 of 2001:db8:9::1 ancestry 0 srv0 <nil>"},
		{"a chain of shells", lab.Server4(), "sh -c 'setsid -w sh -c \"" + helper + "; true\"; true'", "10.9.0.2: to tcp/22 of 10.9.0.1 ancestry 0 srv0 <nil>"},
		// Its parents end at once, and it is adopted by init.
		{"left its parents", lab.Server4(), "f=$(mktemp); (setsid sh -c 'sleep 0.3; " + helper + " >'$f'.out; mv '$f'.out '$f' ' </dev/null >/dev/null 2>&1 &); " +
			"while ! test -s $f; do sleep 0.05; done; cat $f; rm $f", "10.9.0.2: to tcp/22 of 10.9.0.1 environment 0 srv0 <nil>"},
	} {
		out := s.must(s.Client, "ssh", s.sshArgs(c.to, c.command)...)
		if got := withoutPort(out); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, out, c.want)
		}
	}
}

// withoutPort leaves the client's port out, which is any.
func withoutPort(out string) string {
	from, rest, _ := strings.Cut(strings.TrimSpace(out), " ")
	ap, err := netip.ParseAddrPort(from)
	if err != nil {
		return out
	}
	return ap.Addr().String() + ": " + rest
}

// TestFindInTmux runs it in a terminal multiplexer that was started from another
// session, which has ended.
func TestFindInTmux(t *testing.T) {
	if _, err := exec.LookPath(tool.Find("tmux")); err != nil {
		t.Skip("tmux is not installed")
	}
	s := newServer(t)
	out, socket := filepath.Join(s.dir, "out"), filepath.Join(s.dir, "tmux")
	s.must(s.Client, "ssh", s.sshArgs(lab.Server6(), "tmux -f /dev/null -S "+socket+" new-session -d -x 80 -y 24 cat")...)
	t.Cleanup(func() { s.must(s.Server, "tmux", "-S", socket, "kill-server") })

	find := func() string {
		os.Remove(out)
		s.must(s.Server, "tmux", "-S", socket, "new-window", "-d", helper(t)+" > "+out+".new; mv "+out+".new "+out)
		s.eventually("the helper has run", func() bool { _, err := os.Stat(out); return err == nil })
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	if got := find(); got != "none" {
		t.Errorf("detached: got %q", got)
	}
	cmd := exec.Command("ssh", s.sshArgs(lab.Server4(), "TERM=xterm tmux -S "+socket+" attach")...)
	cmd.Args = append(cmd.Args[:1], append([]string{"-tt"}, cmd.Args[1:]...)...)
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if err := s.Client.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	s.eventually("tmux is attached to", func() bool {
		return s.must(s.Server, "tmux", "-S", socket, "list-clients") != ""
	})
	if got := withoutPort(find()); got != "10.9.0.2: to tcp/22 of 10.9.0.1 terminal 0 srv0 <nil>" {
		t.Errorf("attached: got %q", got)
	}
}

// TestListAndNewSince looks at the kernel's table through the same eyes.
func TestListAndNewSince(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	ssh := port.Range{Proto: port.TCP, First: 22, Last: 22}
	var l net.Listener
	err := p.Server.Do(func() (err error) {
		l, err = net.Listen("tcp", "[::]:22")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func(to netip.Addr) string {
		var c net.Conn
		err := p.Client.Do(func() (err error) {
			c, err = net.Dial("tcp", netip.AddrPortFrom(to, 22).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.LocalAddr().String()
	}
	list := func() []Conn {
		m := newMachine()
		for _, name := range []string{"proc/net/tcp", "proc/net/tcp6"} {
			text, err := p.Server.Run(context.Background(), "", "cat", "/"+name)
			if err != nil {
				t.Fatal(err)
			}
			m.MapFS[name].Data = []byte(text)
		}
		conns, err := List(m, ssh)
		if err != nil {
			t.Fatal(err)
		}
		return conns
	}
	dial(lab.Server4())
	before := list()
	if len(before) != 1 || before[0].Local.String() != "10.9.0.1:22" {
		t.Fatalf("before: %v", before)
	}
	want := dial(lab.Server6())
	got := NewSince(before, list())
	if len(got) != 1 || got[0].Remote.String() != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
