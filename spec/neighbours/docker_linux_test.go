package neighbours

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tirl/internal/lab"
)

// container is a third namespace behind the server's bridge docker0, as Docker
// makes one, with a service on tcp/22 that is published as tcp/2222.
func (s *site) container() netip.AddrPort {
	s.Helper()
	n, err := lab.NewNamespace()
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { n.Close() })
	// A namespace without a name is found by a process in it.
	inside := s.command("sleep", "300")
	if err := n.Start(inside); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = inside.Process.Kill()
		_ = inside.Wait()
	})
	s.sh(`
ip link add docker0 type bridge
ip addr add 172.17.0.1/16 dev docker0
ip link set docker0 up
ip link add veth0 type veth peer name eth0 netns "$1"
ip link set veth0 master docker0 up
echo 1 > /proc/sys/net/ipv4/ip_forward`, fmt.Sprint(inside.Process.Pid))
	cmd := s.command("sh", "-euc", "ip link set lo up; ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1")
	if out, code := s.run(n, cmd); code != 0 {
		s.Fatal(out)
	}
	s.serve(n, 22)
	s.load("docker.rules", "iptables-restore", "--noflush")
	return netip.MustParseAddrPort("172.17.0.2:22")
}

// TestDocker hides a port that Docker publishes.
func TestDocker(t *testing.T) {
	t.Parallel()
	each(t, func(s *site) {
		direct := s.container()
		published := netip.AddrPortFrom(lab.Server4(), 2222)
		s.policy("", "tcp/2222")
		for deadline := time.Now().Add(5 * time.Second); !s.connects(0, published); {
			if time.Now().After(deadline) {
				s.Fatal("the published port does not work without tirl")
			}
		}
		before := s.snapshot()
		s.apply()
		s.same("apply", before)
		s.wantClosed(1, published)
		s.knock(1, lab.Server4())
		s.wantOpen(1, published)
		s.wantClosed(2, published)

		// Who routes to the container's own address goes around; doctor tells, and
		// its hint closes that way, and only that.
		if out, code := s.run(s.Client, s.command("ip", "route", "add", "172.17.0.0/16", "via", lab.Server4().String())); code != 0 {
			s.Fatal(out)
		}
		s.wantOpen(3, direct)
		for _, f := range s.findings() {
			if f.ID == "blocked" || f.ID == "no-listener" {
				s.Errorf("doctor finds %v", f)
			}
		}
		s.sh(s.hint("published"))
		s.wantClosed(4, direct)
		s.knock(5, lab.Server4())
		s.wantOpen(5, published)
		if s.finds("published") {
			s.Error("doctor still sees a way around")
		}
		s.tirl(0, "remove")
		s.wantOpen(6, published)

		// Firewall mode is an input firewall: doctor says what it leaves open.
		s.policy("mode = \"firewall\"", "tcp/2222")
		s.apply()
		s.wantOpen(7, published)
		if hint := s.hint("published"); hint != `set mode = "guard" in the policy, and: tirl apply` {
			s.Errorf("the hint is %q", hint)
		}
		s.policy("mode = \"firewall\"", "tcp/22")
		s.apply()
		if !s.finds("forwarded") {
			s.Errorf("doctor finds %v", s.findings())
		}
		s.tirl(0, "remove")
	})
}
