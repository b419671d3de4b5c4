package neighbours

import (
	"os/exec"
	"testing"
	"time"

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

// firewalldRun gives firewalld a system bus of its own and a copy of its
// configuration, in process and mount namespaces that end with this program.
const firewalldRun = `
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/dbus
mount --bind "$1/etc/firewalld" /etc/firewalld
dbus-daemon --system --nofork --nopidfile --address="$DBUS_SYSTEM_BUS_ADDRESS" 2>/dev/null &
while [ ! -e "$1/bus" ]; do sleep 0.1; done
firewalld --nofork --nopid --log-target=console
`

// TestFirewalld runs firewalld itself, where it is installed.
func TestFirewalld(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("/usr/sbin/firewalld"); err != nil {
		t.Skip("firewalld is not installed; TestFirewalldRules has its rules")
	}
	each(t, func(s *site) {
		if s.variant.name == "iptables-legacy" {
			return // firewalld runs /usr/sbin/iptables, which is iptables-nft
		}
		bus := "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + s.root + "/bus"
		s.sh(`mkdir -p "$1/etc" && cp -a /etc/firewalld "$1/etc/"`, s.root)
		daemon := s.command("unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-euc", firewalldRun, "sh", s.root)
		daemon.Env = append(daemon.Env, bus)
		if err := s.Server.Start(daemon); err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() {
			_ = daemon.Process.Kill()
			_ = daemon.Wait()
		})
		try := func(args ...string) (string, bool) {
			cmd := s.command("firewall-cmd", args...)
			cmd.Env = append(cmd.Env, bus)
			out, code := s.run(s.Server, cmd)
			return out, code == 0
		}
		firewallCmd := func(args ...string) {
			s.Helper()
			if out, ok := try(args...); !ok {
				s.Fatalf("firewall-cmd %v: %s", args, out)
			}
		}
		deadline := time.Now().Add(30 * time.Second)
		for ok := false; !ok; time.Sleep(200 * time.Millisecond) {
			if _, ok = try("--state"); !ok && time.Now().After(deadline) {
				s.Fatal("firewalld does not start")
			}
		}
		firewallCmd("--add-service=ssh")
		s.lives(0)

		s.apply()
		if got, want := s.finds("firewalld-flush"), s.backend == "iptables"; got != want {
			s.Errorf("doctor warns of firewalld's reload: %v, want %v", got, want)
		}
		reload := func() {
			s.Helper()
			firewallCmd("--reload")
			if s.variant.name == "iptables-nft" {
				// FlushAllOnReload, its default, flushes all rules of iptables too.
				s.tirl(3, "status")
				s.apply()
			}
			s.tirl(0, "status")
		}
		firewallCmd("--permanent", "--remove-service=ssh")
		reload()
		s.knock(2, lab.Server4())
		s.wantClosed(2, ssh(lab.Server4()))
		if hint := s.hint("blocked"); hint != "firewall-cmd --permanent --add-port=22/tcp && firewall-cmd --reload" {
			s.Errorf("the hint is %q", hint)
		}
		firewallCmd("--permanent", "--add-port=22/tcp")
		reload()
		s.knock(2, lab.Server4())
		s.wantOpen(2, ssh(lab.Server4()))
		s.wantClosed(3, ssh(lab.Server4()))
		s.tirl(0, "remove")
	})
}
