package install_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	program  = "/usr/local/bin/tirl"
	watchdog = "tirl-rollback-*"
)

// tirl runs the program as at the console, in whatever session the test runs.
func (m *machine) tirl(args ...string) string {
	m.t.Helper()
	return m.Do("env", append([]string{"-i", "PATH=/usr/sbin:/usr/bin", program}, args...)...)
}

// watchdogs lists the units of watchdogs, also those that have ended.
func (m *machine) watchdogs() []string {
	m.t.Helper()
	return strings.Fields(m.Do("sh", "-c", "systemctl list-units --all --plain --no-legend '"+watchdog+"' | cut -d ' ' -f 1"))
}

// one gives the only watchdog there is, and checks that it runs.
func (m *machine) one() string {
	m.t.Helper()
	units := m.watchdogs()
	if len(units) != 1 {
		m.t.Fatalf("watchdogs: %q, want one", units)
	}
	m.Is(units[0], "active")
	return units[0]
}

// within waits for something to be so.
func (m *machine) within(limit time.Duration, what string, so func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(limit); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.Root+path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// rules are the lines that the kernel holds, without counters. Their order tells
// how the table came to be.
func (m *machine) rules() string {
	out, _ := m.Run(m.t.Context(), "", "nft", "-s", "list", "table", "inet", "tirl")
	lines := strings.Split(out, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Where systemd runs, the watchdog of a load is a unit of its own: what ends the
// session that applied does not end it.
func TestSystemdWatchdog(t *testing.T) {
	m := newMachine(t)
	build := exec.Command("go", "build", "-o", m.Root+program, "tirl/cmd/tirl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	const door = "[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/27719\", \"udp/8816\", \"udp/15302\"]\n"
	m.write("/run/old.toml", door)
	m.write("/run/new.toml", strings.Replace(door, "tcp/22", "tcp/2222", 1))
	m.Boot()
	m.tirl("apply", "-c", "/run/old.toml", "--no-confirm")
	old := m.rules()
	if !strings.Contains(old, "table inet tirl") {
		t.Fatalf("the kernel holds: %q", old)
	}
	if units := m.watchdogs(); len(units) > 0 {
		t.Fatalf("watchdogs: %q without a wait", units)
	}
	gone := func() bool { return len(m.watchdogs()) == 0 }
	back := func() bool { return m.rules() == old && gone() }

	for _, c := range []struct {
		name   string
		wait   string
		during func(unit string)
		limit  time.Duration // from during on
	}{
		// This is what logind's KillUserProcesses does, and more.
		{"the session is killed", "3s", func(string) {
			m.Do("systemctl", "kill", "--signal=SIGKILL", "login.scope")
			m.within(time.Second, "the session is gone", func() bool {
				out, _ := m.Run(t.Context(), "", "systemctl", "is-active", "login.scope")
				return strings.TrimSpace(out) != "active"
			})
		}, 5 * time.Second},
		// Whoever stops it, as a shutdown does, has confirmed nothing.
		{"the unit is stopped", "1h", func(unit string) { m.Do("systemctl", "stop", unit) }, time.Second},
	} {
		ctx, stop := context.WithCancel(t.Context())
		shell := make(chan struct{})
		go func() {
			defer close(shell)
			// It ends by being killed.
			_, _ = m.Run(ctx, "", "systemd-run", "--quiet", "--scope", "--unit=login", "--collect", "env", "-i", "PATH=/usr/sbin:/usr/bin",
				"sh", "-c", program+" apply -c /run/new.toml --confirm "+c.wait+"; : >/run/applied; sleep 60")
		}()
		m.within(20*time.Second, c.name+": apply comes back", func() bool {
			_, err := os.Stat(m.Root + "/run/applied")
			return err == nil
		})
		if m.rules() == old {
			t.Fatalf("%s: nothing was loaded", c.name)
		}
		unit := m.one()
		if group := m.State(unit, "ControlGroup"); !strings.HasSuffix(group, "/system.slice/"+unit) {
			t.Errorf("%s: the watchdog is in %s", c.name, group)
		}
		c.during(unit)
		m.within(c.limit, c.name+": the old rules are back, the unit is gone", back)
		_, _ = m.Run(t.Context(), "", "systemctl", "kill", "--signal=SIGKILL", "login.scope")
		stop()
		<-shell
		m.within(5*time.Second, "the session is gone", func() bool {
			out, _ := m.Run(t.Context(), "", "systemctl", "is-active", "login.scope")
			return strings.TrimSpace(out) != "active"
		})
		if err := os.Remove(m.Root + "/run/applied"); err != nil {
			t.Fatal(err)
		}
	}

	// Confirmed from elsewhere. The directory has what systemd expands: $ and %,
	// systemd.service(5).
	root := "/run/a $HOME ${HOME} $$ %n"
	if err := os.Mkdir(m.Root+root, 0o755); err != nil {
		t.Fatal(err)
	}
	m.tirl("--root", root, "apply", "-c", "/run/new.toml", "--confirm", "1h")
	m.one()
	if m.rules() == old {
		t.Fatal("nothing was loaded")
	}
	m.tirl("--root", root, "confirm")
	m.within(2*time.Second, "the unit is gone", gone)
	if m.rules() == old {
		t.Error("it was taken back though it was confirmed")
	}
}
