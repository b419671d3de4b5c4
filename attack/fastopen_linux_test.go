package attack

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
)

// TestFastOpen: TCP fast open carries data in the SYN. A shut door refuses the SYN with all that is in it.
func TestFastOpen(t *testing.T) {
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, strings.Replace(oneDoor, "tcp/22", "tcp/2200-2201", 1))
		// Data without a cookie, for listeners that have not asked for it; see ip-sysctl.rst.
		s.run("sysctl -w net.ipv4.tcp_fastopen=1538")
		if _, err := s.pair.Client.Run(t.Context(), "", "sysctl", "-w", "net.ipv4.tcp_fastopen=5"); err != nil {
			t.Fatal(err)
		}
		heard := s.hear(2201)
		for i, src := range []netip.Addr{lab.Client4(0), lab.Client6(0)} {
			giveUp := s.fastOpen(src, 2201, "shut")
			select {
			case text := <-heard:
				t.Errorf("%s: through a shut door came %q", src, text)
			case <-time.After(moment):
			}
			giveUp()
			s.knockBySocket(src)
			defer s.fastOpen(src, 2201, "open")()
			select {
			case text := <-heard:
				if text != "open" {
					t.Errorf("%s: came %q", src, text)
				}
			case <-time.After(patience):
				t.Fatalf("%s: nothing came through an open door", src)
			}
			if n := s.passiveFastOpens(); n != i+1 {
				t.Fatalf("%d connections were opened fast, not %d: this says nothing", n, i+1)
			}
		}
	})
}

// hear serves a port and gives what each connection says first.
func (s *site) hear(number uint16) <-chan string {
	s.Helper()
	heard := make(chan string, 16)
	var listener *net.TCPListener
	err := s.pair.Server.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv6unspecified, Port: int(number)})
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 64)
			if n, err := c.Read(buffer); err == nil || errors.Is(err, io.EOF) {
				heard <- string(buffer[:n])
			}
			c.Close()
		}
	}()
	return heard
}

// fastOpen sends a SYN with data, from a program of the client that does not wait
// for the answer, and gives what ends its attempt.
func (s *site) fastOpen(src netip.Addr, to uint16, text string) (giveUp func()) {
	s.Helper()
	var socket int
	err := s.pair.Client.Do(func() (err error) {
		family := unix.AF_INET
		var at unix.Sockaddr = &unix.SockaddrInet4{Port: int(to), Addr: lab.Server4().As4()}
		if src.Is6() {
			family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to), Addr: lab.Server6().As16()}
		}
		socket, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		err = unix.Sendto(socket, []byte(text), unix.MSG_FASTOPEN, at)
		if errors.Is(err, unix.EINPROGRESS) {
			return nil
		}
		return os.NewSyscallError("sendto", err)
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	if err := s.wire.Settle(ctx); err != nil {
		s.Fatal(err)
	}
	return func() { unix.Close(socket) }
}

// passiveFastOpens counts connections that the server has opened with their SYN.
func (s *site) passiveFastOpens() int {
	s.Helper()
	lines := strings.Split(s.run("cat /proc/net/netstat"), "\n")
	for i := range len(lines) - 1 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if at := slices.Index(names, "TCPFastOpenPassive"); at > 0 && at < len(values) {
			n, err := strconv.Atoi(values[at])
			if err != nil {
				s.Fatal(err)
			}
			return n
		}
	}
	s.Fatal("the kernel does not count fast opens")
	return 0
}
