// Package migration runs the tools that tirl import reads the configuration of,
// and tirl with the policy that came out of it, side by side.
package migration

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/tool"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// daemon is knockd on the server of a pair.
type daemon struct {
	t     testing.TB
	pid   int
	lines chan string // what it says, errors too
}

// mounts puts knockd's script where its shipped configuration has it, and gives
// ufw(8) files of its own, since it has no option for that. Then it closes the host
// with the firewall that the commands are for. The mounts end with knockd.
const mounts = `set -e
mount --make-rprivate /
mount -t tmpfs none /usr/local/sbin
ln -s "$(command -v knock_helper_ipt.sh)" /usr/local/sbin/knock_add
case $1 in
ufw)
	mount -t tmpfs none /mnt
	cp -a /etc/ufw /etc/default /mnt/
	cp /usr/share/ufw/iptables/user*.rules /mnt/ufw/
	mount --bind /mnt/ufw /etc/ufw
	mount --bind /mnt/default /etc/default
	ufw --force enable ;;
nft)
	nft 'add table inet filter; add chain inet filter input { type filter hook input priority 0; policy drop; }' ;;
iptables)
	for f in iptables ip6tables; do
		$f -P INPUT DROP
		$f -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
		$f -N KNOCK && $f -A INPUT -j KNOCK
		$f -N KNOCKED && $f -A INPUT -j KNOCKED
	done ;;
esac
shift
exec "$@"`

// firewallOf says which firewall a configuration opens.
func firewallOf(config string) string {
	switch {
	case strings.Contains(config, "ufw "):
		return "ufw"
	case strings.Contains(config, "nft "):
		return "nft"
	}
	return "iptables"
}

// sudo is for commands that want one: everything here is root already.
const sudo = `#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
`

// patience is how long anything may take on a busy machine.
const patience = 10 * time.Second

// start starts knockd(1) on a configuration, in the server's namespace.
func start(t testing.TB, server *lab.Namespace, config string) *daemon {
	t.Helper()
	program := tool.Find("knockd")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("knockd is not installed: apt-get install knockd: %v", err)
	}
	d := &daemon{t: t, lines: make(chan string, 1<<16)}
	bin := t.TempDir()
	file := filepath.Join(bin, "knockd.conf")
	write(t, file, config, 0o600)
	write(t, filepath.Join(bin, "sudo"), sudo, 0o755)
	// Its commands may sleep for an hour: they end with its process namespace.
	cmd := exec.Command("unshare", "-m", "-p", "-f", "--kill-child", "sh", "-c", mounts, "sh", firewallOf(config), program, "-v", "-i", lab.ServerDevice, "-c", file)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	if err := server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	in.Close()
	go func() {
		defer close(d.lines)
		defer out.Close()
		for s := bufio.NewScanner(out); s.Scan(); {
			d.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	d.until(func(line string) bool { return strings.HasPrefix(line, "listening on ") })
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if d.pid, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t testing.TB, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// until gives what knockd says up to a line.
func (d *daemon) until(last func(line string) bool) []string {
	d.t.Helper()
	seen := d.within(patience, last)
	if seen == nil {
		d.t.Fatal("knockd does not say what was expected")
	}
	return seen
}

// within is nil if knockd does not say it in time.
func (d *daemon) within(limit time.Duration, last func(line string) bool) (seen []string) {
	d.t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				d.t.Fatalf("knockd has ended; it said %q", seen)
			}
			if seen = append(seen, line); last(line) {
				return seen
			}
		case <-timeout:
			if limit == patience {
				d.t.Logf("knockd said %q", seen)
			}
			return nil
		}
	}
}

// reload has knockd forget all attempts: it reads its configuration again.
func (d *daemon) reload() {
	d.t.Helper()
	if err := unix.Kill(d.pid, unix.SIGHUP); err != nil {
		d.t.Fatal(err)
	}
	d.until(func(line string) bool { return strings.HasPrefix(line, "re-opening log file") })
}

// opening reads the line by which knockd says that a source has done a door's
// sequence.
func opening(line string) (source, door string, ok bool) {
	line, ok = strings.CutSuffix(line, ": OPEN SESAME")
	if !ok {
		return "", "", false
	}
	source, door, ok = strings.Cut(line, ": ")
	return source, door, ok
}

// openings are those among lines, each as source and door.
func openings(lines []string) (all []string) {
	for _, l := range lines {
		if source, door, ok := opening(l); ok {
			all = append(all, fmt.Sprintf("%s %s", source, door))
		}
	}
	return all
}
