package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"tirl/internal/port"
)

// Responder is a service that sends back what it gets, over TCP or UDP.
type Responder struct {
	close func() error
	group sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool // nil when closed
}

// NewResponder starts a service in a namespace.
func NewResponder(n *Namespace, proto port.Proto, at netip.AddrPort) (*Responder, error) {
	r := &Responder{conns: make(map[net.Conn]bool)}
	err := n.Do(func() error {
		if proto == port.UDP {
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			r.close = c.Close
			r.group.Go(func() { echoDatagrams(c) })
			return nil
		}
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		r.close = l.Close
		r.group.Go(func() { r.accept(l) })
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("serve %s at %s: %w", proto, at, err)
	}
	return r, nil
}

// Close ends the service and its connections.
func (r *Responder) Close() error {
	err := r.close()
	r.mu.Lock()
	for c := range r.conns {
		err = errors.Join(err, c.Close())
	}
	r.conns = nil
	r.mu.Unlock()
	r.group.Wait()
	return err
}

func echoDatagrams(c *net.UDPConn) {
	buffer := make([]byte, maxFrame)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			// Whether it arrives is what the tests are about.
			_, _ = c.WriteToUDPAddrPort(buffer[:n], from)
		}
	}
}

func (r *Responder) accept(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !r.keep(c) {
			continue
		}
		r.group.Go(func() {
			_, _ = io.Copy(c, c)
			r.drop(c)
		})
	}
}

func (r *Responder) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		c.Close()
		return false
	}
	r.conns[c] = true
	return true
}

func (r *Responder) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns[c] {
		delete(r.conns, c)
		c.Close()
	}
}
