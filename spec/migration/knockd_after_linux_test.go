package migration

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tirl/internal/knockd"
	"tirl/internal/port"
)

// closing are doors that knockd closes in one way or another, or not at all.
const closing = `[timed]
sequence      = 7003:udp,7001:udp,7002:udp
start_command = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
cmd_timeout   = 1
stop_command  = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[script]
sequence      = 7103:udp,7101:udp,7102:udp
start_command = knock_helper_ipt.sh -i -f %IP% -d 23
cmd_timeout   = 1
stop_command  = knock_helper_ipt.sh -x -f %IP% -d 23
[negative]
sequence      = 7203:udp,7201:udp,7202:udp
start_command = iptables -I INPUT -s %IP% -p tcp --dport 24 -j ACCEPT
cmd_timeout   = -1
stop_command  = iptables -D INPUT -s %IP% -p tcp --dport 24 -j ACCEPT
[sleeps]
sequence      = 7303:udp,7301:udp,7302:udp
start_command = iptables -I INPUT -s %IP% -p tcp --dport 25 -j ACCEPT; sleep 1; iptables -D INPUT -s %IP% -p tcp --dport 25 -j ACCEPT
[open]
sequence      = 7403:udp,7401:udp,7402:udp
command       = iptables -I INPUT -s %IP% -p tcp --dport 26 -j ACCEPT
[close]
sequence      = 7503:udp,7501:udp,7502:udp
command       = iptables -D INPUT -s %IP% -p tcp --dport 26 -j ACCEPT
[everybody]
sequence      = 7603:udp,7601:udp,7602:udp
start_command = iptables -I INPUT -p tcp --dport 27 -j ACCEPT
cmd_timeout   = 60
stop_command  = iptables -D INPUT -p tcp --dport 27 -j ACCEPT
[network]
sequence      = 7703:udp,7701:udp,7702:udp
command       = iptables -I INPUT -s %IP%/24 -p tcp --dport 28 -j ACCEPT
`

// TestKnockdAfter looks at what comes after the knocks: who else is let in, and
// when it ends.
func TestKnockdAfter(t *testing.T) {
	t.Parallel()
	b := newBoth(t, "closing", closing)
	in := func(d *knockd.Door, service uint16) netip.Addr {
		t.Helper()
		src := b.source(false)
		k, r := b.run(knocks(src, d.Ports()...), src, d.Name, port.Port{Proto: port.TCP, Number: service})
		if !k || !r {
			t.Fatalf("[%s]: knockd %v, tirl %v", d.Name, k, r)
		}
		return src
	}
	reach := func(what string, src netip.Addr, service uint16, knockd, tirl bool) {
		t.Helper()
		to := port.Port{Proto: port.TCP, Number: service}
		k, r := b.knockd.reaches(t, src, to), b.tirl.reaches(t, src, to)
		if k != knockd || r != tirl {
			t.Errorf("%s: knockd %v, tirl %v, and it should be %v and %v", what, k, r, knockd, tirl)
		}
	}
	ends := func(s *side, src netip.Addr, service uint16) bool {
		t.Helper()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if !s.reaches(t, src, port.Port{Proto: port.TCP, Number: service}) {
				return true
			}
		}
		return false
	}

	// Whoever shares a network with the client.
	in(b.door("everybody"), 27)
	reach("everybody", b.source(false), 27, true, false)
	src := in(b.door("network"), 28)
	reach("the next address", src.Next(), 28, true, false)

	// A door that only closes has no door in tirl: there it closes by itself.
	src = in(b.door("open"), 26)
	b.play(knocks(src, b.door("close").Ports()...))
	if !ends(b.knockd, src, 26) {
		t.Error("closed by a knock: it is open in knockd")
	}
	reach("closed by a knock", src, 26, false, true)
	// Opened twice and closed once.
	src = in(b.door("open"), 26)
	b.play(knocks(src, b.door("open").Ports()...))
	b.twoRules(src)
	b.play(knocks(src, b.door("close").Ports()...))
	time.Sleep(300 * time.Millisecond)
	reach("opened twice, closed once", src, 26, true, true)

	// By time, in one way or another. That the script does not close is what the
	// importer says of it.
	var all []netip.Addr
	for i, name := range []string{"timed", "sleeps", "script", "negative"} {
		service := uint16(22 + []int{0, 3, 1, 2}[i])
		src := in(b.door(name), service)
		all = append(all, src)
		if closes := name == "timed" || name == "sleeps"; closes && !ends(b.knockd, src, service) {
			t.Errorf("[%s] does not close in knockd", name)
		}
		if name != "negative" && !ends(b.tirl, src, service) {
			t.Errorf("[%s] does not close in tirl", name)
		}
	}
	time.Sleep(1500 * time.Millisecond)
	reach("timed", all[0], 22, false, false)
	reach("sleeps", all[1], 25, false, false)
	reach("the script", all[2], 23, true, false)
	reach("a negative time", all[3], 24, true, true) // 30 s in tirl, for ever in knockd
}

// twoRules waits until knockd's command has added a second rule.
func (b *both) twoRules(src netip.Addr) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := b.knockd.pair.Server.Run(b.Context(), "", "iptables", "-S", "INPUT")
		if err != nil {
			b.Fatal(err)
		}
		if strings.Count(out, src.String()+"/32") == 2 {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("there are not two rules for %s:\n%s", src, out)
		}
	}
}
