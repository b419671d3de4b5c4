package lab_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

func TestPairPings(t *testing.T) {
	for _, live := range []bool{false, true} {
		start := time.Now()
		p := labtest.Pair(t, lab.PairOptions{ClientAddrs: 3, LiveNeighbours: live})
		t.Logf("made in %v", time.Since(start))
		for i := range 3 {
			for server, client := range map[netip.Addr]netip.Addr{
				lab.Server4(): lab.Client4(i),
				lab.Server6(): lab.Client6(i),
			} {
				out, err := p.Client.Run(t.Context(), "", "ping", "-c1", "-W1", "-I", client.String(), server.String())
				if err != nil {
					t.Errorf("client to server: %v\n%s", err, out)
				}
				out, err = p.Server.Run(t.Context(), "", "ping", "-c1", "-W1", client.String())
				if err != nil {
					t.Errorf("server to client: %v\n%s", err, out)
				}
			}
		}
		out, err := p.Server.Run(t.Context(), "", "ping", "-c1", "-W1", "fe80::ff:fe00:902%"+lab.ServerDevice)
		if err != nil {
			t.Errorf("link-local: %v\n%s", err, out)
		}
	}
}

func TestPairOptions(t *testing.T) {
	for _, n := range []int{-1, lab.MaxClientAddrs + 1} {
		if p, err := lab.NewPair(lab.PairOptions{ClientAddrs: n}); err == nil {
			p.Close()
			t.Errorf("%d client addresses: no error", n)
		}
	}
}

// Do moves sockets into the namespace, and only there.
func TestDoListens(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	var listener net.Listener
	err := p.Server.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(lab.Server4(), 80).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dial := func() error {
		c, err := net.DialTimeout("tcp", listener.Addr().String(), time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := p.Client.Do(dial); err != nil {
		t.Error(err)
	}
	other, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Do(dial); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("from a third namespace: %v", err)
	}
	out, err := p.Server.Run(t.Context(), "", "ss", "-Hltn")
	if err != nil || !strings.Contains(out, "10.9.0.1:80") {
		t.Errorf("ss in the server: %v\n%s", err, out)
	}
}
