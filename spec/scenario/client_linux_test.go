package scenario

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// client gives the client what the server prints for it, and the lines of
// ssh_config that make "ssh web" knock. What tirl says of its steps is in the
// file steps; the files by which clients take turns are this world's own.
func (w *world) client(options string) {
	w.t.Helper()
	// On the server, with nothing but its policy and its own addresses.
	entry := w.must(w.Server, "", w.tirl, "export", "-c", filepath.Join(w.dir, "policy.toml"), "--name", "web", "ssh")
	w.write("hosts.toml", entry)
	w.sshConfig("", options)
}

// sshConfig writes the lines of ssh_config.
func (w *world) sshConfig(environment, options string) {
	w.t.Helper()
	w.write("steps", "")
	w.write("ssh_config", fmt.Sprintf(`Host web
    User root
    ProxyCommand env XDG_RUNTIME_DIR=%s %s %s connect -v --hosts %s %s %%h %%p 2>>%s
    IdentityFile %s
    BatchMode yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
`, w.dir, environment, w.tirl, filepath.Join(w.dir, "hosts.toml"), options, filepath.Join(w.dir, "steps"), w.key))
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// knocked counts how often tirl connect has knocked, and how often it had to try
// again.
func (w *world) knocked() (all, again int) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "steps"))
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "knocking at") {
			all++
			if strings.Contains(line, "attempt") {
				again++
			}
		}
	}
	return all, again
}

// sshWeb is what people type.
func (w *world) sshWeb(command ...string) (string, error) { return w.sshWebWith("", command...) }

// sshWebWith hands the remote command some input.
func (w *world) sshWebWith(stdin string, command ...string) (string, error) {
	return w.run(w.Client, stdin, "ssh", append([]string{"-F", filepath.Join(w.dir, "ssh_config"), "web"}, command...)...)
}

// TestSSHWeb: with three lines of ssh_config "ssh web" works at the first try,
// and the next time too, and leaves the door closed.
func TestSSHWeb(t *testing.T) {
	eachVariant(t, 1, func(t *testing.T, w *world) {
		for i, family := range []string{"", "-4", "-6"} {
			w.client(family)
			out, err := w.sshWeb("echo in")
			if err != nil || out != "in\n" {
				t.Errorf("ssh web %s: %q, %v", family, out, err)
			}
			if all, again := w.knocked(); all != 1 || again != 0 {
				t.Errorf("ssh web %s: knocked %d times, %d of them again", family, all, again)
			}
			if end := ends[i/2]; w.open(end.client, end.server, 22) {
				t.Errorf("ssh web %s: the door is open afterwards", family)
			}
		}
	})
}

// TestManySessions: sessions that begin together do not spoil each other's
// knocks; where the door opens for a time one of them knocks for all.
func TestManySessions(t *testing.T) {
	labtest.Require(t)
	binary := build(t)
	for _, tt := range []struct {
		name             string
		policy           string
		sessions, knocks int
	}{
		{"once", policyText, 4, 4},
		{"timed", strings.Replace(policyText, `"once"`, `"30s"`, 1), 4, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, binary, 1)
			w.write("policy.toml", tt.policy)
			w.apply("nftables")
			w.client("")
			var all sync.WaitGroup
			for range tt.sessions {
				all.Go(func() {
					if out, err := w.sshWeb("echo in"); err != nil || out != "in\n" {
						t.Errorf("%q, %v", out, err)
					}
				})
			}
			all.Wait()
			if n, again := w.knocked(); n != tt.knocks || again != 0 {
				t.Errorf("%d sessions knocked %d times, %d of them again; want %d", tt.sessions, n, again, tt.knocks)
			}
		})
	}
}

