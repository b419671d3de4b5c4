package install_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/boot"
	"tirl/internal/install"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// machine is a real systemd in namespaces of its own, with a private copy of
// this machine's files.
type machine struct {
	t    *testing.T
	pid  string // of its first process
	root string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	labtest.Require(t)
	for _, path := range []string{"/lib/systemd/systemd", "/lib/systemd/system/nftables.service"} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("%s is not installed", path)
		}
	}
	script, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	// Two of systemd in one cgroup would clean up behind each other.
	cmd := exec.Command("sh", "-c", `for at in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
		if [ -e $at/cgroup.procs ]; then mkdir $at/tirl.$$ && echo $$ >$at/tirl.$$/cgroup.procs || exit 1; fi
	done
	exec "$@"`, "sh", "unshare", "--pid", "--fork", "--mount", "--cgroup", "--uts", "--ipc", "--net", "--mount-proc",
		"env", "container=other", "sh", script)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Skipf("no namespaces for a systemd: %v", err)
	}
	m := &machine{t: t}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		// With its first process a PID namespace ends (pid_namespaces(7)).
		if pid, err := strconv.Atoi(m.pid); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = cmd.Process.Kill()
		<-ended
		// The cgroups go when the last process has: cgroups(7).
		_ = exec.Command("sh", "-c", `sleep 0.2; find /sys/fs/cgroup -depth -type d -path "*/tirl.$0*" -exec rmdir {} + 2>/dev/null`, strconv.Itoa(cmd.Process.Pid)).Run()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("systemd said:\n%s", text)
		}
		log.Close()
	})
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)
	for range 100 {
		if text, err := os.ReadFile(children); err == nil && m.pid == "" {
			if fields := strings.Fields(string(text)); len(fields) > 0 {
				m.pid = fields[0]
				m.root = "/proc/" + m.pid + "/root"
			}
		}
		if m.pid != "" {
			if _, err := os.Stat(m.root + "/run/ready"); err == nil {
				return m
			}
		}
		select {
		case err := <-ended:
			ended <- err
			text, _ := os.ReadFile(log.Name())
			t.Skipf("no file system for a systemd here: %v: %s", err, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Skip("no file system for a systemd here")
	return nil
}

// Run implements tool.Runner on the machine.
func (m *machine) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	return tool.Host{}.Run(ctx, stdin, "nsenter", append([]string{"-t", m.pid, "-m", "-p", "-n", "--", name}, args...)...)
}

func (m *machine) run(name string, args ...string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "", name, args...)
	if err != nil {
		m.t.Errorf("%v: %s", err, out)
	}
	return strings.TrimSpace(out)
}

