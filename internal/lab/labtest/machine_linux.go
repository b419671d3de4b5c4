package labtest

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/tool"
)

//go:embed machine.sh
var machineScript string

// Machine is a real systemd in namespaces of its own, with a private copy of
// this machine's files.
type Machine struct {
	t    testing.TB
	pid  string // of its first process
	Root string // of its files, as seen from here
}

// NewMachine makes a machine, which is still to be booted; its programs run already. It
// calls [Require], and skips the test where there is no systemd, or not these
// units, or no file system for it.
func NewMachine(t testing.TB, units ...string) *Machine {
	t.Helper()
	Require(t)
	needs := []string{"/lib/systemd/systemd"}
	for _, name := range units {
		needs = append(needs, "/lib/systemd/system/"+name)
	}
	for _, path := range needs {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("%s is not installed", path)
		}
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
		"env", "container=other", "sh", "-c", machineScript)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Skipf("no namespaces for a systemd: %v", err)
	}
	m := &Machine{t: t}
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
	for range 400 {
		// The shell's first child may be its mkdir.
		if text, err := os.ReadFile(children); err == nil {
			if fields := strings.Fields(string(text)); len(fields) > 0 {
				m.pid = fields[0]
				m.Root = "/proc/" + m.pid + "/root"
			}
		}
		if m.pid != "" {
			if _, err := os.Stat(m.Root + "/run/ready"); err == nil {
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
func (m *Machine) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	return tool.Host{}.Run(ctx, stdin, "nsenter", append([]string{"-t", m.pid, "-m", "-p", "-n", "--", name}, args...)...)
}

// Do runs a program that is to succeed, and gives what it says.
func (m *Machine) Do(name string, args ...string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "", name, args...)
	if err != nil {
		m.t.Errorf("%v: %s", err, out)
	}
	return strings.TrimSpace(out)
}

// Boot starts systemd and waits for its target.
func (m *Machine) Boot() {
	m.t.Helper()
	if err := os.WriteFile(m.Root+"/run/go", nil, 0o600); err != nil {
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

// State gives what systemctl says of a property.
func (m *Machine) State(unit, property string) string {
	m.t.Helper()
	return m.Do("systemctl", "show", "--value", "-p", property, unit)
}

// Is checks whether a unit is active, inactive, failed.
func (m *Machine) Is(unit, want string) {
	m.t.Helper()
	if got := m.State(unit, "ActiveState"); got != want {
		m.t.Errorf("%s is %s, want %s", unit, got, want)
	}
}
