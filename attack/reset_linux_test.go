package attack

import (
	"fmt"
	"net/netip"
	"testing"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
)

const (
	clientTTL = 64
	forgerTTL = 57
)

// TestSpoofedResets: somebody who forges a client's address keeps it from
// finishing its knock, and no more than that: nothing opens, and what is open
// stays open. With match_ttl the forger has to sit at the client's distance.
func TestSpoofedResets(t *testing.T) {
	for _, c := range []struct {
		name     string
		matchTTL bool
		ttl      uint8 // of the forger
		spoils   bool
	}{
		{"any ttl", false, forgerTTL, true},
		{"match_ttl, at another distance", true, forgerTTL, false},
		{"match_ttl, at the same distance", true, clientTTL, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, v kinds.Kind) {
				s := newSite(t, v, oneDoor+withTTL(c.matchTTL))
				for _, victim := range families(1) {
					// The forger spoils every step.
					s.knockUnderFire(victim, c.ttl, 1)
					if in := s.getsIn(victim, service); in == c.spoils {
						t.Errorf("%s: got in is %v", victim, in)
					}
				}
				for _, victim := range families(2) {
					s.knockUnderFire(victim, c.ttl, 0)
					if !s.getsIn(victim, service) {
						t.Fatalf("%s: the door does not open at all", victim)
					}
					open := s.connect(victim, service)
					for range 100 {
						s.forge(victim, c.ttl, 1)
					}
					if !s.getsIn(victim, service) {
						t.Errorf("%s: a forger has shut an open door", victim)
					}
					if open == nil || !s.alive(open) {
						t.Errorf("%s: a forger has cut a connection", victim)
					}
				}
			})
		})
	}
}

// TestSpoofedFlood: forged packets cost the client its tokens, so that it is not
// heard. With match_ttl tokens belong to the distance too, but for iptables.
func TestSpoofedFlood(t *testing.T) {
	for _, matchTTL := range []bool{false, true} {
		t.Run(fmt.Sprintf("match_ttl %v", matchTTL), func(t *testing.T) {
			each(t, func(t *testing.T, v kinds.Kind) {
				s := newSite(t, v, oneDoor+withTTL(matchTTL))
				want := matchTTL && !isIptables(v)
				for _, victim := range families(1) {
					s.knockUnderFire(victim, forgerTTL, 100)
					if in := s.getsIn(victim, service); in != want {
						t.Errorf("%s: got in is %v, want %v", victim, in, want)
					}
				}
			})
		})
	}
}

// knockUnderFire knocks, and a forger sends so many wrong packets after each knock but the last.
func (s *site) knockUnderFire(victim netip.Addr, ttl uint8, shots int) {
	s.Helper()
	knocks := s.knocks(0)
	for i, k := range knocks {
		s.send(victim, k)
		if i < len(knocks)-1 {
			s.forge(victim, ttl, shots)
		}
	}
}

// forge sends wrong packets in somebody else's name.
func (s *site) forge(victim netip.Addr, ttl uint8, shots int) {
	s.Helper()
	var packets []lab.Packet
	for i := range shots {
		p := s.packet(victim, udp(uint16(9000+i)))
		p.TTL = ttl
		packets = append(packets, p)
	}
	s.put(packets...)
}

// withTTL has IPv6 sources be networks: nft 1.0.6 cannot build match_ttl for addresses.
func withTTL(match bool) string {
	return fmt.Sprintf("[knocking]\nipv6_prefix = 64\nmatch_ttl = %v\n", match)
}
