// Package neighbours tries tirl on hosts where other firewalls live: each
// backend, in network namespaces, with the neighbour's own rules in the kernel.
package neighbours

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tirl/internal/cli"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// asTirl makes the test program be tirl.
const asTirl = "TIRL_NEIGHBOURS_BE_TIRL"

func TestMain(m *testing.M) {
	if os.Getenv(asTirl) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(labtest.Main(m))
}

// variant is a backend with the programs of one kind.
type variant struct {
	name    string
	backend string
	multi   string // what all iptables programs are
}

var variants = []variant{
	{"nftables", "nftables", "xtables-nft-multi"},
	{"iptables-nft", "iptables", "xtables-nft-multi"},
	{"iptables-legacy", "iptables", "xtables-legacy-multi"},
}

// site is a server with a service on tcp/22 and a client with several addresses.
type site struct {
	*testing.T
	variant
	*lab.Pair
	root string // of tirl's files
	bin  string // first in PATH
}

const clients = 12

// each runs a test on a site of its own for each variant, all at once: they
// mostly wait.
func each(t *testing.T, test func(s *site)) {
	labtest.Require(t)
	var all sync.WaitGroup
	for _, v := range variants {
		all.Go(func() {
			t.Run(v.name, func(t *testing.T) { test(newSite(t, v)) })
		})
	}
	all.Wait()
}

