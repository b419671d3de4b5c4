package scenario

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// aFirewall lets in SSH and what it answers, and nothing else over IPv4.
const aFirewall = `table inet mine {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		meta l4proto ipv6-icmp accept
		tcp dport { 22, 80 } accept
		udp dport 123 accept
	}
}
`

// TestInit: an administrator comes in by SSH, types tirl init, and loads what it
// wrote beside the firewall that is there.
func TestInit(t *testing.T) {
	labtest.Require(t)
	w := newWorld(t, build(t), 1)
	w.must(w.Server, aFirewall, "nft", "-f", "-")
	err := w.Server.Do(func() error {
		l, err := net.ListenPacket("udp", "[::]:123")
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, "etc", "first.toml")
	over := func(args ...string) (string, error) {
		return w.run(w.Client, "", "ssh", "-F", "/dev/null", "-i", w.key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@"+lab.Server4().String(),
			"exec 2>&1; env PATH="+os.Getenv("PATH")+":/usr/sbin "+w.tirl+" "+strings.Join(args, " "))
	}
	// Standard output is what a client needs.
	log := filepath.Join(w.dir, "init.log")
	entry, err := over("init", "-c", file, "--name", "srv", "2>"+log)
	if err != nil {
		t.Fatal(entry, err)
	}
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	out := string(said)
	for _, want := range []string{
		"tirl: found the nftables chain inet mine input on this host\n",
		"tirl: wrote " + file + ": door ssh hides tcp/22\n",
		"The file suggests " + lab.Client4(0).String() + "\n",
		"sudo tirl apply -c " + file + "\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("init does not say %q but\n%s", want, out)
		}
	}
	// But that this server's address is a private one.
	if strings.Count(out, "warning") != 1 || !strings.Contains(out, "warning: "+lab.Server4().String()+" is a private address") {
		t.Errorf("init warns:\n%s", out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Base(os.Args[0])
	self = self[:min(15, len(self))] // as the kernel keeps it
	for _, want := range []string{`  "udp/123", # ` + self + "\n", `  # "` + lab.Client4(0).String() + `", # `} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the policy does not have %q but\n%s", want, text)
		}
	}
	if out := w.must(w.Server, "", w.tirl, "check", file); !strings.Contains(out, "ok (guard mode, nftables, no warnings)") {
		t.Errorf("check says\n%s", out)
	}
	if out, err := over("init", "-c", file); err == nil || !strings.Contains(out, "there is a policy already") {
		t.Errorf("a second init: %s%v", out, err)
	}

	if out, err := over("--root", w.dir, "apply", "-c", file); err != nil {
		t.Fatal(out, err)
	}
	if w.open(lab.Client4(0), lab.Server4(), 22) {
		t.Error("SSH is not hidden")
	}
	hosts := filepath.Join(w.dir, "hosts.toml")
	if err := os.WriteFile(hosts, []byte(entry), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must(w.Client, "", w.tirl, "knock", "--hosts", hosts, "srv", "ssh")
	if err := w.ssh(lab.Server4()); err != nil {
		t.Errorf("after the knocks: %v", err)
	}
	// That was the proof; what is loaded stays.
	w.eventually("it is confirmed", func() bool {
		out, err := w.run(w.Server, "", w.tirl, "--root", w.dir, "status")
		return err == nil && strings.Contains(out, "confirmed:")
	})

	// As a firewall of its own: what everybody reached is still there for everybody.
	second := filepath.Join(w.dir, "second.toml")
	w.must(w.Server, "", w.tirl, "init", "-c", second, "--mode", "firewall", "--opens", "tcp/22", "--proto", "mixed")
	w.must(w.Server, "", w.tirl, "--root", w.dir, "apply", "--no-confirm", "-c", second)
	if !w.open(lab.Client4(0), lab.Server4(), 80) {
		t.Error("firewall mode closes what was open to all")
	}
	if out := w.must(w.Server, "", w.tirl, "check", second); !strings.Contains(out, "no warnings)") {
		t.Errorf("check says\n%s", out)
	}
	w.must(w.Server, "", w.tirl, "--root", w.dir, "remove")
}
