package confirm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"tirl/internal/tool"
)

// Launch starts a program that outlives its caller, its terminal and, where
// systemd can do that, the login session: as a transient unit of systemd, else
// as a process in a session of its own.
//
// Without systemd there is nothing that would keep logind's KillUserProcesses
// off it; then it gets SIGTERM at logout like everything else.
func Launch(ctx context.Context, unit string, args ...string) error {
	if underSystemd() && transient(ctx, unit, args) == nil {
		return nil
	}
	return Detach(args...)
}

// underSystemd says whether systemd runs and would start a program where this
// one is: not in another network, mount or PID namespace.
func underSystemd() bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false
	}
	for _, ns := range []string{"net", "mnt", "pid", "user"} {
		its, err := os.Readlink("/proc/1/ns/" + ns)
		mine, err2 := os.Readlink("/proc/self/ns/" + ns)
		if err != nil || err2 != nil || its != mine {
			return false
		}
	}
	return true
}

// transient runs args as a service, systemd-run(1).
func transient(ctx context.Context, unit string, args []string) error {
	// A dollar begins a variable for systemd, but in the path of the program:
	// systemd.service(5), "Command lines".
	command := []string{args[0]}
	for _, arg := range args[1:] {
		command = append(command, strings.ReplaceAll(arg, "$", "$$"))
	}
	_, err := tool.Host{}.Run(ctx, "", "systemd-run", append([]string{
		"--quiet", "--collect", "--unit=" + unit,
		"--description=takes a tirl policy back unless it is confirmed",
		// SIGTERM is for the watchdog alone: what it has started must finish.
		"--property=KillMode=mixed",
		"--setenv=PATH=" + os.Getenv("PATH"), "--",
	}, command...)...)
	return err
}

// Detach starts a program in a session of its own, setsid(2), with no streams.
func Detach(args ...string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	return cmd.Process.Release()
}