// TestConnectCarries: what goes through tirl connect arrives whole and in order,
// in both directions at once, however much it is; what cannot arrive is an error.
func TestConnectCarries(t *testing.T) {
	t.Parallel()
	labtest.Require(t)
	w := newWorld(t, build(t), 1)
	w.write("policy.toml", strings.Replace(policyText, `"tcp/22"`, `"tcp/22", "tcp/8080"`, 1))
	w.apply("nftables")
	w.client("")
	data := strings.Repeat("0123456789abcdef", 1<<18)
	if out, err := w.sshWebWith(data, "cat"); err != nil || out != data {
		t.Errorf("%d bytes of %d came back: %v", len(out), len(data), err)
	}
	clone := "git init -q --bare repo && GIT_SSH_COMMAND='ssh -F ssh_config' git clone -q web:" + w.dir + "/repo clone 2>&1 && test -d clone/.git"
	if out, err := w.run(w.Client, "", "sh", "-c", "cd "+w.dir+" && "+clone); err != nil {
		t.Errorf("git: %s %v", out, err)
	}
	carry := func(stdin string) (string, error) {
		return w.run(w.Client, stdin, "env", "XDG_RUNTIME_DIR="+w.dir, w.tirl, "connect", "--hosts", filepath.Join(w.dir, "hosts.toml"), "web", "8080")
	}
	// A server that says what it has heard when it has heard all.
	w.listen(8080, func(c net.Conn) {
		heard, err := io.ReadAll(c)
		if string(heard) == "reset" {
			c.(*net.TCPConn).SetLinger(0)
			return
		}
		fmt.Fprintf(c, "%d %v", len(heard), err)
	})
	if out, err := carry(data); err != nil || out != fmt.Sprintf("%d <nil>", len(data)) {
		t.Errorf("the server heard %q of %d bytes: %v", out, len(data), err)
	}
	if _, err := carry("reset"); err == nil || !strings.Contains(err.Error(), "the connection to web: receive: ") {
		t.Errorf("a connection that was reset: error %v", err)
	}
}

// TestConnectAgainstResets: somebody who sends wrong packets from the client's
// address all the time spoils knocks that take their time, but not a burst.
func TestConnectAgainstResets(t *testing.T) {
	t.Parallel()
	labtest.Require(t)
	w := newWorld(t, build(t), 1)
	w.apply("nftables")
	w.client("-4")
	var wrong net.Conn
	err := w.Client.Do(func() (err error) {
		wrong, err = net.Dial("udp", netip.AddrPortFrom(lab.Server4(), 9).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for tick := time.Tick(60 * time.Millisecond); ; {
			select {
			case <-tick:
				wrong.Write(nil)
			case <-stop:
				return
			}
		}
	}()
	if out, err := w.sshWeb("echo in"); err != nil || out != "in\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, again := w.knocked(); again == 0 {
		t.Error("the slow knocks came through: the wrong packets did not disturb them")
	}
}

// TestExportedLines: what export prints for machines without tirl opens the door,
// with every nc that there is.
func TestExportedLines(t *testing.T) {
	t.Parallel()
	labtest.Require(t)
	binary := build(t)
	for _, tt := range []struct{ name, policy, nc4 string }{
		{"reference", policyText, "nc.traditional"}, // which knows only IPv4
		// TCP knocks by nc are for policies that ignore duplicates.
		{"tcp", strings.NewReplacer(`"reset"`, `"ignore"`, "udp/23456", "tcp/23456").Replace(policyText), "nc.openbsd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, binary, 1)
			w.write("policy.toml", tt.policy)
			w.apply("nftables")
			var commands []string
			for line := range strings.Lines(w.must(w.Server, "", w.tirl, "export", "-c", filepath.Join(w.dir, "policy.toml"))) {
				command, ok := strings.CutPrefix(strings.TrimSpace(line), "#   ")
				if ok && !strings.Contains(command, "New-Object") { // which is for Windows
					commands = append(commands, command)
				}
			}
			if len(commands) != 4 {
				t.Errorf("knock and nc, IPv4 and IPv6, make four lines, not\n%s", strings.Join(commands, "\n"))
			}
			var families sync.WaitGroup
			for i, nc := range []string{tt.nc4, "nc.openbsd"} {
				families.Go(func() {
					for _, command := range commands {
						if strings.Contains(command, ends[i].server.String()) {
							w.tryLine(command, nc, ends[i].server, ends[i].client)
						}
					}
				})
			}
			families.Wait()
		})
	}
}

// tryLine runs a line in a shell of the client, in which nc is a given program.
func (w *world) tryLine(command, nc string, server, client netip.Addr) {
	if w.open(client, server, 22) {
		w.t.Errorf("open before: %s", command)
	}
	if _, err := w.run(w.Client, "", "sh", "-c", "nc() { "+nc+` "$@"; }; `+command); err != nil {
		w.t.Error(err)
	}
	if !w.open(client, server, 22) {
		w.t.Errorf("closed after: %s, nc being %s", command, nc)
	}
}
