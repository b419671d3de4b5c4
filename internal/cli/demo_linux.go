package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tirl/internal/demo"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/term"
)

type demoFlags struct {
	backend, policy string
}

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show port knocking at work, in private namespaces",
		Long: `Act port knocking out: a server and a client in private network namespaces, the
real tirl, the real kernel. It loads a policy on the server, finds the door closed,
knocks, finds it open, and shows that a wrong knock and a sweep of all ports open
nothing. With several backends the first is shown step by step over IPv4, the
others and IPv6 in a line each.

Nothing of this host is touched, and nothing is left behind, however it ends: the
namespaces live as long as this process. It runs as root, and as a user where the
kernel lets users make namespaces.

Without --policy it shows the founding recipe: HTTP for everybody, SSH behind
three knocks. With --policy it shows the first door that opens to the
demo's client.`,
		Example: `  tirl demo
  tirl demo --backend iptables
  tirl demo --policy policy.toml`,
		GroupID: groupSetup,
		Args:    cobra.NoArgs,
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return a.demo(cmd, f) }),
	}
	cmd.Flags().StringVar(&f.policy, "policy", "", "policy `file` to show instead of the founding recipe")
	cmd.Flags().StringVar(&f.backend, "backend", "", "show this `backend` only: "+strings.Join(backendNames(), ", "))
	complete(cmd, "backend", backendNames())
	return cmd
}

func (a *app) demo(cmd *cobra.Command, f demoFlags) error {
	ctx := cmd.Context()
	d := &document{file: "reference.toml", source: demo.Reference()}
	var err error
	if f.policy != "" {
		d.file = f.policy
		if d.source, err = a.readSource(f.policy); err != nil {
			return err
		}
	}
	if d.policy, d.found = policy.Parse(displayName(d.file), d.source); d.found.HasErrors() {
		return a.invalid(d.file, d.found)
	}
	backends, err := demoBackends(d.policy, f.backend)
	if err != nil {
		return err
	}
	if f.policy == stdinName {
		return usage("name a file", "the demo cannot read its policy from standard input")
	}
	done, code, err := lab.Reexec(ctx, a.args)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EINVAL):
		return fail(exitUnsupported, fmt.Errorf("make private namespaces: %w", err), "sudo tirl "+commandLine(a.args))
	case err != nil:
		return err
	case done:
		return quiet(code)
	}
	exe, err := demo.Executable()
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{
		Exe:      exe,
		Backends: backends,
		Policy:   d.policy,
		Source:   d.source,
		Out:      a.out,
		Style:    a.style(),
		Width:    term.Width(a.out),
		ASCII:    !a.utf8(),
	})
}

// demoBackends says which backends to show: all that can carry the policy, or
// the one that is asked for.
func demoBackends(p *policy.Policy, flag string) ([]string, error) {
	name, err := backendName(p, flag)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, k := range asked(name) {
		names = append(names, k.Name)
	}
	return slices.Clip(names), nil
}
