package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tirl/internal/apply"
	"tirl/internal/host"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/session"
	"tirl/internal/tool"
)

// posixLocale says that a locale which names no character set has only ASCII.
const posixLocale = true

// linuxCommands need the kernel that the rules are for.
func (a *app) linuxCommands() []*cobra.Command {
	return []*cobra.Command{
		a.initCommand(),
		a.applyCommand(),
		a.confirmCommand(),
		a.rollbackCommand(),
		a.watchdogCommand(),
		a.removeCommand(),
		a.grantCommand(),
		a.revokeCommand(),
		a.blockCommand(),
		a.unblockCommand(),
		a.statusCommand(),
		a.eventsCommand(),
		a.doctorCommand(),
		a.demoCommand(),
		a.exportCommand(),
		a.userCommand(),
		a.installCommand(),
		a.uninstallCommand(),
	}
}

// engine works on this host.
func (a *app) engine() *apply.Engine {
	return &apply.Engine{
		Root:    a.dir,
		Kinds:   kinds(),
		Run:     tool.Host{},
		Scratch: scratch,
		Version: thisBuild().Version,
		Boot:    bootID(),
		Launch:  a.launch,
		Adopt:   adoptAll,
		Boots:   boots{a.dir},
		Prove:   a.prove,
		Warn:    func(err error) { a.warn("%v", err) },
		Conns: func(services ...port.Range) ([]session.Conn, error) {
			return session.List(os.DirFS("/"), services...)
		},
	}
}

// bootID is the kernel's own, random(4).
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// scratch lends a network namespace that nothing else is in.
func scratch(_ context.Context, use func(tool.Runner) error) error {
	n, err := lab.NewNamespace()
	if err != nil {
		return fmt.Errorf("%w: %w", apply.ErrNoScratch, err)
	}
	defer n.Close()
	return use(n)
}

// needRoot fails early, and with the command to type, where every program that
// is run would fail in words of its own.
func (a *app) needRoot(what string) error {
	if mayAdministrate() {
		return nil
	}
	return fail(exitFailed, fmt.Errorf("%s: %w", what, unix.EPERM), "sudo tirl "+commandLine(a.args))
}

// mayAdministrate says whether this process may change rules: it has
// CAP_NET_ADMIN, capabilities(7).
func mayAdministrate() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.Geteuid() == 0
	}
	return data[unix.CAP_NET_ADMIN/32].Effective&(1<<(unix.CAP_NET_ADMIN%32)) != 0
}

// facts are what a policy's audit wants to know of this host.
func (a *app) facts() policy.Host {
	facts, err := host.Read(os.DirFS("/"))
	if err != nil {
		a.warn("some of this host's facts are left out: %v", err)
	}
	return facts
}

// audit judges a policy on this host.
func (a *app) audit(d *document) policy.Diagnostics {
	facts := a.facts()
	if d.file != stdinName {
		if info, err := os.Stat(d.file); err == nil {
			facts.FileMode = info.Mode()
		}
	}
	return d.policy.Audit(facts)
}

// explainFailure turns an error of the engine into one with an exit code and a hint.
func (a *app) explainFailure(err error) error {
	unsupported, ok := errors.AsType[*apply.UnsupportedError](err)
	switch {
	case err == nil:
		return nil
	case ok:
		hint := ""
		for _, l := range unsupported.Lacks {
			if errors.Is(l.Err, tool.ErrMissing) {
				hint = "install " + l.Backend + ": apt install " + l.Backend
				break
			}
		}
		return fail(exitUnsupported, err, hint)
	case confirmFailure(err) != nil:
		return confirmFailure(err)
	case notProved(err):
		return fail(exitFindings, err, "see what tirl verify says of it, with the same -c and --backend")
	case errors.Is(err, os.ErrPermission):
		return fail(exitFailed, err, "sudo tirl "+commandLine(a.args))
	case errors.Is(err, apply.ErrBusy):
		return fail(exitFailed, err, "wait until the other tirl has finished, and try again")
	}
	return err
}
