package attack

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
)

const (
	ftp = 21

	// A helper that the administrator has chosen, as nft(8) has it.
	ftpHelper = `table inet lab_helper {
	ct helper ftp { type "ftp" protocol tcp; }
	chain prerouting {
		type filter hook prerouting priority filter; policy accept;
		tcp dport 21 ct helper set "ftp"
	}
}
`
	// A door as many a firewall has it: new connections are dropped.
	naiveDoor = `table inet lab_naive {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 22 ct state new drop
	}
}
`
	exempt = `table inet lab_exempt {
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		notrack
	}
	chain output {
		type filter hook output priority raw; policy accept;
		notrack
	}
}
`
)

// TestHelperExpectation: a client has the FTP helper expect a connection to the
// hidden port, by having the server say what it sent. That opens the door of a
// firewall that asks conntrack what is new; tirl's stays shut.
func TestHelperExpectation(t *testing.T) {
	eachMode(t, false, func(t *testing.T, v kinds.Kind, m mode) {
		s := newSite(t, v, m.policy+oneDoor)
		s.listen(ftp)
		if _, err := s.pair.Server.Run(t.Context(), ftpHelper, "nft", "-f", "-"); err != nil {
			t.Skipf("no FTP helper: %v", err)
		}
		for _, src := range families(1) {
			s.expect(src)
			if s.getsIn(src, service) {
				t.Errorf("%s: expected, and let in", src)
			}
		}
		if err := s.doors.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.nft(naiveDoor)
		for _, src := range families(2) {
			if s.getsIn(src, service) {
				t.Errorf("%s: the other door is no door", src)
			}
			s.expect(src)
			if !s.getsIn(src, service) {
				t.Errorf("%s: the attack does not work on anybody", src)
			}
		}
	})
}

// expect has the helper expect a connection of a source to the hidden service.
func (s *site) expect(src netip.Addr) {
	s.Helper()
	family, passive := "ipv4", "227 Entering Passive Mode (10,9,0,1,0,22)\r\n"
	if src.Is6() {
		family, passive = "ipv6", "229 Entering Extended Passive Mode (|||22|)\r\n"
	}
	f := s.connect(src, ftp)
	if f == nil {
		s.Fatal("no FTP")
	}
	for _, line := range []string{"220 welcome\r\n", passive} {
		if !s.echoes(f, line, patience) {
			s.Fatal("the server does not say what it was sent")
		}
	}
	if list := s.run("conntrack -f " + family + " -L expect"); !strings.Contains(list, src.String()) {
		s.Fatalf("no expectation for %s: %s", src, list)
	}
}

// TestNotrack: what is exempt from connection tracking is fresh, and has to knock.
func TestNotrack(t *testing.T) {
	eachMode(t, false, func(t *testing.T, v kinds.Kind, m mode) {
		s := newSite(t, v, m.policy+oneDoor)
		s.nft(exempt)
		for _, src := range families(1) {
			if s.getsIn(src, service) {
				t.Errorf("%s: untracked, and let in", src)
			}
			s.send(src, s.knocks(0)...)
			f := s.connect(src, service)
			if f == nil {
				t.Fatalf("%s: untracked, and not let in after a knock", src)
			}
			if !s.alive(f) {
				t.Errorf("%s: an untracked connection does not work", src)
			}
			// Firewall mode lets in segments of flows that it can see, or by a grant.
			s.shut(src)
			if m.firewall && !s.dead(f) || !m.firewall && !s.alive(f) {
				t.Errorf("%s: an untracked connection when its door is shut", src)
			}
		}
	})
}

