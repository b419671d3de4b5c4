package dist_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"tirl/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

const (
	firstVersion  = "1.0"
	secondVersion = "1.1"
)

// release builds this system's program and packages, from the source in tree.
func release(t *testing.T, tree string, shell string, env ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("sh", "-c", shell+"; exec sh scripts/dist "+out)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "VERSION="+firstVersion, "SOURCE_DATE_EPOCH=1767225600", "TARGETS=linux/"+runtime.GOARCH)
	cmd.Env = append(cmd.Env, env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/dist: %v\n%s", err, text)
	}
	return out
}

// file gives the only file of a kind in a directory.
func file(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s in %s: %q, %v", pattern, dir, names, err)
	}
	return names[0]
}

// copyTree copies what git knows, or would know.
func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	cmd := exec.Command("sh", "-c", `git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$0"`, to)
	cmd.Dir = from
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no git tree to copy: %v\n%s", err, text)
	}
	return to
}

// The same source makes the same bytes, whoever builds it, where, and when; and
// what it makes is a package.
func TestPackages(t *testing.T) {
	t.Parallel()
	tree, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	out := release(t, tree, "umask 022")
	t.Run("again", func(t *testing.T) {
		t.Parallel()
		again := release(t, copyTree(t, tree), "umask 077", "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "USER=somebody", "GOAMD64=v2", "GOFLAGS=-race")
		var sums []string
		for _, dir := range []string{out, again} {
			text, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
			if err != nil {
				t.Fatal(err)
			}
			sums = append(sums, string(text))
		}
		if sums[0] != sums[1] {
			t.Errorf("first\n%sthen\n%s", sums[0], sums[1])
		}
		if n := strings.Count(sums[0], "\n"); n != 4 {
			t.Errorf("%d files, not 4:\n%s", n, sums[0])
		}
	})
	t.Run("program", func(t *testing.T) {
		text, err := os.ReadFile(file(t, out, "tirl-*-linux-"+runtime.GOARCH))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{tree, "/lib64/ld-linux", "/lib/ld-linux"} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("the program contains %s", secret)
			}
		}
	})
	t.Run("lintian", func(t *testing.T) {
		t.Parallel()
		need(t, "lintian")
		text, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0",
			file(t, out, "*.deb")).CombinedOutput()
		if err != nil {
			t.Errorf("lintian: %v\n%s", err, text)
		}
	})
	t.Run("deb", func(t *testing.T) {
		t.Parallel()
		testDeb(t, file(t, out, "*.deb"))
	})
	t.Run("rpm", func(t *testing.T) {
		t.Parallel()
		need(t, "rpm")
		testRPM(t, file(t, out, "*.rpm"))
	})
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}

// later makes a package of another version out of one.
func later(t *testing.T, deb string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "later.deb")
	script := `dpkg-deb -R "$1" tree && sed -i 's/^Version: .*/Version: '"$2"'/' tree/DEBIAN/control && dpkg-deb -Zgzip -z1 -b tree "$3"`
	cmd := exec.Command("sh", "-c", script, "sh", deb, secondVersion, to)
	cmd.Dir = t.TempDir()
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return to
}

// host is a machine that packages come and go on.
type host struct {
	*labtest.Machine
	t *testing.T
}

