package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/knock"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// How long the client waits for a connection before it calls a service closed.
// Within one machine an answer takes microseconds.
const patience = 400 * time.Millisecond

// stage is a server and a client in namespaces of their own.
type stage struct {
	pair *lab.Pair
	exe  string // the tirl that plays the administrator's part
	dir  string // stands for / where tirl keeps its state
}

func newStage(exe string) (*stage, error) {
	pair, err := lab.NewPair(lab.PairOptions{})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tirl-demo-")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a directory for the demo: %w", err), pair.Close())
	}
	return &stage{pair: pair, exe: exe, dir: dir}, nil
}

func (s *stage) close() error {
	return errors.Join(s.pair.Close(), os.RemoveAll(s.dir))
}

// tirl runs one tirl command on the server and gives what it printed.
func (s *stage) tirl(ctx context.Context, args ...string) (string, error) {
	return s.pair.Server.Run(ctx, "", s.exe, append([]string{"--color=never", "--root", s.dir}, args...)...)
}

// apply loads a policy as an administrator would.
func (s *stage) apply(ctx context.Context, source []byte, backend string) error {
	file := filepath.Join(s.dir, "policy.toml")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	_, err := s.tirl(ctx, "apply", "--no-confirm", "-c", file, "--backend", backend)
	return err
}

// serve starts a service on the server: TCP greets whoever connects and keeps
// the line open, UDP answers every datagram.
func (s *stage) serve(to port.Port, greeting string) error {
	return s.pair.Server.Do(func() error {
		address := fmt.Sprintf("[::]:%d", to.Number)
		if to.Proto == port.UDP {
			conn, err := net.ListenPacket("udp", address)
			if err != nil {
				return fmt.Errorf("serve %s: %w", to, err)
			}
			go echo(conn, greeting)
			return nil
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("serve %s: %w", to, err)
		}
		go greet(l, greeting)
		return nil
	})
}

func greet(l net.Listener, greeting string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			// Whatever the client says is answered with the greeting again.
			buf := make([]byte, 64)
			for {
				if _, err := io.WriteString(conn, greeting+"\n"); err != nil {
					return
				}
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		}()
	}
}

func echo(conn net.PacketConn, greeting string) {
	buf := make([]byte, 64)
	for {
		_, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		conn.WriteTo([]byte(greeting), from)
	}
}

// connect tries to reach a service from the client. The connection is nil if
// nothing answered.
func (s *stage) connect(ctx context.Context, server netip.Addr, to port.Port) net.Conn {
	var conn net.Conn
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.pair.Client.Do(func() error {
		c, err := new(net.Dialer).DialContext(ctx, to.Proto.String(), netip.AddrPortFrom(server, to.Number).String())
		if err == nil && !alive(c) {
			c.Close()
			return nil
		}
		if err == nil {
			conn = c
		}
		return nil
	})
	return conn
}

// alive says something and waits for an answer. A TCP server speaks first, so
// that the answer to the client's own words is the second.
func alive(conn net.Conn) bool {
	if conn == nil {
		return false
	}
	conn.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 128)
	if conn.RemoteAddr().Network() == "tcp" {
		if _, err := conn.Read(buf); err != nil {
			return false
		}
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return false
	}
	_, err := conn.Read(buf)
	return err == nil
}

// talk says something on a connection that was used before.
func talk(conn net.Conn) bool {
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello again")); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 128))
	return err == nil
}

// knock sends knocks from the client, as `tirl knock` does.
func (s *stage) knock(ctx context.Context, server netip.Addr, knocks ...port.Port) error {
	return s.pair.Client.Do(func() error {
		return knock.Send(ctx, []netip.Addr{server}, knocks, knock.Options{Delay: 20 * time.Millisecond})
	})
}

// sweep sends a datagram to every UDP port in order, as fast as it goes.
func (s *stage) sweep(ctx context.Context, server netip.Addr) (time.Duration, error) {
	start := time.Now()
	err := s.pair.Client.Do(func() error {
		conn, err := net.ListenPacket("udp", netip.AddrPortFrom(netip.IPv6Unspecified(), 0).String())
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		defer conn.Close()
		udp := conn.(*net.UDPConn)
		for n := 1; n <= 65535; n++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, err := udp.WriteToUDPAddrPort([]byte{0}, netip.AddrPortFrom(server, uint16(n)))
			// An ICMP answer to an earlier datagram is reported here; it is no failure of this one.
			if err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOBUFS) {
				return fmt.Errorf("sweep: %w", err)
			}
		}
		return nil
	})
	return time.Since(start), err
}

// processes counts the processes that live in the server's namespace: a daemon
// of tirl would be one.
func (s *stage) processes() (int, error) {
	const link = "ns/net"
	var server string
	err := s.pair.Server.Do(func() (err error) {
		server, err = os.Readlink("/proc/thread-self/" + link)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the server's namespace: %w", err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/" + link)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, file := range all {
		// A process that has ended meanwhile, or somebody else's, is none of ours.
		if its, err := os.Readlink(file); err == nil && its == server {
			n++
		}
	}
	return n, nil
}

// Executable gives the path of this very program.
func Executable() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's own file: %w", err)
	}
	return exec.LookPath(exe)
}
