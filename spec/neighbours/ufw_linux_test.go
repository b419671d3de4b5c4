package neighbours

import (
	"os/exec"
	"strings"
	"testing"

	"tirl/internal/lab"
)

// ufwMounts gives ufw(8) configuration files of its own: it has no option for
// that. The mounts end with the shell.
const ufwMounts = `
mount --make-rprivate /
mount --bind "$1/ufw" /etc/ufw
mount --bind "$1/default" /etc/default
shift
exec ufw "$@"`

// ufw runs ufw on the server.
func (s *site) ufw(args ...string) string {
	s.Helper()
	cmd := s.command("unshare", append([]string{"-m", "sh", "-euc", ufwMounts, "sh", s.root + "/etc"}, args...)...)
	out, code := s.run(s.Server, cmd)
	if code != 0 {
		s.Fatalf("ufw %s: %s", strings.Join(args, " "), out)
	}
	return out
}

// TestUfw lives with ufw, of Debian, with its default to deny. It uses the host's
// iptables, which is iptables-nft.
func TestUfw(t *testing.T) {
	t.Parallel()
	each(t, func(s *site) {
		if s.variant.name == "iptables-legacy" {
			return // ufw runs /usr/sbin/iptables, which is iptables-nft
		}
		if _, err := exec.LookPath("/usr/sbin/ufw"); err != nil {
			s.Fatal("ufw is not installed: apt-get install ufw")
		}
		s.sh(`mkdir -p "$1/etc" && cp -a /etc/ufw /etc/default "$1/etc/" && cp /usr/share/ufw/iptables/user*.rules "$1/etc/ufw/"`, s.root)
		s.ufw("--force", "enable")
		// A first policy comes with what ufw has to be told.
		cmd := s.command("/proc/self/exe", "init", "-c", s.root+"/first.toml", "--opens", "tcp/22")
		cmd.Env = append(cmd.Env, asTirl+"=1")
		out, code := s.run(s.Server, cmd)
		if code != 0 || !strings.Contains(out, "found ufw on this host\n") || !strings.Contains(out, "hint: sudo ufw allow 22/tcp\n") {
			s.Errorf("init ends with %d and says\n%s", code, out)
		}
		s.ufw("allow", "22/tcp")
		s.lives(0)

		s.apply()
		s.ufw("reload")
		s.tirl(0, "status")
		s.wantClosed(2, ssh(lab.Server4()))

		// What ufw closes, no knock opens; doctor says why, and what it says helps.
		s.ufw("delete", "allow", "22/tcp")
		s.knock(3, lab.Server4())
		s.wantClosed(3, ssh(lab.Server4()))
		hint := s.hint("blocked")
		if hint != "ufw allow 22/tcp" {
			s.Errorf("the hint is %q", hint)
		}
		s.ufw(strings.Fields(hint)[1:]...)
		s.knock(4, lab.Server4())
		s.wantOpen(4, ssh(lab.Server4()))
		if s.finds("blocked") {
			s.Error("doctor still sees an obstacle")
		}

		// Only some: a note, no finding.
		s.ufw("delete", "allow", "22/tcp")
		s.ufw("allow", "from", lab.Client4(5).String(), "to", "any", "port", "22", "proto", "tcp")
		s.knock(5, lab.Server4())
		s.wantOpen(5, ssh(lab.Server4()))
		if !s.finds("some-only") {
			s.Errorf("doctor finds %v", s.findings())
		}
		s.tirl(0, "remove")
	})
}