func newSite(t *testing.T, v variant) *site {
	s := &site{t, v, labtest.Pair(t, lab.PairOptions{ClientAddrs: clients}), t.TempDir(), t.TempDir()}
	multi, err := exec.LookPath("/usr/sbin/" + v.multi)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		if err := os.Symlink(multi, filepath.Join(s.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.serve(s.Server, 22)
	s.policy(`mode = "guard"`, "tcp/22")
	return s
}

func (s *site) serve(n *lab.Namespace, number uint16) {
	s.Helper()
	r, err := lab.NewResponder(n, port.TCP, netip.AddrPortFrom(netip.IPv6Unspecified(), number))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { r.Close() })
}

var knocks = []uint16{4001, 3002, 5003}

// policy writes one with a door.
func (s *site) policy(top, opens string) {
	s.write("etc/tirl/policy.toml", fmt.Sprintf(`%s
backend = %q
[door.ssh]
opens  = [%q]
knocks = ["udp/4001", "udp/3002", "udp/5003"]
open_for = "1m"
`, top, s.backend, opens))
}

func (s *site) write(name, text string) string {
	s.Helper()
	name = filepath.Join(s.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return name
}

func (s *site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+s.bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin", "XTABLES_LOCKFILE="+s.root+"/xtables.lock")
	return cmd
}

// run runs a prepared command on a host.
func (s *site) run(n *lab.Namespace, cmd *exec.Cmd) (string, int) {
	s.Helper()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		s.Fatal(err)
	}
	_ = cmd.Wait()
	return out.String(), cmd.ProcessState.ExitCode()
}

// tirl runs tirl on the server, which must end with an exit code.
func (s *site) tirl(want int, args ...string) string {
	s.Helper()
	cmd := s.command("/proc/self/exe", append([]string{"--root", s.root}, args...)...)
	cmd.Env = append(cmd.Env, asTirl+"=1")
	out, code := s.run(s.Server, cmd)
	if code != want {
		s.Fatalf("tirl %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

// apply loads the policy for good.
func (s *site) apply() {
	s.Helper()
	s.tirl(0, "apply", "--no-confirm")
}

// sh runs a shell command on the server; it must succeed.
func (s *site) sh(script string, args ...string) string {
	s.Helper()
	out, code := s.run(s.Server, s.command("sh", append([]string{"-euc", script, "sh"}, args...)...))
	if code != 0 {
		s.Fatalf("%s: exit code %d\n%s", script, code, out)
	}
	return out
}

// load gives a file of testdata to a program on the server.
func (s *site) load(file string, command ...string) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		s.Fatal(err)
	}
	cmd := s.command(command[0], command[1:]...)
	cmd.Path, _ = exec.LookPath(filepath.Join(s.bin, command[0]))
	if cmd.Path == "" {
		cmd = s.command(command[0], command[1:]...)
	}
	cmd.Stdin = strings.NewReader(string(text))
	if out, code := s.run(s.Server, cmd); code != 0 {
		s.Fatalf("load %s: %s", file, out)
	}
}

// hint gives the command that doctor offers for a finding, as root types it.
func (s *site) hint(id string) string {
	s.Helper()
	found := s.findings()
	for _, f := range found {
		if f.ID == id {
			return strings.ReplaceAll(f.Hint, "sudo ", "")
		}
	}
	s.Fatalf("doctor does not find %s, but %v", id, found)
	return ""
}

func (s *site) finds(id string) bool {
	s.Helper()
	for _, f := range s.findings() {
		if f.ID == id {
			return true
		}
	}
	return false
}

// connects says whether the client's i-th address can use a service: one byte
// there and back.
func (s *site) connects(i int, to netip.AddrPort) bool {
	s.Helper()
	from := lab.Client4(i)
	if to.Addr().Is6() {
		from = lab.Client6(i)
	}
	err := s.Client.Do(func() error {
		d := net.Dialer{Timeout: 500 * time.Millisecond, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		c, err := d.DialContext(s.Context(), "tcp", to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		_, err = c.Read([]byte{0})
		return err
	})
	return err == nil
}

// knock sends a door's knocks from the client's i-th address.
func (s *site) knock(i int, to netip.Addr) {
	s.Helper()
	from := lab.Client4(i)
	if to.Is6() {
		from = lab.Client6(i)
	}
	for _, k := range knocks {
		err := s.Client.Do(func() error {
			c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, k)))
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte{0})
			return err
		})
		if err != nil {
			s.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *site) wantClosed(i int, to netip.AddrPort) {
	s.Helper()
	if s.connects(i, to) {
		s.Errorf("client %d can connect to %s", i, to)
	}
}

func (s *site) wantOpen(i int, to netip.AddrPort) {
	s.Helper()
	if !s.connects(i, to) {
		s.Errorf("client %d cannot connect to %s\n%s", i, to, s.sh("nft list ruleset; iptables-save; ip6tables-save"))
	}
}

func ssh(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 22) }

// lives tries a door beside a neighbour that lets tcp/22 in: it hides and opens
// in both families, with client i, and the neighbour's rules stay as they are, to the byte.
func (s *site) lives(i int) {
	s.Helper()
	before := s.snapshot()
	s.apply()
	s.same("apply", before)
	if s.finds("blocked") {
		s.Errorf("doctor sees an obstacle where there is none: %v", s.findings())
	}
	for _, a := range []netip.Addr{lab.Server4(), lab.Server6()} {
		s.wantClosed(i, ssh(a))
		s.knock(i, a)
		s.wantOpen(i, ssh(a))
		s.wantClosed(i+1, ssh(a))
	}
	s.same("use", before)
	s.tirl(0, "remove")
	s.same("remove", before)
	s.wantOpen(i+1, ssh(lab.Server4()))
}

func (s *site) same(after, before string) {
	s.Helper()
	if now := s.snapshot(); now != before {
		s.Errorf("%s changes the neighbour's rules from\n%s\nto\n%s", after, before, now)
	}
}

var (
	changing = regexp.MustCompile(`\[\d+:\d+\]|packets \d+ bytes \d+|(?m)^#.*\n`)
	nftTable = regexp.MustCompile(`(?ms)^table (\S+ \S+) \{\n.*?^\}\n`)
	xtTable  = regexp.MustCompile(`^table ip6? (mangle|filter|raw|nat|security) \{\n`)
	builtin  = regexp.MustCompile(`\tchain [A-Z]+ \{\n\t\ttype [^\n]*policy accept;\n\t\}\n`)
	saved    = regexp.MustCompile(`(?ms)^\*.*?^COMMIT\n`)
	emptyXt  = regexp.MustCompile(`^\*\w+\n(:[A-Z]+ ACCEPT\s*\n)*COMMIT\n$`)
)

// snapshot gives all rules but tirl's, without what only counts. The tables and
// built-in chains that the iptables command makes when it first uses them are left out
// where they are empty.
func (s *site) snapshot() string {
	s.Helper()
	var b strings.Builder
	text := changing.ReplaceAllString(s.sh("nft list ruleset 2>/dev/null"), "")
	for _, m := range nftTable.FindAllStringSubmatch(text, -1) {
		t := without(m[0], "TIRL")
		if xtTable.MatchString(t) {
			if t = strings.ReplaceAll(builtin.ReplaceAllString(t, ""), "\n\n", "\n"); strings.Count(t, "\n") == 2 {
				continue
			}
		}
		if m[1] != "inet tirl" {
			b.WriteString(t)
		}
	}
	for _, program := range []string{"iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save", "ip6tables-legacy-save"} {
		fmt.Fprintf(&b, "# %s\n", program)
		for _, t := range saved.FindAllString(changing.ReplaceAllString(s.sh(program+" 2>/dev/null"), ""), -1) {
			if t = without(t, "TIRL"); !emptyXt.MatchString(t) {
				b.WriteString(t)
			}
		}
	}
	return b.String()
}

var chainBlock = regexp.MustCompile(`(?ms)^\tchain TIRL\w* \{\n.*?^\t\}\n\n?`)

// without takes tirl's chains and rules out of a table.
func without(table, name string) string {
	var b strings.Builder
	for line := range strings.Lines(chainBlock.ReplaceAllString(table, "")) {
		if !strings.Contains(line, name) {
			b.WriteString(line)
		}
	}
	return b.String()
}
