package neighbours

import (
	"testing"

	"tirl/internal/lab"
)

// TestFail2ban bans behind a door, with both of fail2ban's actions.
func TestFail2ban(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"nft", "iptables"} {
		t.Run(action, func(t *testing.T) {
			each(t, func(s *site) {
				f2b := func(args ...string) {
					s.Helper()
					s.sh(`. ./testdata/fail2ban-`+action+`.sh`, args...)
				}
				f2b("start")
				f2b("ban", lab.Client4(9).String())
				s.lives(0)

				// fail2ban's stop and start, and tirl's apply, do not mind each other.
				banned, other := 9, 2
				server := lab.Server4()
				s.apply()
				f2b("stop")
				f2b("start")
				s.tirl(0, "status")
				f2b("ban", lab.Client4(banned).String())
				s.knock(banned, server)
				s.wantClosed(banned, ssh(server)) // the ban holds
				s.knock(other, server)
				s.wantOpen(other, ssh(server))
				s.apply()
				s.wantClosed(banned, ssh(server))
				f2b("unban", lab.Client4(banned).String())
				s.wantOpen(banned, ssh(server)) // the door has been open
				if s.finds("blocked") || s.finds("some-only") {
					s.Errorf("doctor finds %v", s.findings())
				}
				f2b("stop")
				s.tirl(0, "remove")
			})
		})
	}
}