func newHost(t *testing.T, packages ...string) *host {
	t.Helper()
	h := &host{labtest.NewMachine(t), t}
	for i, name := range packages {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(fmt.Sprintf("%s/run/tirl_%d_amd64.deb", h.Root, i), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	h.Boot()
	// Images of containers leave manuals out.
	h.sh("printf 'path-include=*\nforce-unsafe-io\n' >/etc/dpkg/dpkg.cfg.d/zz-test")
	// What this test finds has to be the package's. The index of all manuals takes minutes.
	h.Do("rm", "-f", "/usr/local/sbin/tirl", "/usr/local/bin/tirl", "/var/lib/man-db/auto-update")
	return h
}

// sh runs a line of shell, whose standard input is empty, and gives all that it prints.
func (h *host) sh(line string) string {
	h.t.Helper()
	return h.Do("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", "("+line+") 2>&1 </dev/null")
}

// says checks that a line prints something.
func (h *host) says(line, want string) {
	h.t.Helper()
	if got := h.sh(line); !strings.Contains(got, want) {
		h.t.Errorf("%s says %q, not %q", line, got, want)
	}
}

// files lists what is where packages and administrators put things.
func (h *host) files() []string {
	h.t.Helper()
	return strings.Split(h.sh(`find /etc /usr /var -xdev ! -type d ! -path '/var/lib/dpkg/*' ! -path '/var/log/*' ! -path '/var/cache/*' \
		! -path '/var/lib/rpm/*' ! -path '/var/lib/systemd/*' ! -path '/etc/.pwd.lock' | sort;
		find / -xdev -name '*tirl*' ! -path '/run/*' ! -path '/tmp/*' ! -path '/proc/*' | grep -E '^/(etc|usr|var)/' | sort`), "\n")
}

// asleep checks that the package has enabled, started and loaded nothing.
func (h *host) asleep() {
	h.t.Helper()
	h.Is("tirl.service", "inactive")
	h.Is("tirl-heal.timer", "inactive")
	h.says("systemctl is-enabled tirl.service tirl-heal.timer; true", "disabled\ndisabled")
	if text := h.sh("nft list tables | grep tirl; ls /var/lib/tirl /run/tirl 2>/dev/null; find /etc/systemd /run/systemd -name '*tirl*'; true"); text != "" {
		h.t.Errorf("not asleep: %s", text)
	}
	h.says("tirl status >/dev/null; echo $?", "3")
}

// guard does what an administrator does after the installation.
func (h *host) guard() {
	h.t.Helper()
	h.sh("tirl init --opens tcp/22 && tirl apply --no-confirm && tirl install --heal && tirl grant 192.0.2.7 ssh")
	h.Is("tirl.service", "active")
	h.Is("tirl-heal.timer", "active")
	h.says("nft list tables", "table inet tirl")
}

// firstSteps are the commands that the README tells a newcomer.
func firstSteps(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(text), "\n## First steps\n")
	_, part, _ = strings.Cut(part, "\n```sh\n")
	part, _, _ = strings.Cut(part, "\n```\n")
	var steps []string
	for line := range strings.Lines(part) {
		line, _, _ = strings.Cut(line, " #")
		steps = append(steps, strings.TrimPrefix(strings.TrimSpace(line), "sudo "))
	}
	if len(steps) < 4 || !strings.HasPrefix(steps[0], "dpkg -i ") {
		t.Fatalf("the first steps: %q", steps)
	}
	return steps
}

// newcomer follows the README from an installed package to a hidden SSH, and comes
// in as a client from another network namespace.
func (h *host) newcomer(steps []string) {
	h.t.Helper()
	const client = "ip netns exec client "
	h.sh(`ip netns add client && ip link add lan type veth peer name lan netns client &&
		ip addr add 198.51.100.1/24 dev lan && ip link set lan up && ip -n client addr add 198.51.100.2/24 dev lan && ip -n client link set lan up`)
	h.sh("ssh-keygen -A; mkdir -p /run/sshd && /usr/sbin/sshd")
	h.says(client+"nc -z -w 2 198.51.100.1 22 && echo open", "open")
	for _, line := range steps {
		h.sh(line)
	}
	h.says(client+"nc -z -w 1 198.51.100.1 22 || echo closed", "closed")
	h.sh("umask 077; tirl export --address 198.51.100.1 --name server ssh >/run/hosts.toml")
	h.says(client+"tirl knock --hosts /run/hosts.toml server --verify tcp/22", "tcp/22 is open")
	if n := 1 + len(steps) + 2; n >= 10 { // dpkg -i; export and knock
		h.t.Errorf("it took %d commands", n)
	}
}

// rules are those in the kernel, and who a door is open to by grant. Elements that come
// and go by themselves are left out.
func (h *host) rules() string {
	h.t.Helper()
	return h.sh("nft -s -t list table inet tirl; nft list table inet tirl | grep -o '192\\.0\\.2\\.7'; true")
}

// restored checks that the host has nothing of tirl but its policy.
func (h *host) restored() {
	h.t.Helper()
	got := h.sh("nft list tables | grep tirl; find /etc /run/systemd /var/lib/tirl /run/tirl -name '*tirl*' 2>/dev/null; true")
	if got != "/etc/tirl" {
		h.t.Errorf("left: %s", got)
	}
}

func testDeb(t *testing.T, first string) {
	h := newHost(t, first, later(t, first))
	before := h.files()

	steps := firstSteps(t)
	h.sh("mv /run/tirl_1_amd64.deb /run/later.deb; cd /run && " + steps[0])
	h.asleep()
	h.says("tirl version", "tirl "+firstVersion+" ")
	h.says("stat -c %a /etc/tirl/policy.toml", "600")
	h.says("tirl check; echo $?", "the policy has no door")
	h.says("tirl check; echo $?", "\n4")
	h.says("tirl apply --no-confirm; echo $?", "\n4")
	for _, page := range []string{"man8/tirl.8", "man5/tirl-policy.5", "man1/tirl-knock.1", "man1/tirl-connect.1"} {
		h.sh("gzip -t /usr/share/man/" + page + ".gz")
	}
	h.sh("bash -n /usr/share/bash-completion/completions/tirl")

	h.newcomer(steps[1:])
	h.sh("tirl install --heal && tirl grant 192.0.2.7 ssh")
	h.Is("tirl.service", "active")
	h.Is("tirl-heal.timer", "active")
	policy, rules := h.sh("cat /etc/tirl/policy.toml"), h.rules()
	if !strings.Contains(rules, "192.0.2.7") {
		t.Errorf("nobody is let in: %s", rules)
	}

	// An upgrade asks nothing and changes nothing that is in force.
	h.sh("dpkg -i /run/later.deb")
	h.says("dpkg-query -W tirl", secondVersion)
	h.Is("tirl.service", "active")
	h.Is("tirl-heal.timer", "active")
	if got := h.sh("cat /etc/tirl/policy.toml"); got != policy {
		t.Errorf("the upgrade has changed the policy to\n%s", got)
	}
	if got := h.rules(); got != rules {
		t.Errorf("the upgrade has changed the rules from\n%s\nto\n%s", rules, got)
	}

	// What cannot be opened stays shut, and the program stays.
	h.sh("mv /usr/sbin/nft /usr/sbin/nft.kept && printf '#!/bin/sh\nexit 1\n' >/usr/sbin/nft && chmod 755 /usr/sbin/nft")
	h.says("dpkg -r tirl; echo $?", "the rules cannot be taken out")
	h.sh("mv /usr/sbin/nft.kept /usr/sbin/nft")
	h.says("dpkg-query -W -f '${Status}' tirl", "install ok installed")
	if got := h.rules(); got != rules {
		t.Errorf("a removal that failed has changed the rules to\n%s", got)
	}

	if said := h.sh("dpkg -r tirl"); !strings.Contains(said, "the doors are open") {
		t.Errorf("dpkg -r does not tell that the doors open: %s", said)
	}
	h.restored()
	if got := h.sh("cat /etc/tirl/policy.toml"); got != policy {
		t.Errorf("the removal has changed the policy to\n%s", got)
	}

	// Back again it is asleep, and has the policy that it had.
	h.sh("dpkg -i /run/tirl_0_amd64.deb")
	h.asleep()
	h.says("tirl check", "policy.toml: ok (")

	// In a chroot the rules are the host's.
	h.sh("tirl apply --no-confirm && mv /var/lib/tirl /var/lib/other")
	h.sh("dpkg -r tirl")
	h.says("nft list tables", "table inet tirl")
	h.sh("dpkg -i /run/tirl_0_amd64.deb && mv /var/lib/other /var/lib/tirl")

	h.sh("dpkg --purge tirl")
	h.says("nft list table inet tirl; true", "No such file")
	h.says("ls -d /etc/tirl /var/lib/tirl /run/tirl /usr/lib/tirl; true", "cannot access '/etc/tirl'")
	if after := h.files(); !slices.Equal(before, after) {
		t.Errorf("the files before are not those after:\n%s", difference(before, after))
	}

	// A policy that was there first, as in the recipe for cloud-init, stays.
	h.sh("mkdir /etc/tirl && echo '# mine' >/etc/tirl/policy.toml && dpkg --force-confold -i /run/tirl_0_amd64.deb")
	h.says("cat /etc/tirl/policy.toml", "# mine")
}

func difference(before, after []string) string {
	var b strings.Builder
	for _, name := range before {
		if !slices.Contains(after, name) {
			fmt.Fprintf(&b, "- %s\n", name)
		}
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			fmt.Fprintf(&b, "+ %s\n", name)
		}
	}
	return b.String()
}

