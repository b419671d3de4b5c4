package neighbours

import (
	"strings"
	"testing"
)

// TestSnapshot makes sure that a snapshot shows what it is for: each small change
// of other people's rules, and none of tirl's.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	each(t, func(s *site) {
		f := s.sh
		f(`nft add table inet mine; nft add chain inet mine c "{ type filter hook input priority 0; }"
for i in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do $i -w -A INPUT -p tcp --dport 99 -j ACCEPT; $i -w -t mangle -N MINE; done`)
		before := s.snapshot()
		s.apply()
		s.same("apply", before)
		for _, change := range []string{
			"nft add rule inet mine c tcp dport 1 accept",
			"nft add table ip yours",
			"iptables-nft -w -A INPUT -p udp -j DROP",
			"ip6tables-legacy -w -t mangle -A MINE -j RETURN",
			"iptables-legacy -w -P FORWARD DROP",
			"ip6tables-nft -w -t mangle -N YOURS",
		} {
			f(change)
			now := s.snapshot()
			if now == before || strings.Contains(now, "tirl") {
				s.Errorf("%s: the snapshot is\n%s", change, now)
			}
			before = now
		}
		s.tirl(0, "remove")
		s.same("remove", before)
	})
}
