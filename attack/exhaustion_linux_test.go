package attack

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/backend/nftables"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// spoofed is how many sources a flood forges, and room is `sources`: what the
// tables hold. A million do not fill them more than these do.
func spoofed() (sources, room int, stepTimeout string) {
	if full() {
		return 1_000_000, 65536, "300s"
	}
	return 10_000, 8192, "4s"
}

// recentTotal is how many sources a list of the recent match holds unless the
// module was loaded with another number (ip_list_tot, xt_recent.c).
const recentTotal = 100

// TestSpoofedSourcesFillTables: a flood from more sources than the tables hold.
// Of strangers it costs nobody anything. If they know a first knock, nobody can
// begin to knock while it lasts; what was open before stays open, and who is
// trusted gets in.
func TestSpoofedSourcesFillTables(t *testing.T) {
	each(t, func(t *testing.T, v kinds.Kind) {
		for range 5 {
			if fillTables(t, v) {
				return
			}
		}
		t.Error("this machine is too slow to fill the tables before they empty themselves")
	})
}

// fillTables says false if the flood took so long that it says nothing.
func fillTables(t *testing.T, v kinds.Kind) bool {
	count, room, timeout := spoofed()
	s := newSite(t, v, fmt.Sprintf("trust = [\"198.19.0.1\"]\n%s\n[knocking]\nsources = %d\nstep_timeout = %q\n", strings.Replace(oneDoor, "30s", "1h", 1), room, timeout))
	s.quiet()
	trusted := netip.MustParseAddr("198.19.0.1")
	granted, beginner, advanced := lab.Forged4(1), lab.Forged4(2), lab.Forged4(3)
	knocks := s.knocks(0)

	s.flood(count, func(int) port.Port { return udp(uint16(20000 + rand.IntN(40000))) })
	s.send(lab.Forged4(4), knocks...)
	if !s.getsIn(lab.Forged4(4), service) {
		t.Error("after a flood of strangers nobody gets in")
	}

	s.send(granted, knocks...)
	session := s.connect(granted, service)
	if session == nil {
		t.Fatal("the door does not open at all")
	}
	begin := time.Now()
	s.send(advanced, knocks[:2]...)
	s.send(beginner, knocks[:1]...)
	before := slab(t)
	s.flood(count, func(int) port.Port { return knocks[0] })
	t.Logf("%d sources in %v, %d KB of slab more", count, time.Since(begin).Round(time.Millisecond), slab(t)-before)

	// What holds.
	in := map[string]bool{"granted": s.getsIn(granted, service), "session": s.alive(session), "trusted": s.getsIn(trusted, service)}
	s.send(advanced, knocks[2])
	in["advanced"] = s.getsIn(advanced, service)
	// What does not: iptables forgets who was quiet the longest, nftables hears
	// nobody who begins. Who has begun may go on there, as long as its bucket lives.
	s.send(beginner, knocks[1:]...)
	in["beginner"] = s.getsIn(beginner, service)
	slow := time.Since(begin) > automaton.BucketLife*9/10
	newcomer := lab.Forged4(5)
	s.send(newcomer, knocks...)
	in["newcomer"] = s.getsIn(newcomer, service)
	if isIptables(v) {
		in["newcomer under fire"] = s.newcomerUnderFlood(lab.Forged4(6))
	}
	held := s.held(v)
	if time.Since(begin) > s.g.StepTimeout*2/3 {
		return false
	}
	if slow && !isIptables(v) {
		if !full() {
			return false
		}
		delete(in, "beginner")
	}

	want := map[string]bool{"granted": true, "session": true, "trusted": true, "advanced": true, "beginner": !isIptables(v), "newcomer": isIptables(v)}
	most := room
	if isIptables(v) {
		want["newcomer under fire"] = false
		most = recentTotal
	}
	for who := range in {
		if in[who] != want[who] {
			t.Errorf("%s: got in is %v, want %v", who, in[who], want[who])
		}
	}
	for name, n := range held {
		if n > most {
			t.Errorf("%s holds %d sources, more than %d", name, n, most)
		}
	}
	if !full() {
		s.recovers(begin.Add(s.g.StepTimeout))
	}
	return true
}

