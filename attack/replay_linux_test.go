package attack

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
)

// TestReplay: whoever sees the knocks can repeat them, from any address. That is
// no surprise but what a fixed sequence is; docs/security.md says so.
func TestReplay(t *testing.T) {
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, oneDoor)
		for i, client := range []netip.Addr{lab.Client4(0), lab.Client6(0)} {
			tap := s.tap(s.pair.Server, lab.ServerDevice)
			s.knockBySocket(client)
			seen := tap.datagrams(len(s.knocks(0)))
			t.Logf("seen from %s: %v", client, seen)

			stranger := families(7)[i]
			if s.getsIn(stranger, service) {
				t.Errorf("%s got in without a knock", stranger)
			}
			s.send(stranger, seen...)
			if !s.getsIn(stranger, service) {
				t.Errorf("%s: a replay has not opened, so docs/security.md is wrong", stranger)
			}
		}
	})
}

// knockBySocket knocks as any program does.
func (s *site) knockBySocket(client netip.Addr) {
	s.Helper()
	err := s.pair.Client.Do(func() error {
		for _, k := range s.knocks(0) {
			c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0)),
				net.UDPAddrFromAddrPort(netip.AddrPortFrom(serverFor(client), k.Number)))
			if err != nil {
				return err
			}
			_, err = c.Write([]byte("knock"))
			if err = errors.Join(err, c.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	if err := s.wire.Settle(s.Context()); err != nil {
		s.Fatal(err)
	}
}
