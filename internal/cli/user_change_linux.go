package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/policy"
	"tirl/internal/pool"
)

func (a *app) userRemoveCommand() *cobra.Command {
	file, door := "", ""
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Make all values of somebody worthless",
		Long: `Make all values of somebody worthless, in the kernel at once, and then take the
user out of the policy file and remove the secret. Nobody else notices anything.
Open connections go on, and so does an open door until its time is over: see
tirl revoke. Without --door it is done at all doors that have such a user.

The last user of a door without knocks stays, since nobody could open it any more:
tirl user renew makes the secret that is out there worthless.`,
		Example: `  sudo tirl user remove alice`,
		Args:    oneUser,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return a.completeUsers(file), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.users(cmd.Context(), "remove a user", file, func(hand *apply.Users, d *document) error {
				return a.removeUser(cmd.Context(), hand, d, args[0], door)
			})
		}),
	}
	policyFlag(cmd, &file)
	a.doorFlag(cmd, &door, &file, "only at this `door`")
	return cmd
}

func (a *app) removeUser(ctx context.Context, hand *apply.Users, d *document, name, door string) error {
	inPolicy := usersNamed(d.policy, name)
	keys, err := pool.Keys(hand.Store)
	if err != nil {
		return err
	}
	// A user may be in one of the two only: somebody has edited the file, or a command
	// was interrupted.
	all := slices.Clone(inPolicy)
	for _, n := range keys {
		if n.User == name && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	elsewhere := func(n pool.Name) bool { return door != "" && n.Door != door }
	all, inPolicy = slices.DeleteFunc(all, elsewhere), slices.DeleteFunc(inPolicy, elsewhere)
	if len(all) == 0 {
		return a.noSuchUser(d.policy, name)
	}
	text, err := a.withoutUsers(d, inPolicy)
	if err != nil {
		return err
	}
	for _, n := range all {
		if err := hand.Revoke(ctx, n); err != nil {
			return fmt.Errorf("revoke %s: %w", n.User, err)
		}
	}
	if len(inPolicy) > 0 {
		if err := a.rewrite(ctx, hand, d, text); err != nil {
			return err
		}
	}
	for _, n := range all {
		if err := hand.Delete(n); err != nil {
			return fmt.Errorf("remove the secret of %s: %w", n.User, err)
		}
	}
	if err := a.refillUsers(ctx, hand); err != nil {
		return err
	}
	return a.print("removed " + usersListed(all) + "\n")
}

func (a *app) noSuchUser(p *policy.Policy, name string) error {
	hint := "sudo tirl user add " + name
	if all := usersNamed(p, ""); len(all) > 0 {
		hint = "the users are " + usersListed(all[:min(10, len(all))])
	}
	return usage(hint, "there is no user %q", name)
}

// withoutUsers takes users out of a policy, which must stay sound.
func (a *app) withoutUsers(d *document, names []pool.Name) ([]byte, error) {
	text := d.source
	for _, n := range names {
		if door := doorOf(d.policy, n.Door); len(door.Users) == 1 && len(door.Knocks) == 0 {
			return nil, fail(exitFailed, fmt.Errorf("%s is the only one who can open door %s", n.User, n.Door),
				fmt.Sprintf("sudo tirl user renew %s makes the secret worthless; or add another user first; or take [door.%s] out of the policy, and sudo tirl apply", n.User, n.Door))
		}
		var found policy.Diagnostics
		if text, found = policy.RemoveUser(displayName(d.file), text, n.Door, n.User); len(found) > 0 {
			return nil, a.invalid(d.file, found)
		}
	}
	return text, nil
}

func (a *app) userRenewCommand() *cobra.Command {
	file, door, all := "", "", false
	cmd := &cobra.Command{
		Use:   "renew NAME",
		Short: "Give somebody another secret",
		Long: `Give somebody another secret in place of the one that he has, all values of which
are worthless at once; then tirl export prints what his machine needs. It is for
a secret that somebody else may have, and for a machine that was set back: after
a snapshot of a whole virtual machine was restored, tirl cannot know which values
were used since, and --all gives everybody another secret.`,
		Example: `  sudo tirl user renew alice
  sudo tirl user renew --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all != (len(args) == 0) || len(args) > 1 {
				return usage(cmd.CommandPath()+" alice", "%s takes the name of a user, or --all", cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return a.completeUsers(file), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.users(cmd.Context(), "renew the secret of a user", file, func(hand *apply.Users, d *document) error {
				name := ""
				if !all {
					name = args[0]
				}
				return a.renewUsers(cmd.Context(), hand, d, name, door)
			})
		}),
	}
	policyFlag(cmd, &file)
	a.doorFlag(cmd, &door, &file, "only at this `door`")
	cmd.Flags().BoolVar(&all, "all", false, "give everybody another secret")
	return cmd
}

func (a *app) renewUsers(ctx context.Context, hand *apply.Users, d *document, name, door string) error {
	names := slices.DeleteFunc(usersNamed(d.policy, name), func(n pool.Name) bool { return door != "" && n.Door != door })
	if len(names) == 0 && name != "" {
		return a.noSuchUser(d.policy, name)
	}
	var errs []error
	for _, n := range names {
		u, _ := userOf(d.policy, n)
		key, err := fresh(u)
		if err == nil {
			err = hand.Renew(ctx, n, key)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("renew the secret of %s: %w", n.User, err))
		}
	}
	errs = append(errs, a.refillUsers(ctx, hand))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(names) == 0 {
		return a.print("there are no users\n")
	}
	if err := a.print("renewed " + usersListed(names) + "\n"); err != nil {
		return err
	}
	if name != "" {
		a.hint("sudo tirl export %s prints what his machine needs", name)
	}
	return nil
}

func (a *app) userRefillCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "refill",
		Short: "Load the next values of all users",
		Long: `Note which values were used and by whom, and load further ones for every user. A
timer does it each minute and when the host starts, and so does every command that
changes what is loaded. It prints how many values it has loaded.`,
		Example: `  sudo tirl user refill`,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("refill the pools of users"); err != nil {
				return err
			}
			return a.explainFailure(a.engine().Users(cmd.Context(), func(hand *apply.Users) error {
				report, err := hand.Refill(cmd.Context())
				a.warnings(report.Warnings)
				if err != nil {
					return err
				}
				return a.print(fmt.Sprintf("loaded %s\n", plural(report.Loaded, "value")))
			}))
		}),
	}
}
