package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/atomicfile"
	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/pool"
)

func (a *app) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "People who open a door with values that work once",
		Long: `Keep the users of a door: people who open it with one-time values, each of which
is worth nothing once it was used. A user has a secret in /etc/tirl/keys, and the
kernel holds the next values of each of them; no process of tirl runs.`,
		GroupID: groupSetup,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		}),
		Args: cobra.ArbitraryArgs,
	}
	cmd.AddCommand(a.userAddCommand(), a.userRemoveCommand(), a.userRenewCommand(), a.userListCommand(), a.userRefillCommand())
	return cmd
}

// oneUser is for commands that take the name of a user.
func oneUser(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(cmd.CommandPath()+" alice", "%s takes the name of a user", cmd.CommandPath())
	}
	return nil
}

// completeUsers gives a shell the users of the policy.
func (a *app) completeUsers(file string) []cobra.Completion {
	if file == stdinName {
		return nil
	}
	d, err := a.parse(file)
	if err != nil || d.policy == nil {
		return nil
	}
	var names []cobra.Completion
	for _, n := range usersNamed(d.policy, "") {
		names = append(names, cobra.CompletionWithDesc(n.User, "door "+n.Door))
	}
	return names
}

// usersNamed gives the users of a policy, those of one name if it is not empty.
func usersNamed(p *policy.Policy, name string) []pool.Name {
	var all []pool.Name
	for _, d := range p.Doors {
		for _, u := range d.Users {
			if name == "" || u.Name == name {
				all = append(all, pool.Name{Door: d.Name, User: u.Name})
			}
		}
	}
	return all
}

// doorOf gives a door of a policy; nil if there is none.
func doorOf(p *policy.Policy, name string) *policy.Door {
	for i := range p.Doors {
		if p.Doors[i].Name == name {
			return &p.Doors[i]
		}
	}
	return nil
}

func userOf(p *policy.Policy, n pool.Name) (policy.User, bool) {
	if d := doorOf(p, n.Door); d != nil {
		if i := slices.IndexFunc(d.Users, func(u policy.User) bool { return u.Name == n.User }); i >= 0 {
			return d.Users[i], true
		}
	}
	return policy.User{}, false
}

// users runs what changes users, with the policy file as it is while nobody else
// changes it.
func (a *app) users(ctx context.Context, what, file string, f func(*apply.Users, *document) error) error {
	if file == stdinName {
		return usage("name the policy with -c FILE", "users cannot be kept in standard input")
	}
	if err := a.needRoot(what); err != nil {
		return err
	}
	return a.explainFailure(a.engine().Users(ctx, func(u *apply.Users) error {
		d, err := a.sound(file)
		if err != nil {
			return err
		}
		return f(u, d)
	}))
}

// inForce says whether a policy file is what the kernel holds.
func inForce(u *apply.Users, d *document) bool {
	file, err := filepath.Abs(d.file)
	return err == nil && u.Record != nil && u.Record.PolicyFile == file && u.Record.PolicyHash == d.policy.Hash()
}

// rewrite puts another text into the policy file, and loads it if the kernel holds
// what was in it before.
func (a *app) rewrite(ctx context.Context, u *apply.Users, d *document, text []byte) error {
	if bytes.Equal(text, d.source) {
		return nil
	}
	changed := &document{file: d.file, source: text}
	if changed.policy, changed.found = policy.Parse(displayName(d.file), text); changed.policy == nil {
		return a.invalid(d.file, changed.found)
	}
	p, err := a.compiled(changed, "")
	if err != nil {
		return err
	}
	loaded := inForce(u, d)
	if err := atomicfile.Replace(d.file, text); err != nil {
		return fmt.Errorf("write %s: %w", d.file, err)
	}
	switch {
	case u.Record == nil:
		a.hint("sudo tirl apply loads the policy")
		return nil
	case !loaded, u.Waits:
		a.hint("the policy in force is not what was in %s: sudo tirl apply", d.file)
		return nil
	}
	in := apply.Input{Program: p.Program, Source: text, Backend: u.Record.Backend}
	if in.File, err = filepath.Abs(d.file); err != nil {
		return err
	}
	res, err := u.Apply(ctx, in)
	a.warnings(res.Warnings)
	return err
}

// fresh draws the secret of a user.
func fresh(u policy.User) (onetime.Key, error) {
	k := onetime.Key{Params: onetime.ParamsOf(u), Created: time.Now().UTC().Truncate(time.Second)}
	_, err := rand.Read(k.Secret[:])
	return k, err
}

// keyFailure adds hints to what is wrong with a user's key.
func keyFailure(n pool.Name, err error) error {
	if err == nil {
		return nil
	}
	return fail(exitFailed, err, keyHint(n, err))
}

func keyHint(n pool.Name, err error) string {
	file := pool.Dir{}.Path(pool.KeyName(n.Door, n.User))
	switch {
	case errors.Is(err, pool.ErrNoKey):
		return fmt.Sprintf("sudo tirl user add %s --door %s", n.User, n.Door)
	case errors.Is(err, pool.ErrExposed):
		return fmt.Sprintf("somebody may have it: sudo chmod 600 %s && sudo tirl user renew %s", file, n.User)
	case errors.Is(err, pool.ErrRevoked), errors.Is(err, pool.ErrUnlike):
		return fmt.Sprintf("sudo tirl user renew %s --door %s", n.User, n.Door)
	}
	return ""
}

// usersListed names users in a sentence.
func usersListed(names []pool.Name) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = n.User + " of door " + n.Door
	}
	return strings.Join(texts, ", ")
}

// refillUsers does at once what the end of every command does, so that it can be told.
func (a *app) refillUsers(ctx context.Context, u *apply.Users) error {
	report, err := u.Refill(ctx)
	a.warnings(report.Warnings)
	return err
}
