package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"tirl/dist"
	"tirl/internal/atomicfile"
	"tirl/internal/boot"
	"tirl/internal/install"
	"tirl/internal/policy"
	"tirl/internal/term"
	"tirl/internal/tool"
)

type installFlags struct {
	policy, onFailure string
	heal, noHeal      bool
}

func (a *app) installCommand() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Have the policy loaded when the host starts",
		Long: `Place the boot script and the systemd units, and enable tirl.service: before the
network is up it loads what the last confirmed apply has saved, with nothing but
nft or iptables-restore. Neither this program nor the policy file is needed then.

If the saved rules cannot be loaded, the same policy is tried with the other
backend. If that fails too, the policy's [boot] on_failure says whether the
doors are shut to everybody but trust ("close", the default) or stay open.

With --heal a timer looks every minute whether somebody has flushed the rules,
and loads them again.

On a terminal it asks what the policy and the flags do not say. It can be run
again at any time. Where systemd does not start the host, it prints the line
to put into a boot script, and its exit status is 7.`,
		Example: `  sudo tirl install
  sudo tirl install --on-failure close --heal
  tirl install --root /mnt/image --no-heal`,
		GroupID: groupSetup,
		Args:    noArguments,
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return a.install(cmd.Context(), f) }),
	}
	policyFlag(cmd, &f.policy)
	cmd.Flags().StringVar(&f.onFailure, "on-failure", "", "write `close|open` into the policy as [boot] on_failure")
	complete(cmd, "on-failure", []string{string(policy.CloseOnFailure), string(policy.OpenOnFailure)})
	cmd.Flags().BoolVar(&f.heal, "heal", false, "enable the timer that loads rules again which were flushed")
	cmd.Flags().BoolVar(&f.noHeal, "no-heal", false, "disable that timer")
	cmd.MarkFlagsMutuallyExclusive("heal", "no-heal")
	return cmd
}

func (a *app) uninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Have nothing loaded when the host starts",
		Long: `Disable the systemd units, and remove them and the boot script, unless they came
with a package. Rules that are loaded stay until the host starts again, and so
does the policy.`,
		Example: `  sudo tirl uninstall`,
		GroupID: groupSetup,
		Args:    noArguments,
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return a.uninstall(cmd.Context()) }),
	}
}

// installHost is this host, or the files under --root.
func (a *app) installHost() *install.Host {
	return &install.Host{Root: a.dir, Run: tool.Host{}, Booted: a.dir == "" && install.Booted()}
}

func (a *app) install(ctx context.Context, f installFlags) error {
	switch policy.OnFailure(f.onFailure) {
	case "", policy.CloseOnFailure, policy.OpenOnFailure:
	default:
		return usage("use close or open", "--on-failure cannot be %q", f.onFailure)
	}
	if a.dir == "" {
		if err := a.needRoot("place systemd units"); err != nil {
			return err
		}
	}
	h := a.installHost()
	if err := a.settleFailure(f); err != nil {
		return err
	}
	if err := a.unlikeSaved(ctx, h); err != nil {
		return err
	}
	var o install.Options
	switch {
	case f.heal, f.noHeal:
		o.Heal = &f.heal
	case a.interactive() && !h.Healing():
		yes := a.ask("look every minute whether somebody has flushed the rules, and load them again?", "no", "yes") == "yes"
		o.Heal = &yes
	}
	did, err := h.Install(ctx, o)
	for _, line := range did {
		if err := a.print(line + "\n"); err != nil {
			return err
		}
	}
	switch {
	case errors.Is(err, install.ErrNoSystemd):
		if err := a.print(dist.LoadPath + "\n"); err != nil {
			return err
		}
		return fail(exitUnsupported, err, "put the line "+dist.LoadPath+" into a boot script that runs before the network is up")
	case err != nil:
		return fmt.Errorf("install: %w", err)
	case len(did) == 0:
		if err := a.print("installed already\n"); err != nil {
			return err
		}
	}
	return a.whatBootLoads()
}

// whatBootLoads tells what is still to be done.
func (a *app) whatBootLoads() error {
	saved, err := boot.Read(a.dir)
	switch {
	case err != nil:
		a.warn("%v", err)
	case saved == nil:
		a.hint("nothing is saved for the next boot; sudo tirl apply saves what it loads")
	}
	return nil
}

// unlikeSaved refuses where the service, which is started, would load something
// else over what is in the kernel, such as a policy that waits for a confirmation.
func (a *app) unlikeSaved(ctx context.Context, h *install.Host) error {
	saved, err := boot.Read(a.dir)
	if !h.Booted || err != nil || saved == nil {
		return nil
	}
	s, err := a.engine().Status(ctx)
	if err != nil || s.Loaded == nil || s.Loaded.PolicyHash == saved.PolicyHash {
		return nil
	}
	return fail(exitFailed, errors.New("what is loaded is not what is saved for the next boot"),
		"sudo tirl status tells more; sudo tirl apply loads and saves the policy")
}

