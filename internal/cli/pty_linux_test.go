package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// controls are the control sequences of ECMA-48.
var controls = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// terminal is a pseudo terminal, pty(7), and a program that runs on it.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	cmd    *exec.Cmd

	mu   sync.Mutex
	seen bytes.Buffer
}

// newTerminal starts tirl on a pseudo terminal in a namespace.
func newTerminal(t *testing.T, n *lab.Namespace, columns, rows uint16, args ...string) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, master: os.NewFile(uintptr(fd), "ptmx"), cmd: tirl(t, args...)}
	t.Cleanup(func() { term.master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	term.resize(columns, rows)
	if term.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { term.slave.Close() })
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = term.slave, term.slave, term.slave
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := n.Start(term.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { term.cmd.Process.Kill() })
	go func() {
		var buf [4096]byte
		for {
			k, err := term.master.Read(buf[:])
			term.mu.Lock()
			term.seen.Write(buf[:k])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return term
}

// tirl is a command that runs the tirl under test: TestMain goes by the name.
func tirl(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{Path: self, Args: append([]string{"tirl"}, args...),
		Env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TERM=xterm", "TZ=UTC"}}
}

func (term *terminal) resize(columns, rows uint16) {
	term.t.Helper()
	if err := unix.IoctlSetWinsize(int(term.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		term.t.Fatal(err)
	}
}

func (term *terminal) all() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.String()
}

// frame is the last picture that is complete, as lines.
func (term *terminal) frame() []string {
	all := term.all()
	i := strings.LastIndex(all, "\x1b[H")
	if i < 0 {
		return nil
	}
	return strings.Split(controls.ReplaceAllString(all[i:], ""), "\r\n")
}

// isLeft says whether the screen is as it was, and the cursor is there.
func (term *terminal) isLeft() bool { return strings.HasSuffix(term.all(), "\x1b[?25h\x1b[?1049l") }

// until waits for something to be shown.
func (term *terminal) until(what string, ok func() bool) {
	term.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			term.t.Fatalf("not in 10 s: %s; the terminal shows\n%q", what, term.frame())
		}
	}
}

func (term *terminal) shows(what string) func() bool {
	return func() bool { return strings.Contains(strings.Join(term.frame(), "\n"), what) }
}

// ends waits for the program to end, with exit code 0.
func (term *terminal) ends() {
	term.t.Helper()
	killer := time.AfterFunc(10*time.Second, func() { term.cmd.Process.Kill() })
	defer killer.Stop()
	if err := term.cmd.Wait(); err != nil {
		term.t.Errorf("it ends with %v", err)
	}
}

func (term *terminal) modes() unix.Termios {
	term.t.Helper()
	modes, err := unix.IoctlGetTermios(int(term.slave.Fd()), unix.TCGETS)
	if err != nil {
		term.t.Fatal(err)
	}
	return *modes
}

// TestWatch looks at a loaded policy through a pseudo terminal while somebody
// knocks.
func TestWatch(t *testing.T) {
	t.Parallel()
	pair := labtest.Pair(t, lab.PairOptions{})
	root := t.TempDir()
	file := filepath.Join(root, "etc/tirl/policy.toml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/4001\", \"udp/5902\", \"udp/3003\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(n *lab.Namespace, args ...string) {
		t.Helper()
		cmd := tirl(t, args...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := n.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("tirl %v: %v\n%s", args, err, &out)
		}
	}
	watch := func() *terminal {
		return newTerminal(t, pair.Server, 80, 24, "--root", root, "status", "--watch", "--interval", "100ms")
	}

	// Before anything is loaded, and while it is.
	term := watch()
	term.until("nothing is loaded", term.shows("not active"))
	before := term.modes()
	if before.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 {
		t.Error("what is typed is shown")
	}
	do(pair.Server, "--root", root, "apply", "--no-confirm")
	term.until("it is loaded", term.shows("active: nftables, guard mode, 1 door"))
	do(pair.Client, "knock", "-q", "--delay", "10ms", lab.Server4().String(), "udp/4001", "udp/5902")
	term.until("two knocks", term.shows(lab.Client4(0).String()+"  ██░  ssh 2/3  "))
	do(pair.Client, "knock", "-q", lab.Server4().String(), "udp/3003")
	term.until("let in", term.shows(lab.Client4(0).String()+"  ██████████  tcp/22 (ssh)  "))
	term.until("a rate", func() bool { return term.shows("a second: opened ")() && !term.shows("opened 0 ")() })
	term.until("time passes", term.shows("  29 s left"))

	// Smaller: no line is too long, and there are not too many.
	term.resize(30, 7)
	term.until("it is small", func() bool {
		lines := term.frame()
		for _, l := range lines {
			if len([]rune(l)) > 30 {
				return false
			}
		}
		return len(lines) <= 7 && len(lines) > 2
	})
	term.resize(80, 24)
	term.until("it is large again", term.shows("q ends"))

	// Ctrl-C gives the terminal back.
	if _, err := term.master.WriteString("x\x03"); err != nil {
		t.Fatal(err)
	}
	term.ends()
	term.until("the other screen is left", term.isLeft)
	if after := term.modes(); after.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != unix.ECHO|unix.ICANON|unix.ISIG || after.Oflag&unix.OPOST == 0 {
		t.Errorf("the terminal is left in the modes %+v", after)
	}

	// So does a signal.
	term = watch()
	term.until("it is loaded", term.shows("active: nftables"))
	if err := term.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	term.ends()
	term.until("the other screen is left", term.isLeft)
	if term.modes().Lflag&unix.ECHO == 0 {
		t.Error("after a signal nothing is shown that is typed")
	}
	do(pair.Server, "--root", root, "remove")
}

// TestInitAsks: on a terminal init asks what a flag does not say.
func TestInitAsks(t *testing.T) {
	t.Parallel()
	pair := labtest.Pair(t, lab.PairOptions{})
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/ssh/sshd_config"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ typed, want string }{{"open\n", `on_failure = "open"`}, {"\n", `on_failure = "close"`}} {
		term := newTerminal(t, pair.Server, 200, 24, "--root", root, "init", "--force")
		term.until("it asks", func() bool {
			return strings.Contains(term.all(), "what becomes of the doors? [close/open] (close) ")
		})
		if _, err := term.master.WriteString(c.typed); err != nil {
			t.Fatal(err)
		}
		term.ends()
		text, err := os.ReadFile(filepath.Join(root, "etc/tirl/policy.toml"))
		if err != nil || !strings.Contains(string(text), "\n"+c.want+"\n") {
			t.Errorf("after %q: %v\n%s", c.typed, err, text)
		}
	}
}