// boot starts systemd and waits for its target.
func (m *machine) boot() {
	m.t.Helper()
	if err := os.WriteFile(m.root+"/run/go", nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
	for range 200 {
		if out, _ := m.Run(m.t.Context(), "", "systemctl", "is-active", "booted.target"); strings.TrimSpace(out) == "active" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Skip("systemd does not start here")
}

// state gives what systemctl says of a property.
func (m *machine) state(unit, property string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--value", "-p", property, unit)
}

func (m *machine) is(unit, want string) {
	m.t.Helper()
	if got := m.state(unit, "ActiveState"); got != want {
		m.t.Errorf("%s is %s, want %s", unit, got, want)
	}
}

// holds checks what the about chain says; "" means that there are no rules.
func (m *machine) holds(want string) {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "", "nft", "list", "chain", "inet", "tirl", "about")
	if want == "" && err == nil || want != "" && !strings.Contains(out, `"`+want+" ") {
		m.t.Errorf("want %q, the kernel holds: %s", want, out)
	}
}

// save is a confirmed load, as far as the next boot is concerned.
func (m *machine) save(with func(tool.Runner) backend.Backend) {
	m.t.Helper()
	p, found := policy.Parse("policy.toml", []byte("[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/27719\", \"udp/8816\", \"udp/15302\"]\n"))
	if p == nil {
		m.t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		m.t.Fatal(err)
	}
	rules, err := with(nil).Render(g)
	if err == nil {
		err = boot.Save(m.t.Context(), boot.Input{Root: m.root, Program: g, Rules: rules})
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func newNft(r tool.Runner) backend.Backend      { return nftables.New(r) }
func newIptables(r tool.Runner) backend.Backend { return iptables.New(r) }

func (m *machine) install(h *install.Host, o install.Options) {
	m.t.Helper()
	if _, err := h.Install(m.t.Context(), o); err != nil && !errors.Is(err, install.ErrNoSystemd) {
		m.t.Fatal(err)
	}
}

// A boot beside Debian's nftables.service, whose every start, stop and reload
// flushes all rules of the host.
func TestSystemdBoot(t *testing.T) {
	m := newMachine(t)
	m.save(newNft)
	m.install(&install.Host{Root: m.root}, install.Options{})
	m.boot()
	m.is("nftables.service", "active")
	m.is("tirl.service", "active")
	m.holds("policy")
	number := func(unit, property string) int {
		n, err := strconv.Atoi(m.state(unit, property))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	loaded := number("tirl.service", "ActiveEnterTimestampMonotonic")
	if flushed := number("nftables.service", "ActiveEnterTimestampMonotonic"); flushed > loaded {
		t.Errorf("nftables.service came after tirl.service: %d, %d", flushed, loaded)
	}
	if network := number("network-pre.target", "ActiveEnterTimestampMonotonic"); loaded > network {
		t.Errorf("the network came before tirl.service: %d, %d", network, loaded)
	}

	for _, verb := range []string{"reload", "restart", "stop", "start", "restart", "stop", "restart"} {
		for _, unit := range []string{"nftables", "tirl"} {
			if verb == "stop" && unit == "tirl" {
				continue
			}
			m.run("systemctl", verb, unit)
			m.settle("tirl.service")
			m.is("tirl.service", "active")
			m.holds("policy")
			if t.Failed() {
				t.Fatalf("after %s %s", verb, unit)
			}
		}
	}
	m.run("nft", "flush", "ruleset")
	m.holds("")
	m.run("systemctl", "start", "tirl-heal.service")
	m.holds("policy")
	// Stopping takes no rules out.
	m.run("systemctl", "stop", "tirl")
	m.holds("policy")
}

// The last resort outlives a flush as the policy does.
func TestSystemdLastResort(t *testing.T) {
	m := newMachine(t)
	m.save(newNft)
	if err := os.WriteFile(m.root+"/var/lib/tirl/boot/current/rules.nft", []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.install(&install.Host{Root: m.root}, install.Options{})
	m.boot()
	m.is("tirl.service", "active")
	m.holds("closed:")
	m.run("systemctl", "reload-or-restart", "nftables")
	m.settle("tirl.service")
	m.holds("closed:")
}

// The sandbox of the service lets iptables work too.
func TestSystemdIptables(t *testing.T) {
	m := newMachine(t)
	m.save(newIptables)
	m.install(&install.Host{Root: m.root}, install.Options{})
	m.boot()
	m.is("tirl.service", "active")
	for _, verb := range []string{"reload", "restart", "stop", "start"} {
		m.run("systemctl", verb, "nftables")
		m.settle("tirl.service")
		for _, save := range []string{"iptables-save", "ip6tables-save"} {
			if n := strings.Count(m.run(save), "-j TIRL\n"); n != 1 {
				t.Errorf("%s after %s: %d jumps", save, verb, n)
			}
		}
	}
}

// On a running host systemctl enables, starts and disables.
func TestSystemdInstall(t *testing.T) {
	m := newMachine(t)
	m.save(newNft)
	m.boot()
	m.holds("")
	h := &install.Host{Root: m.root, Run: m, Booted: true}
	yes, no := true, false
	m.install(h, install.Options{Heal: &yes})
	for _, unit := range []string{install.Service, install.Timer} {
		if got := m.run("systemctl", "is-enabled", unit); got != "enabled" {
			t.Errorf("%s is %s", unit, got)
		}
	}
	m.is(install.Timer, "active")
	m.is(install.Service, "active")
	m.holds("policy")
	m.install(h, install.Options{Heal: &no})
	m.is(install.Timer, "inactive")
	did, err := h.Install(t.Context(), install.Options{})
	if err != nil || len(did) > 0 {
		t.Errorf("again: %v, %v", did, err)
	}
	m.install(h, install.Options{Heal: &yes})
	if _, err := h.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.holds("policy")
	if out := m.run("find", "/etc/systemd", "/run/systemd/system", "-name", "*tirl*", "-o", "-path", "*tirl*"); out != "" {
		t.Errorf("left: %s", out)
	}
	if did, err := h.Uninstall(t.Context()); err != nil || len(did) > 0 {
		t.Errorf("again: %v, %v", did, err)
	}
}

// settle waits for jobs that another unit's job has started.
func (m *machine) settle(unit string) {
	m.t.Helper()
	for range 100 {
		if m.state(unit, "Job") == "" && m.state(unit, "SubState") != "start" && m.state(unit, "SubState") != "reload" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.t.Errorf("%s does not settle", unit)
}