func (a *app) uninstall(ctx context.Context) error {
	if a.dir == "" {
		if err := a.needRoot("remove systemd units"); err != nil {
			return err
		}
	}
	did, err := a.installHost().Uninstall(ctx)
	for _, line := range did {
		if err := a.print(line + "\n"); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	if len(did) == 0 {
		return a.print("nothing was installed\n")
	}
	a.note("rules that are loaded stay until the host starts again; sudo tirl remove takes them out")
	return nil
}

// settleFailure sees to it that the policy says what the flag, or the answer of
// whoever is asked, says of [boot] on_failure.
func (a *app) settleFailure(f installFlags) error {
	file := a.policyPath(f.policy)
	d, err := a.parse(f.policy)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.onFailure == "":
		a.warn("there is no policy in %s yet", file)
		return nil
	case err != nil:
		return err
	case d.policy == nil && f.onFailure == "":
		a.warn("the policy %s has errors; see tirl check", displayName(file))
		return nil
	case d.policy == nil:
		_, err := a.sound(f.policy)
		return err
	}
	choice, has := policy.OnFailure(f.onFailure), d.policy.Has("boot.on_failure")
	switch {
	case choice == "" && !has && a.interactive():
		choice = a.askOnFailure()
	case choice == "":
		choice = d.policy.Boot.OnFailure
	}
	if f.onFailure != "" && has && choice != d.policy.Boot.OnFailure {
		at := d.policy.Position("boot.on_failure")
		return fail(exitFailed, fmt.Errorf("the policy %s says on_failure = %q", displayName(file), d.policy.Boot.OnFailure),
			fmt.Sprintf("change it there, in line %d, and run sudo tirl apply", at.Line))
	}
	if choice == policy.CloseOnFailure && len(d.policy.Trust.Prefixes)+len(d.policy.Trust.Interfaces) == 0 {
		a.warn("trust is empty: if no saved rules can be loaded, the doors are shut to everybody, and only the console is left")
	}
	if has || choice == d.policy.Boot.OnFailure && f.onFailure == "" && !a.interactive() {
		return nil
	}
	return a.writeFailure(d, choice)
}

func (a *app) askOnFailure() policy.OnFailure {
	return policy.OnFailure(a.ask("if no saved rules can be loaded when the host starts, what becomes of the doors?",
		string(policy.CloseOnFailure), string(policy.OpenOnFailure)))
}

// writeFailure adds [boot] to the policy file, and nothing else.
func (a *app) writeFailure(d *document, choice policy.OnFailure) error {
	lines := fmt.Sprintf("[boot]\non_failure = %q\n", choice)
	hint := "write into it:\n" + lines
	if d.file == stdinName || d.policy.Has("boot") {
		return fail(exitFailed, fmt.Errorf("on_failure cannot be added to the policy %s", displayName(d.file)), hint)
	}
	text := bytes.Clone(d.source)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	text = append(text, "\n"+lines...)
	p, _ := policy.Parse(d.file, text)
	if p == nil || p.Boot.OnFailure != choice {
		return fail(exitFailed, fmt.Errorf("on_failure cannot be added to the policy %s", displayName(d.file)), hint)
	}
	if err := atomicfile.Replace(d.file, text); err != nil {
		return fmt.Errorf("add on_failure to the policy: %w", err)
	}
	if err := a.print(fmt.Sprintf("wrote on_failure = %q into %s\n", choice, d.file)); err != nil {
		return err
	}
	if choice != d.policy.Boot.OnFailure {
		a.hint("sudo tirl apply puts it in force")
	}
	return nil
}

// interactive says whether somebody is there to be asked.
func (a *app) interactive() bool { return term.IsTerminal(a.in) && term.IsTerminal(a.err) }

// ask gives one of two answers; the first one if there is no word of another.
func (a *app) ask(question, standard, other string) string {
	// A terminal gives a line at a time, so that nothing of the next answer is lost.
	in := bufio.NewReader(a.in)
	for {
		fmt.Fprintf(a.err, "tirl: %s [%s/%s] (%s) ", question, standard, other, standard)
		answer, err := in.ReadString('\n')
		switch answer = strings.ToLower(strings.TrimSpace(answer)); {
		case answer == standard, answer == "":
			return standard
		case answer == other, len(answer) == 1 && strings.HasPrefix(other, answer) && !strings.HasPrefix(standard, answer):
			return other
		case len(answer) == 1 && strings.HasPrefix(standard, answer):
			return standard
		}
		if err != nil {
			return standard
		}
	}
}