func testRPM(t *testing.T, name string) {
	h := newHost(t, name)
	before := h.files()
	// This system's own database of packages is dpkg's; so nothing is there that it could need.
	rpm := "rpm --nodeps "
	if strings.Contains(h.sh("rpm --help; true"), "force-debian") {
		rpm += "--force-debian "
	}
	h.sh(rpm + "-i /run/tirl_0_amd64.deb")
	h.asleep()
	h.says("stat -c %a /etc/tirl/policy.toml", "600")
	h.says("tirl check; echo $?", "the policy has no door")

	h.guard()
	rules := h.rules()
	h.sh(rpm + "-U --replacepkgs /run/tirl_0_amd64.deb")
	// What rpm tells the scripts of the older package in an upgrade: 1 is left.
	h.sh("rpm -q --qf '%{PREUN}' tirl >/run/preun && sh /run/preun 1")
	if got := h.rules(); got != rules {
		t.Errorf("the upgrade has changed the rules from\n%s\nto\n%s", rules, got)
	}
	h.Is("tirl.service", "active")

	if said := h.sh(rpm + "-e tirl"); !strings.Contains(said, "the doors are open") {
		t.Errorf("rpm -e does not tell that the doors open: %s", said)
	}
	h.restored()
	// What the administrator has written is kept under another name.
	h.sh("rm -r /etc/tirl")
	if after := h.files(); !slices.Equal(before, after) {
		t.Errorf("the files before are not those after:\n%s", difference(before, after))
	}
}
