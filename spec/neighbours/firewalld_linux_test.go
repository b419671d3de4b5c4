package neighbours

import (
	"testing"

	"tirl/internal/lab"
)

// TestFirewalldRules lives with the rules of firewalld's nftables backend. They
// are recorded, so that the tests need not install firewalld, whose package
// would start it at the next boot of the machine.
func TestFirewalldRules(t *testing.T) {
	t.Parallel()
	each(t, func(s *site) {
		s.load("firewalld.nft", "nft", "-f", "-")
		s.lives(0)

		// A reload is one transaction on firewalld's own table.
		s.apply()
		s.sh("nft delete table inet firewalld")
		s.load("firewalld.nft", "nft", "-f", "-")
		s.tirl(0, "status")
		s.knock(2, lab.Server4())
		s.wantOpen(2, ssh(lab.Server4()))

		// firewall-cmd --remove-service=ssh
		s.sh("nft flush chain inet firewalld filter_IN_public_allow")
		s.knock(3, lab.Server4())
		s.wantClosed(3, ssh(lab.Server4()))
		if hint := s.hint("blocked"); hint != "firewall-cmd --permanent --add-port=22/tcp && firewall-cmd --reload" {
			s.Errorf("the hint is %q", hint)
		}
		// What that command comes to.
		s.sh("nft add rule inet firewalld filter_IN_public_allow tcp dport 22 accept")
		s.wantOpen(3, ssh(lab.Server4()))
		if s.finds("blocked") {
			s.Errorf("doctor finds %v", s.findings())
		}
		s.tirl(0, "remove")
	})
}
