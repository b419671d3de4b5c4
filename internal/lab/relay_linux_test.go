package lab_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// A relay that does nothing carries a bulk transfer, with the offloads of both
// ends, whole; one that delays what it is told to changes the order; one that
// loses a packet loses it.
func TestRelay(t *testing.T) {
	var mu sync.Mutex
	fates := map[byte]lab.Fate{} // by the first byte of a datagram
	p := labtest.Pair(t, lab.PairOptions{Path: func(ip []byte) lab.Fate {
		mu.Lock()
		defer mu.Unlock()
		if ip[0]>>4 == 4 && ip[9] == 17 {
			return fates[ip[28]]
		}
		return lab.Fate{}
	}})
	for _, server := range []netip.Addr{lab.Server4(), lab.Server6()} {
		bulk(t, p, server)
	}
	order := func() string { return datagrams(t, p, "abc") }
	if got := order(); got != "abc" {
		t.Errorf("no fate: %q", got)
	}
	mu.Lock()
	fates['a'] = lab.Fate{Delay: 150 * time.Millisecond}
	fates['b'] = lab.Fate{Lost: true}
	mu.Unlock()
	if got := order(); got != "ca" {
		t.Errorf("a delayed, b lost: %q", got)
	}
}

// bulk sends some megabytes to the server.
func bulk(t *testing.T, p *lab.Pair, server netip.Addr) {
	t.Helper()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	var l net.Listener
	err := p.Server.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(server, 80).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sum := make(chan [32]byte, 1)
	go func() {
		h := sha256.New()
		if c, err := l.Accept(); err == nil {
			io.Copy(h, c)
			c.Close()
		}
		sum <- [32]byte(h.Sum(nil))
	}()
	var c net.Conn
	err = p.Client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", netip.AddrPortFrom(server, 80).String(), 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-sum; got != sha256.Sum256(data) {
		t.Errorf("%s: the data was changed", server)
	}
}

// datagrams sends one of each character, and gives what arrives within a while.
func datagrams(t *testing.T, p *lab.Pair, text string) string {
	t.Helper()
	var in, out *net.UDPConn
	to := netip.AddrPortFrom(lab.Server4(), 5353)
	err := p.Server.Do(func() (err error) { in, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(to)); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = p.Client.Do(func() (err error) { out, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to)); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, c := range []byte(text) {
		if _, err := out.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	in.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for buf := make([]byte, 16); ; {
		n, err := in.Read(buf)
		if err != nil {
			return string(got)
		}
		got = slices.Concat(got, buf[:n])
	}
}
