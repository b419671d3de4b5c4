package cli

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

// TestKernelScripts runs testdata/kernel/*.txtar. There the commands server and
// client run a program in one of two network namespaces that are joined by a
// cable, with the exit code that comes first.
func TestKernelScripts(t *testing.T) {
	labtest.Require(t)
	p := params("testdata/kernel")
	p.Setup = func(env *testscript.Env) error {
		pair, err := lab.NewPair(lab.PairOptions{})
		if err != nil {
			return err
		}
		env.Defer(func() { pair.Close() })
		env.Values[pairKey{}] = pair
		// testscript puts the tirl under test first in the PATH.
		bin, _, _ := strings.Cut(env.Getenv("PATH"), ":")
		env.Setenv("TIRL", bin)
		env.Setenv("SERVER4", lab.Server4().String())
		env.Setenv("SERVER6", lab.Server6().String())
		return sober(env)
	}
	p.Condition = func(name string) (bool, error) {
		if name != "host-root" {
			return false, fmt.Errorf("there is no condition %q", name)
		}
		return hostRoot(), nil
	}
	p.Cmds["server"] = func(ts *testscript.TestScript, neg bool, args []string) {
		within(ts, ts.Value(pairKey{}).(*lab.Pair).Server, neg, args)
	}
	p.Cmds["client"] = func(ts *testscript.TestScript, neg bool, args []string) {
		within(ts, ts.Value(pairKey{}).(*lab.Pair).Client, neg, args)
	}
	p.Cmds["spend"], p.Cmds["listen"] = spend, listen
	testscript.Run(t, p)
}

// hostRoot says whether this is the root of the host and not of a user namespace,
// to whom the lists of the recent match in /proc are read-only.
func hostRoot() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.HasSuffix(strings.TrimSpace(string(ids)), " 4294967295")
}

type pairKey struct{}

// within runs a program in a namespace.
func within(ts *testscript.TestScript, n *lab.Namespace, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: server|client CODE PROGRAM [ARGUMENT]...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	path, err := lookPath(ts, args[1])
	ts.Check(err)
	cmd := &exec.Cmd{Path: path, Args: args[1:], Dir: ts.MkAbs("."), Stdout: ts.Stdout(), Stderr: ts.Stderr()}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LC_ALL", "TZ", "TIRL_POLICY", "TIRL"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(n.Start(cmd))
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("exit code %d, want %d: %v", code, want, err)
	}
}

// lookPath looks in the PATH of the script, which has the tirl under test in it.
func lookPath(ts *testscript.TestScript, name string) (string, error) {
	if strings.Contains(name, "/") {
		return ts.MkAbs(name), nil
	}
	var err error
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		var path string
		if path, err = exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", err
}
