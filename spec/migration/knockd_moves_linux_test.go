package migration

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/automaton"
	"tirl/internal/backend/nftables"
	"tirl/internal/knockd"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// TestKnockdMoves changes a host over from knockd to tirl, as docs/from-knockd.md
// says: at each step whoever knocks gets in, and nobody else.
func TestKnockdMoves(t *testing.T) {
	t.Parallel()
	const conf = `[ssh]
sequence      = 7003:udp,7001,7002
tcpflags      = syn
start_command = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
cmd_timeout   = 60
stop_command  = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
`
	s := newSide(t)
	run := func(script string) {
		t.Helper()
		if out, err := s.pair.Server.Run(t.Context(), script, "sh"); err != nil {
			t.Fatal(out, err)
		}
	}
	d := start(t, s.pair.Server, conf)
	c, found := knockd.Parse("knockd.conf", []byte(conf))
	if c == nil {
		t.Fatal(found)
	}
	ssh := port.Port{Proto: port.TCP, Number: 22}
	next := 0
	check := func(when string) {
		t.Helper()
		stranger, friend := lab.Forged4(next), lab.Forged4(next+1)
		next += 2
		if s.reaches(t, friend, ssh) {
			t.Errorf("%s: it is open before the knock", when)
		}
		opens := func(src netip.Addr) bool {
			for deadline := time.Now().Add(patience / 2); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				if s.reaches(t, src, ssh) {
					return true
				}
			}
			return false
		}
		if err := s.send(t.Context(), knocks(friend, c.Doors[0].Ports()...)...); err != nil {
			t.Fatal(err)
		}
		if !opens(friend) {
			t.Errorf("%s: the knock does not open", when)
		}
		if s.reaches(t, stranger, ssh) {
			t.Errorf("%s: it is open to another", when)
		}
	}
	check("knockd alone")
	g, err := automaton.Compile(imported("knockd.conf", c).Policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := nftables.New(s.pair.Server).Load(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	check("knockd and tirl")
	run("iptables -I INPUT -p tcp --dport 22 -j ACCEPT")
	check("the firewall lets it through")
	if err := unix.Kill(d.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	check("tirl alone")
}
