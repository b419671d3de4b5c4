package scenario

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/backend/nftables"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/tool"
)

// oldPolicy leaves SSH alone.
const oldPolicy = `[door.web]
opens  = ["tcp/8443"]
knocks = ["udp/40213", "udp/7719", "udp/28816"]
`

// newPolicy hides it, without a way to connect from here but by a knock.
const newPolicy = `[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/12345", "udp/23456", "udp/34567"]
open_for = "30s"
`

// safe is a server on which the old policy is loaded for good.
type safe struct {
	*world
	variant struct{ name, backend, multi string }
	path    string // PATH of whatever runs there
	plain   string // PATH without what a test puts in front
	old     string // the rules
	other   string // those that a rollback leads to
}

// eachSafe runs f with every kernel program, side by side.
func eachSafe(t *testing.T, f func(t *testing.T, s *safe)) {
	labtest.Require(t)
	binary := build(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			f(t, newSafe(t, binary, v))
		})
	}
}

func newSafe(t *testing.T, binary string, v struct{ name, backend, multi string }) *safe {
	t.Helper()
	s := &safe{variant: v, path: os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	if v.multi != "" {
		s.path = links(t, v.multi) + ":" + s.path
	}
	s.plain = s.path
	s.world = &world{Pair: labtest.Pair(t, lab.PairOptions{}), t: t, tirl: binary, dir: t.TempDir()}
	// One that has not yet seen that its wait is over would miss its files.
	t.Cleanup(func() { s.kill(unix.SIGKILL, func(line string) bool { return strings.Contains(line, " watchdog ") }) })
	s.write("old.toml", oldPolicy)
	s.write("new.toml", newPolicy)
	s.command("apply", "--no-confirm", "-c", "old.toml", "--backend", v.backend)
	s.old = s.rules()
	return s
}

func (s *safe) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// args are those of a tirl command on the server, with names of policies as paths.
func (s *safe) args(args ...string) []string {
	all := []string{"PATH=" + s.path, s.tirl, "--root", s.dir}
	for _, a := range args {
		if strings.HasSuffix(a, ".toml") {
			a = filepath.Join(s.dir, a)
		}
		all = append(all, a)
	}
	return all
}

func (s *safe) command(args ...string) string {
	s.t.Helper()
	return s.must(s.Server, "", "env", s.args(args...)...)
}

var volatile = regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]|packets \d+ bytes \d+`)

// rules is all that the kernel holds, of tirl and of others.
func (s *safe) rules() string {
	s.t.Helper()
	out := s.must(s.Server, "", "env", "PATH="+s.plain, "sh", "-c", "nft list tables; iptables-save; ip6tables-save")
	var kept []string
	for _, section := range strings.SplitAfter(volatile.ReplaceAllString(out, ""), "COMMIT\n") {
		// An empty table of the legacy variant stays once it was looked at.
		if !strings.HasPrefix(section, "*") || strings.Contains(section, "\n-A") {
			kept = append(kept, section)
		}
	}
	// In which order nft lists objects and elements depends on their history.
	loaded, err := nftables.New(s.Server).Loaded(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if loaded != nil {
		kept = append(kept, loaded.Text)
	}
	return strings.Join(kept, "")
}

// isOld waits until the kernel holds the old rules and nothing waits.
func (s *safe) isOld(within time.Duration) {
	s.t.Helper()
	var is string
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(s.dir, "run/tirl/pending.json")); err == nil {
			continue
		}
		if is = s.rules(); is == s.old {
			return
		}
	}
	s.t.Fatalf("not the old rules after %v:\n%s", within, is)
}

// login opens an SSH session with a terminal in which a command runs, and gives
// its output line by line.
func (s *safe) login(command string) (*exec.Cmd, *bufio.Scanner) {
	s.t.Helper()
	cmd := exec.Command("ssh", s.sshArgs("-tt", "root@"+lab.Server4().String(), command)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // nobody types anything
		s.t.Fatal(err)
	}
	if err := s.Client.Start(cmd); err != nil {
		s.t.Fatal(err)
	}
	patience := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	s.t.Cleanup(func() { patience.Stop(); cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

func (s *safe) sshArgs(args ...string) []string {
	return append([]string{"-F", "/dev/null", "-i", s.key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3"}, args...)
}

// over runs a command in an SSH session of its own.
func (s *safe) over(args ...string) (string, error) {
	return s.run(s.Client, "", "ssh", s.sshArgs("root@"+lab.Server4().String(), "env "+strings.Join(s.args(args...), " ")+" 2>&1")...)
}

func until(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	var seen []string
	for lines.Scan() {
		seen = append(seen, lines.Text())
		if strings.Contains(lines.Text(), want) {
			return
		}
	}
	t.Fatalf("the session did not print %q but\n%s", want, strings.Join(seen, "\n"))
}

// kill sends a signal to the processes that this server's directory is named to.
func (s *safe) kill(sig unix.Signal, match func(cmdline string) bool) int {
	s.t.Helper()
	n := 0
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		text, err := os.ReadFile(dir + "/cmdline")
		line := strings.ReplaceAll(string(text), "\x00", " ")
		if err != nil || !strings.Contains(line, s.dir) || !match(line) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && unix.Kill(pid, sig) == nil {
			n++
		}
	}
	return n
}

// TestTheSessionDies: an administrator applies over SSH and is gone: the client
// is killed, the terminal closes, or every tirl but the watchdog is killed too.
func TestTheSessionDies(t *testing.T) {
	eachSafe(t, func(t *testing.T, s *safe) {
		s.sshd()
		for _, how := range []string{"the client is killed", "tirl and the shell are killed", "the terminal hangs up"} {
			t.Run(how, func(t *testing.T) {
				s := &safe{world: s.world, variant: s.variant, path: s.path, plain: s.plain, old: s.old}
				// The shell stays, as a person's does. Its arguments name the directory.
				cmd, lines := s.login("env " + strings.Join(s.args("apply", "--confirm", "5s", "-c", "new.toml", "--backend", s.variant.backend), " ") +
					"; sleep 600; : " + s.dir)
				until(t, lines, ": loaded 1 door")
				begin := time.Now()
				switch how {
				case "the client is killed":
					cmd.Process.Kill()
				case "tirl and the shell are killed":
					until(t, lines, "hint:")
					s.kill(unix.SIGKILL, func(line string) bool {
						return !strings.Contains(line, "watchdog") && !strings.Contains(line, "sshd") && !strings.HasPrefix(line, "ssh ")
					})
				case "the terminal hangs up":
					s.kill(unix.SIGHUP, func(line string) bool { return !strings.Contains(line, "sshd") && !strings.HasPrefix(line, "ssh ") })
				}
				if s.rules() == s.old {
					t.Fatal("the new rules were never loaded")
				}
				if s.open(lab.Client4(0), lab.Server4(), 22) {
					t.Error("SSH is not hidden")
				}
				s.isOld(6*time.Second - time.Since(begin))
				t.Logf("the old rules were back after %v", time.Since(begin).Round(100*time.Millisecond))
				if !s.open(lab.Client4(0), lab.Server4(), 22) {
					t.Error("SSH cannot be reached again")
				}
				if out := s.command("status"); !strings.Contains(out, "nobody confirmed it within 5s") {
					t.Errorf("status says\n%s", out)
				}
			})
		}
	})
}

// TestConfirmedByProof: knocking and connecting again is enough; what is no proof
// is not.
func TestConfirmedByProof(t *testing.T) {
	eachSafe(t, func(t *testing.T, s *safe) {
		s.sshd()
		apply := "env " + strings.Join(s.args("apply", "--confirm", "60s", "-c", "new.toml", "--backend", s.variant.backend), " ") + "; sleep 600"
		_, lines := s.login(apply)
		until(t, lines, "knock and connect again from 10.9.0.2, or type in another connection: sudo tirl confirm")
		pending := filepath.Join(s.dir, "run/tirl/pending.json")
		waits := func(when string) {
			t.Helper()
			time.Sleep(700 * time.Millisecond)
			if _, err := os.Stat(pending); err != nil {
				t.Fatalf("%s: it waits no more: %v", when, err)
			}
		}
		waits("nothing has happened")
		s.must(s.Client, "", s.tirl, "knock", "--delay", "20ms", lab.Server4().String(), "udp/12345", "udp/23456")
		waits("half a knock")
		s.must(s.Client, "", s.tirl, "knock", "--delay", "20ms", lab.Server4().String(), "udp/12345", "udp/23456", "udp/34567")
		waits("a knock, and no connection")
		conn, err := s.dial(lab.Client4(0), lab.Server4(), 22)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s.eventually("it is confirmed", func() bool { _, err := os.Stat(pending); return err != nil })
		if out := s.command("status"); !strings.Contains(out, "a knock, and a connection from 10.9.0.2 to tcp/22") {
			t.Errorf("status says\n%s", out)
		}
		s.eventually("the watchdog ends", func() bool { return s.tirlProcesses() == 0 || s.watchdogs() == 0 })
		if s.rules() == s.old {
			t.Error("it was taken back all the same")
		}
	})
}

// watchdogs counts those of this server.
func (s *safe) watchdogs() int {
	return s.kill(0, func(line string) bool { return strings.Contains(line, "watchdog") })
}

// TestConfirmFromWhere: the session that applied proves nothing, nor does one
// that was open beside it; another does.
func TestConfirmFromWhere(t *testing.T) {
	eachSafe(t, func(t *testing.T, s *safe) {
		s.sshd()
		// Sessions that go on as multiplexed ones have one connection, ssh_config(5).
		socket := filepath.Join(s.dir, "mux")
		s.must(s.Client, "", "ssh", s.sshArgs("-M", "-S", socket, "-o", "ControlPersist=60", "root@"+lab.Server4().String(), "true")...)
		t.Cleanup(func() { s.run(s.Client, "", "ssh", "-S", socket, "-O", "exit", "root@x") })
		same := func(args ...string) (string, error) {
			return s.run(s.Client, "", "ssh", "-S", socket, "root@"+lab.Server4().String(), "env "+strings.Join(s.args(args...), " ")+" 2>&1")
		}
		if out, err := same("apply", "--confirm", "60s", "-c", "new.toml", "--backend", s.variant.backend); err != nil {
			t.Fatal(out, err)
		}
		if out, err := same("confirm"); err == nil || !strings.Contains(out, "this connection was open before the policy was loaded") {
			t.Errorf("from the same connection: %v\n%s", err, out)
		}
		if out, err := same("apply", "-c", "old.toml"); err == nil || !strings.Contains(out, "waits to be confirmed") {
			t.Errorf("a second apply: %v\n%s", err, out)
		}
		if out, err := s.over("confirm"); err == nil {
			t.Errorf("nobody has knocked, and yet: %s", out)
		}
		if out, err := same("rollback"); err != nil || !strings.Contains(out, "rolled back: "+s.variant.backend) {
			t.Errorf("rollback: %v\n%s", err, out)
		}
		s.isOld(time.Second)

		// SSH stays open by the old policy's door: another session is possible.
		s.write("web.toml", strings.Replace(oldPolicy, "8443", "8444", 1))
		for _, from := range []string{"the same, by force", "another"} {
			if out, err := same("apply", "--confirm", "60s", "-c", "web.toml", "--backend", s.variant.backend); err != nil {
				t.Fatal(out, err)
			}
			var out string
			var err error
			if from == "another" {
				out, err = s.over("confirm")
			} else {
				out, err = same("confirm", "--force")
			}
			if err != nil || !strings.Contains(out, "confirmed") {
				t.Errorf("from %s: %v\n%s", from, err, out)
			}
			s.command("rollback")
		}
	})
}

// links gives a directory in which the iptables programs are one variant.
func links(t *testing.T, multi string) string {
	t.Helper()
	target := tool.Find(multi)
	if _, err := os.Stat(target); err != nil {
		t.Fatalf("%s is not installed: %v", multi, err)
	}
	dir := t.TempDir()
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestLockOut: what would lock the caller out is loaded by force only.
func TestLockOut(t *testing.T) {
	eachSafe(t, func(t *testing.T, s *safe) {
		s.sshd()
		s.write("locked.toml", newPolicy+"from = [\"203.0.113.0/24\"]\n")
		line := []string{"apply", "--confirm", "60s", "-c", "locked.toml", "--backend", s.variant.backend}
		if out, err := s.over(line...); err == nil || !strings.Contains(out, "apply --force") {
			t.Errorf("it is not refused: %v\n%s", err, out)
		}
		s.isOld(time.Second)
		if out, err := s.over(append(line, "--force")...); err != nil {
			t.Errorf("by force: %v\n%s", err, out)
		}
		s.command("rollback")
		s.isOld(time.Second)
	})
}

// TestFullDisk fills the disk that holds all of tirl's files: before the load,
// while it waits to be taken back, and before it is confirmed.
func TestFullDisk(t *testing.T) {
	const script = `mount -t tmpfs -o size=1m none "$W" && cd "$W" || exit 9
