package connect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// tcpPair is a connection, and the server's end of it.
func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// sink is a standard output.
type sink struct {
	bytes.Buffer
	closed bool
}

func (s *sink) Close() error { s.closed = true; return nil }

// A request is sent, its end passed on, and the whole answer to it received.
func TestCarryHalfClose(t *testing.T) {
	client, server := tcpPair(t)
	request, answer := strings.Repeat("question ", 1<<18), strings.Repeat("answer ", 1<<18)
	heard := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(server)
		heard <- string(text)
		time.Sleep(50 * time.Millisecond)
		io.WriteString(server, answer)
		server.Close()
	}()
	var out sink
	if err := Carry(t.Context(), client, Stream{In: strings.NewReader(request), Out: &out}); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != request {
		t.Errorf("the server got %d bytes of %d", len(got), len(request))
	}
	if out.String() != answer || !out.closed {
		t.Errorf("%d bytes of %d, closed: %v", out.Len(), len(answer), out.closed)
	}
}

// The server ends first: what is still to be said is said.
func TestCarryServerEndsFirst(t *testing.T) {
	client, server := tcpPair(t)
	in, typed := io.Pipe()
	heard := make(chan string, 1)
	go func() {
		io.WriteString(server, "bye")
		server.CloseWrite()
		time.Sleep(50 * time.Millisecond)
		io.WriteString(typed, "last words")
		typed.Close()
		text, _ := io.ReadAll(server)
		heard <- string(text)
	}()
	var out sink
	if err := Carry(t.Context(), client, Stream{In: in, Out: &out}); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "last words" || out.String() != "bye" {
		t.Errorf("the server got %q, the client %q", got, out.String())
	}
}

// Nobody has to press a key to leave when the server has closed.
func TestCarryInteractive(t *testing.T) {
	client, server := tcpPair(t)
	in, typed := io.Pipe()
	defer typed.Close()
	server.Close()
	if err := Carry(t.Context(), client, Stream{In: in, Out: &sink{}, Interactive: true}); err != nil {
		t.Error(err)
	}
}

func TestCarryFailures(t *testing.T) {
	t.Run("reset", func(t *testing.T) {
		client, server := tcpPair(t)
		in, typed := io.Pipe()
		defer typed.Close()
		server.SetLinger(0)
		server.Close()
		err := Carry(t.Context(), client, Stream{In: in, Out: &sink{}})
		if err == nil || !strings.HasPrefix(err.Error(), "receive: ") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		client, _ := tcpPair(t)
		in, typed := io.Pipe()
		defer typed.Close()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := Carry(ctx, client, Stream{In: in, Out: &sink{}}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("broken input", func(t *testing.T) {
		client, server := tcpPair(t)
		broken := errors.New("broken")
		in, typed := io.Pipe()
		typed.CloseWithError(broken)
		time.AfterFunc(50*time.Millisecond, func() { server.Close() })
		if err := Carry(t.Context(), client, Stream{In: in, Out: &sink{}}); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	})
}