// recovers: when the flood is over, tables empty themselves.
func (s *site) recovers(at time.Time) {
	s.Helper()
	time.Sleep(time.Until(at))
	for i := 10; ; i++ {
		src := lab.Forged4(i)
		s.send(src, s.knocks(0)...)
		if s.getsIn(src, service) {
			return
		}
		if time.Since(at) > 10*time.Second {
			s.Error("the flood is over, but nobody gets in")
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// TestOneNetworkCannotFillTables: all addresses of an IPv6 /64 share a bucket, so
// that somebody who has one network does not have the tables.
func TestOneNetworkCannotFillTables(t *testing.T) {
	each(t, func(t *testing.T, v kinds.Kind) {
		const count = 5000
		s := newSite(t, v, oneDoor+"[knocking]\nper_source = \"20/second\"\n")
		s.quiet()
		network := lab.Forged6(9).As16()
		var frames [][]byte
		for i := range count {
			binary.BigEndian.PutUint32(network[12:], uint32(i+1))
			frames = append(frames, s.frame(s.packet(netip.AddrFrom16(network), s.knocks(0)[0])))
		}
		begin := time.Now()
		s.frames(frames)
		most := int(float64(s.g.PerSource)*(automaton.BucketDepth+time.Since(begin).Seconds())) + 1
		places := len(s.loaded().Places)
		t.Logf("%d places of %d addresses", places, count)
		if places > most || places == 0 {
			t.Errorf("a network has %d places, from 1 to %d may be", places, most)
		}
		src := lab.Forged6(10)
		s.send(src, s.knocks(0)...)
		if !s.getsIn(src, service) {
			t.Error("another network does not get in")
		}
	})
}

// TestInsiderFillsTheGrants: who can open a door can, by forging sources, open it to as many as
// there is room for. With iptables the grants of others are forgotten; with
// nftables they stay, and nobody else's door opens.
func TestInsiderFillsTheGrants(t *testing.T) {
	const source = `
[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/1001", "udp/5002", "udp/3003"]
open_for = "10m"
[door.theirs]
opens    = ["tcp/2222"]
knocks   = ["udp/4001"]
from     = ["16.0.0.0/4"]
open_for = "10m"
`
	each(t, func(t *testing.T, v kinds.Kind) {
		s := newSite(t, v, source)
		s.quiet()
		holder, newcomer := lab.Forged4(1), lab.Forged4(2)
		s.send(holder, s.knocks(0)...)
		if isIptables(v) {
			// A list for each class: the other door's fills.
			s.flood(2*recentTotal, func(int) port.Port { return s.knocks(1)[0] })
		} else {
			s.flood(nftables.GrantCapacity+1000, func(int) port.Port { return s.knocks(1)[0] })
		}
		if !s.getsIn(holder, service) {
			t.Error("a grant of another door was lost")
		}
		s.send(newcomer, s.knocks(0)...)
		if in := s.getsIn(newcomer, service); in != isIptables(v) {
			t.Errorf("a newcomer got in: %v", in)
		}
		first := netip.MustParseAddr("16.0.0.0")
		if in := s.getsIn(first, 2222); in == isIptables(v) {
			t.Errorf("the first that the insider let in has its grant: %v", in)
		}
	})
}

// newcomerUnderFlood: a list that holds the last 100 has room for a newcomer, for
// as long as 100 others take to come.
func (s *site) newcomerUnderFlood(src netip.Addr) bool {
	s.Helper()
	for _, k := range s.knocks(0) {
		s.send(src, k)
		s.flood(2*recentTotal, func(int) port.Port { return s.knocks(0)[0] })
	}
	return s.getsIn(src, service)
}

// flood sends one datagram from each of so many addresses in 16.0.0.0/4.
func (s *site) flood(count int, to func(i int) port.Port) {
	s.Helper()
	const chunk = 10_000
	for done := 0; done < count; {
		frames := make([][]byte, min(chunk, count-done))
		for i := range frames {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], 1<<28+uint32(done+i))
			frames[i] = s.frame(s.packet(netip.AddrFrom4(a), to(done+i)))
		}
		s.frames(frames)
		done += len(frames)
	}
	s.answers()
}

// quiet keeps the server from telling everybody that a port is closed, which
// takes longer than to look at the packet.
func (s *site) quiet() {
	s.Helper()
	s.nft(`table inet lab_quiet {
	chain output {
		type filter hook output priority filter; policy accept;
		icmp type destination-unreachable drop
		icmpv6 type destination-unreachable drop
	}
}
`)
}

// held says how many sources each table of the kernel holds.
func (s *site) held(v kinds.Kind) map[string]int {
	s.Helper()
	all := make(map[string]int)
	if !isIptables(v) {
		name := ""
		for line := range strings.Lines(s.run("nft list table inet tirl")) {
			if f := strings.Fields(line); len(f) == 3 && f[2] == "{" {
				name = f[1]
			}
			if n := strings.Count(line, " expires "); n > 0 {
				all[name] += n
			}
		}
		return all
	}
	err := s.pair.Server.Do(func() error {
		const dir = "/proc/thread-self/net/xt_recent"
		lists, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, l := range lists {
			text, err := os.ReadFile(dir + "/" + l.Name())
			if err != nil {
				return err
			}
			all[l.Name()] = strings.Count(string(text), "\n")
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return all
}

// slab is the kernel's memory for small things, in KB (proc_meminfo(5)).
func slab(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nSlab:")
	var kb int
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}
