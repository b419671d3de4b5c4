package neighbours

import (
	"os"
	"strings"
	"testing"

	"tirl/internal/lab"
)

// TestDebianNftables reloads the nftables.conf that Debian installs.
func TestDebianNftables(t *testing.T) {
	t.Parallel()
	each(t, func(s *site) {
		text, err := os.ReadFile("testdata/nftables.conf")
		if err != nil {
			s.Fatal(err)
		}
		conf := s.write("etc/nftables.conf", string(text))
		s.sh(`nft -f "$1"`, conf)
		s.lives(0)
		s.apply()
		if s.finds("flush-on-reload") {
			s.Error("doctor warns of a service that is not enabled")
		}
		s.sh(`mkdir -p "$1" && ln -s /lib/systemd/system/nftables.service "$1"`, s.root+"/etc/systemd/system/sysinit.target.wants")
		hint := s.hint("flush-on-reload")

		s.sh(`nft -f "$1"`, conf) // what ExecReload of nftables.service does
		if s.variant.name == "iptables-legacy" {
			s.tirl(0, "status") // nft does not know these rules
		} else {
			out := s.tirl(3, "status")
			if !strings.Contains(out, "somebody has removed the rules") || !strings.Contains(out, "sudo tirl apply") {
				s.Errorf("status says %s", out)
			}
			if !s.finds("not-loaded") {
				s.Errorf("doctor finds %v", s.findings())
			}
			s.wantOpen(2, ssh(lab.Server4())) // the doors are open, and status said so
			s.apply()
		}
		s.tirl(0, "status")
		s.wantClosed(3, ssh(lab.Server4()))
		s.knock(3, lab.Server4())
		s.wantOpen(3, ssh(lab.Server4()))

		// The hint makes the reload replace the file's own tables only.
		s.sh(strings.ReplaceAll(hint, "/etc/nftables.conf", conf))
		for range 2 {
			s.sh(`nft -f "$1"`, conf)
		}
		if n := strings.Count(s.sh("nft list table inet filter"), "type filter"); n != 3 {
			s.Errorf("the file's table has %d chains", n)
		}
		s.tirl(0, "status")
		s.wantOpen(3, ssh(lab.Server4()))
		if s.finds("flush-on-reload") {
			s.Error("doctor still warns of the reload")
		}
	})
}

// TestPlain has a firewall written by hand, with nft and with iptables, that
// drops what it does not know.
func TestPlain(t *testing.T) {
	t.Parallel()
	for _, plain := range []struct{ name, rules string }{
		{"nft", `nft -f - <<'END'
table inet mine {
	set allowed { type inet_service; elements = { 80, 443 }; }
	chain input {
		type filter hook input priority filter; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		iif lo accept
		meta l4proto { icmp, ipv6-icmp } accept
		tcp dport @allowed accept
	}
}
END`},
		{"iptables", `for i in iptables ip6tables; do
	$i -w -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
	$i -w -A INPUT -i lo -j ACCEPT
	$i -w -A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT
	$i -w -A INPUT -p ipv6-icmp -j ACCEPT
	$i -w -P INPUT DROP
done`},
	} {
		t.Run(plain.name, func(t *testing.T) {
			each(t, func(s *site) {
				s.sh(plain.rules)
				s.apply()
				s.knock(0, lab.Server4())
				s.wantClosed(0, ssh(lab.Server4()))
				s.sh(s.hint("blocked"))
				s.tirl(0, "remove")
				s.lives(1)
			})
		})
	}
}