// TestConntrackFlush: when the kernel forgets all flows, no door opens. In guard
// mode open sessions go on. In firewall mode the client's next segment is of no
// flow; once the server has sent one, the session goes on.
func TestConntrackFlush(t *testing.T) {
	eachMode(t, false, func(t *testing.T, v kinds.Kind, m mode) {
		s := newSite(t, v, m.policy+oneDoor)
		for i, src := range families(1) {
			stranger := families(2)[i]
			s.send(src, s.knocks(0)...)
			f := s.connect(src, service)
			if f == nil || !s.alive(f) {
				t.Fatalf("%s: the door does not open at all", src)
			}
			s.send(stranger, s.knocks(0)[:2]...)
			s.run("conntrack -F")
			if s.getsIn(stranger, service) {
				t.Errorf("%s: a flush lets in", stranger)
			}
			if !s.getsIn(src, service) {
				t.Errorf("%s: a grant was lost", src)
			}
			if !m.firewall {
				s.shut(src)
				s.run("conntrack -F")
				if !s.alive(f) {
					t.Errorf("%s: a flush has cut a session", src)
				}
				continue
			}
			waiting := s.connect(src, service)
			s.shut(src)
			asked := waiting.Next([]byte("say it again"))
			s.put(asked)
			s.awaitData(asked)
			s.run("conntrack -F")
			s.answers() // what was said before
			if !s.dead(f) {
				t.Errorf("%s: a segment of no flow was let in", src)
			}
			// Nobody has acknowledged the answer, so that the server says it again.
			waiting.Acknowledge(s.awaitData(asked), len(asked.Payload))
			if !s.alive(waiting) {
				t.Errorf("%s: a session does not go on after the server has sent something", src)
			}
		}
	})
}

// awaitData gives the next segment with data of the connection that a packet is of.
func (s *site) awaitData(p lab.Packet) lab.Answer {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	got, err := s.wire.AwaitAnswer(ctx, func(a lab.Answer) bool { return a.Dst == p.Src && a.DstPort == p.SrcPort && a.Length > 0 })
	if err != nil {
		s.Fatal(err)
	}
	return got
}

// TestSynCookies: a server that answers with cookies keeps nothing of a SYN, and
// takes whoever brings one back. A shut door gives none out. Who got one while
// the door was open can use it when it is shut, for the one connection that it
// is for; nobody else can.
func TestSynCookies(t *testing.T) {
	eachMode(t, false, func(t *testing.T, v kinds.Kind, m mode) {
		s := newSite(t, v, m.policy+oneDoor)
		s.run("sysctl -w net.ipv4.tcp_syncookies=2")
		for _, src := range families(1) {
			if s.cookie(src) != nil {
				t.Errorf("%s: a shut door gives out cookies", src)
			}
		}
		var got []*lab.Answer
		for _, src := range families(2) {
			s.send(src, s.knocks(0)...)
			got = append(got, s.cookie(src))
		}
		for i, src := range families(2) {
			if got[i] == nil {
				t.Fatalf("%s: the door does not open at all", src)
			}
			s.shut(src)
			if s.getsIn(src, service) {
				t.Errorf("%s: the door is not shut", src)
			}
			var wrong [3]lab.Answer
			for n := range wrong {
				wrong[n] = *got[i]
			}
			wrong[0].Dst = families(3)[i]
			wrong[1].DstPort++
			wrong[2].Seq += 1 << 26
			if s.redeem(moment, wrong[:]...) {
				t.Errorf("%s: a cookie was used by whom it is not for", src)
			}
			if !s.redeem(patience, *got[i]) {
				t.Errorf("%s: the cookie was worth nothing, so docs/security.md is wrong", src)
			}
		}
	})
}

// cookie asks for a connection to the service and gives the answer to the SYN, if any.
func (s *site) cookie(src netip.Addr) *lab.Answer {
	s.Helper()
	s.answers()
	s.send(src, tcp(service))
	for _, a := range s.answers() {
		if a.Kind == lab.SynAck && a.Dst == src {
			return &a
		}
	}
	return nil
}

// redeem brings cookies back, with data, and says whether the service has got any.
func (s *site) redeem(within time.Duration, cookies ...lab.Answer) bool {
	s.Helper()
	s.answers()
	for _, a := range cookies {
		p := s.packet(a.Dst, tcp(service))
		p.SrcPort, p.Flags, p.Tag, p.Ack = a.DstPort, automaton.PSH|automaton.ACK, a.Tag+1, a.Seq+1
		p.Payload = []byte("hello")
		s.put(p)
	}
	ctx, cancel := context.WithTimeout(s.Context(), within)
	defer cancel()
	_, err := s.wire.AwaitAnswer(ctx, func(a lab.Answer) bool { return a.Length > 0 })
	return err == nil
}

// shut has an administrator take back what a source was let in by.
func (s *site) shut(src netip.Addr) {
	s.Helper()
	if _, err := s.doors.(backend.Operator).Revoke(s.Context(), s.g, 0, src); err != nil {
		s.Fatal(err)
	}
}