tirl() { command "$TIRL" --root "$W" "$@"; }
fill() { cat /dev/zero > "$W/fill"; } 2> /dev/null
tirl apply --no-confirm -c "$D/old.toml" --backend "$B" || exit 8
case $1 in
before) fill; tirl apply --confirm 1s -c "$D/new.toml" --backend "$B" && exit 7 ;;
waiting) tirl apply --confirm 1s -c "$D/new.toml" --backend "$B" || exit 6; fill; sleep 2 ;;
confirmed) tirl apply --confirm 2s -c "$D/new.toml" --backend "$B" || exit 5; fill; tirl confirm || exit 4; sleep 2.5 ;;
esac
tirl status`
	eachSafe(t, func(t *testing.T, s *safe) {
		for _, when := range []string{"before", "waiting", "confirmed"} {
			s.command("apply", "--no-confirm", "-c", "old.toml", "--backend", s.variant.backend)
			mount := t.TempDir()
			out, err := s.run(s.Server, "", "unshare", "-m", "env", "PATH="+s.path, "W="+mount, "D="+s.dir, "B="+s.variant.backend, "TIRL="+s.tirl,
				"sh", "-c", script, "sh", when)
			if err != nil {
				t.Errorf("%s: %v\n%s", when, err, out)
			}
			if isOld := s.rules() == s.old; isOld != (when != "confirmed") {
				t.Errorf("%s: the old rules: %v\n%s", when, isOld, out)
			}
			s.command("remove")
		}
	})
}

// TestTheWatchdogDies: stopped, it takes the load back at once; killed, it leaves
// the load, and status says so.
func TestTheWatchdogDies(t *testing.T) {
	eachSafe(t, func(t *testing.T, s *safe) {
		watchdog := func(line string) bool { return strings.Contains(line, " watchdog ") }
		apply := []string{"apply", "--confirm", "60s", "-c", "new.toml", "--backend", s.variant.backend}
		s.command(apply...)
		if n := s.kill(unix.SIGHUP, watchdog); n != 1 {
			t.Fatalf("%d watchdogs", n)
		}
		s.kill(unix.SIGTERM, watchdog)
		s.isOld(3 * time.Second)

		s.command(apply...)
		s.kill(unix.SIGKILL, watchdog)
		s.eventually("it is gone", func() bool { return s.watchdogs() == 0 })
		out := s.must(s.Server, "", "sh", "-c", "env "+strings.Join(s.args("status"), " ")+" 2>&1")
		if !strings.Contains(out, "the watchdog that would take the policy back was killed") {
			t.Errorf("status says\n%s", out)
		}
		s.command("rollback")
		s.isOld(3 * time.Second)
	})
}

// wrapper runs a program for tirl apply or tirl rollback, and at the Nth kills
// tirl with SIGKILL: before the program does its work, after, or instead of it.
const wrapper = `#!/bin/sh
case $(tr '\0' ' ' < /proc/$PPID/cmdline) in
*" $COMMAND "*) ;;
*) exec "$REAL/${0##*/}" "$@" ;;
esac
echo "${0##*/}" >> $COUNT
n=$(wc -l < $COUNT)
[ $n -eq $AT ] || exec "$REAL/${0##*/}" "$@"
case $MODE in
before) kill -9 $PPID; exec "$REAL/${0##*/}" "$@" ;;
instead) kill -9 $PPID ;;
after) "$REAL/${0##*/}" "$@"; kill -9 $PPID ;;
esac
`

// TestKilledAtEachStep kills tirl at each program that it runs. The old rules are
// there again, whole, as soon as its watchdog has seen it, or after a rollback
// those that it leads to; there is never a moment without rules.
func TestKilledAtEachStep(t *testing.T) {
	eachSafe(t, func(t *testing.T, first *safe) {
		for _, what := range []string{"apply", "rollback"} {
			var wg sync.WaitGroup
			points := make(chan point)
			for range 3 {
				s := newSafe(t, first.tirl, first.variant)
				if what == "rollback" { // to the old policy, from another one that was confirmed
					s.command("apply", "--no-confirm", "-c", "new.toml", "--backend", s.variant.backend)
					s.old, s.other = s.rules(), s.old
				}
				s.wrap()
				wg.Go(func() {
					defer func() { // should this one fail, the others are not waited for
						for range points {
						}
					}()
					for p := range points {
						s.killedAt(p, what)
					}
				})
			}
			n := first.steps(what)
			if n < 4 {
				t.Fatalf("%s runs %d programs", what, n)
			}
			for at := 1; at <= n; at++ {
				modes := []string{"before", "after", "instead"}
				if first.variant.multi != "" || what == "rollback" { // each takes its time
					modes = modes[at%3 : at%3+1]
				}
				for _, mode := range modes {
					points <- point{at, mode}
				}
			}
			close(points)
			wg.Wait()
		}
	})
}

type point struct {
	at   int
	mode string
}

func (s *safe) wrap() {
	s.t.Helper()
	bin, real := filepath.Join(s.dir, "bin"), filepath.Join(s.dir, "real")
	for _, dir := range []string{bin, real} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, name := range []string{"nft", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"} {
		path := s.must(s.Server, "", "env", "PATH="+s.path, "sh", "-c", "command -v "+name)
		err := os.Symlink(strings.TrimSpace(path), filepath.Join(real, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(bin, name), []byte(wrapper), 0o755)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.path = bin + ":" + s.path
}

// wrapped runs a command that is killed at a point. Without one it says how many
// programs it has run.
func (s *safe) wrapped(p point, args ...string) (steps int, out string, err error) {
	count := filepath.Join(s.dir, "count")
	os.Remove(count)
	env := []string{"COMMAND=" + args[0], "COUNT=" + count, "REAL=" + filepath.Join(s.dir, "real"), "MODE=" + p.mode, fmt.Sprint("AT=", p.at)}
	out, err = s.run(s.Server, "", "env", append(env, s.args(args...)...)...)
	text, _ := os.ReadFile(count)
	return bytes.Count(text, []byte("\n")), out, err
}

func (s *safe) line(what string) []string {
	if what == "rollback" {
		return []string{"rollback"}
	}
	return []string{"apply", "--confirm", "1s", "-c", "new.toml", "--backend", s.variant.backend}
}

// steps is how many programs a command runs when nothing happens.
func (s *safe) steps(what string) int {
	s.t.Helper()
	if what == "rollback" {
		s.command("apply", "--no-confirm", "-c", "new.toml", "--backend", s.variant.backend)
	}
	s.wrap()
	n, out, err := s.wrapped(point{}, s.line(what)...)
	if err != nil {
		s.t.Fatal(out, err)
	}
	s.path = s.plain
	os.RemoveAll(filepath.Join(s.dir, "bin"))
	os.RemoveAll(filepath.Join(s.dir, "real"))
	s.command("remove")
	s.command("apply", "--no-confirm", "-c", "old.toml", "--backend", s.variant.backend)
	return n
}

func (s *safe) killedAt(p point, what string) {
	n, out, err := s.wrapped(p, s.line(what)...)
	if err == nil && n >= p.at {
		s.t.Errorf("%s, %+v: it was not killed:\n%s", what, p, out)
	}
	if rules := s.rules(); !strings.Contains(rules, "policy ") {
		s.t.Errorf("%s, %+v: there are no rules", what, p)
	}
	for deadline := time.Now().Add(4 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := os.Stat(filepath.Join(s.dir, "run/tirl/pending.json"))
		is := ""
		if err != nil {
			switch is = s.rules(); is {
			case s.old:
				return
			case s.other: // it was done but for what the next boot loads
				s.old, s.other = s.other, s.old
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Errorf("%s, %+v: not the old rules, pending: %v:\n%s", what, p, err == nil, is)
			return
		}
	}
}
