package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/policy"
	"tirl/internal/pool"
	"tirl/internal/port"
)

type userFlags struct {
	policy, door, kind, ports, first string
	length, pool                     int
}

func (a *app) userAddCommand() *cobra.Command {
	var f userFlags
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Give somebody one-time values",
		Long: `Give somebody a secret of his own, and write him into the policy file. If that is
in force, it is so at once; then the kernel holds his next values, and
tirl export prints what his machine needs. A second machine is a second user.

By default a value is a token: one UDP datagram of 16 bytes that nobody can guess.
A sequence is for machines that can only send empty packets: its first knock is
always the same, all others change each time.

Run again after it was interrupted, it goes on with the secret that is there.`,
		Example: `  sudo tirl user add alice
  sudo tirl user add bob --door ssh --one-time sequence
  sudo tirl user add phone --ports 443 && sudo tirl export phone --qr`,
		Args: oneUser,
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.addUser(cmd, args[0], f) }),
	}
	policyFlag(cmd, &f.policy)
	a.doorFlag(cmd, &f.door, &f.policy, "`door` of the policy (default the only one)")
	flags := cmd.Flags()
	flags.StringVar(&f.kind, "one-time", string(policy.Token), "`kind` of the values: token or sequence")
	complete(cmd, "one-time", []string{string(policy.Token), string(policy.Sequence)})
	flags.StringVar(&f.ports, "ports", policy.DefaultPorts().String(), "UDP `ports` that the values go to")
	flags.StringVar(&f.first, "first", "", "first `knock` of a sequence, such as udp/40213 (default drawn at random)")
	flags.IntVar(&f.length, "length", policy.DefaultLength, "knocks of a sequence")
	flags.IntVar(&f.pool, "pool", policy.DefaultPool, "values that the kernel holds at once")
	return cmd
}

// doorFlag adds --door.
func (a *app) doorFlag(cmd *cobra.Command, door, file *string, text string) {
	cmd.Flags().StringVar(door, "door", "", text)
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("door", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.completeDoors(*file), cobra.ShellCompDirectiveNoFileComp
	})
}

// user reads the flags.
func (f *userFlags) user(cmd *cobra.Command, name string) (policy.User, error) {
	u := policy.User{Name: name, Kind: policy.OneTime(f.kind), Pool: f.pool}
	var err error
	if u.Ports, err = port.ParseSpan(f.ports); err != nil {
		return u, usage("such as --ports 1024-65535", "--ports %q is no range of ports", f.ports)
	}
	switch u.Kind {
	case policy.Token:
		if cmd.Flags().Changed("first") || cmd.Flags().Changed("length") {
			return u, usage("leave them out, or use --one-time sequence", "a token has no --first and no --length: it is one datagram")
		}
	case policy.Sequence:
		u.Length = f.length
		if f.first != "" {
			if u.First, err = port.Parse(f.first); err != nil {
				return u, usage("such as --first udp/40213", "--first %q is no port", f.first)
			}
		}
	default:
		return u, usage("use token or sequence", "--one-time cannot be %q", f.kind)
	}
	return u, nil
}

func (a *app) addUser(cmd *cobra.Command, name string, f userFlags) error {
	u, err := f.user(cmd, name)
	if err != nil {
		return err
	}
	return a.users(cmd.Context(), "add a user", f.policy, func(hand *apply.Users, d *document) error {
		n := pool.Name{Door: f.door, User: name}
		if n.Door == "" {
			if len(d.policy.Doors) != 1 {
				return usage("tirl user add "+name+" --door "+d.policy.Doors[0].Name, "the policy has %d doors: %s", len(d.policy.Doors), doorNames(d.policy.Doors))
			}
			n.Door = d.policy.Doors[0].Name
		}
		if doorOf(d.policy, n.Door) == nil {
			return usage("tirl user add "+name+" --door "+d.policy.Doors[0].Name, "the policy has no door %q, only %s", n.Door, doorNames(d.policy.Doors))
		}
		return a.addUserTo(cmd.Context(), hand, d, n, u)
	})
}

func (a *app) addUserTo(ctx context.Context, hand *apply.Users, d *document, n pool.Name, u policy.User) error {
	old, err := pool.ReadKey(hand.Store, n.Door, n.User)
	hasKey := err == nil
	if err != nil && !errors.Is(err, pool.ErrNoKey) {
		return keyFailure(n, err)
	}
	known, isKnown := userOf(d.policy, n)
	switch {
	case isKnown && hasKey:
		return fail(exitFailed, fmt.Errorf("door %s has a user %s already", n.Door, n.User),
			fmt.Sprintf("sudo tirl export %s prints what is needed; sudo tirl user renew %s makes the secret worthless", n.User, n.User))
	case isKnown:
		u = known // he is in the policy, and has no secret yet
	case hasKey && u.First == (port.Port{}):
		u.First = old.First
	}
	text := d.source
	if !isKnown {
		if text, u, err = a.withUser(d, n, u); err != nil {
			return err
		}
	}
	key, err := fresh(u)
	if err != nil {
		return err
	}
	had, err := hand.Add(n, key)
	if err != nil {
		return keyFailure(n, fmt.Errorf("keep a secret for %s: %w", n.User, err))
	}
	if err := a.rewrite(ctx, hand, d, text); err != nil {
		return err
	}
	if err := a.refillUsers(ctx, hand); err != nil {
		return err
	}
	how := ""
	if had {
		how = ", with the secret that he had"
	}
	if err := a.print(fmt.Sprintf("%s: user of door %s, by %s%s\n", n.User, n.Door, u.Kind, how)); err != nil {
		return err
	}
	a.hint("sudo tirl export %s prints what his machine needs", n.User)
	if !a.installHost().Refilling() {
		a.hint("nothing loads further values when these are used up, or after a reboot: sudo tirl install")
	}
	return nil
}

// withUser writes a user into a policy. A first knock that is not given is drawn
// until the policy has nothing against it.
func (a *app) withUser(d *document, n pool.Name, u policy.User) ([]byte, policy.User, error) {
	draw := u.Kind == policy.Sequence && u.First == (port.Port{})
	for try := 0; ; try++ {
		if draw {
			number, err := rand.Int(rand.Reader, big.NewInt(int64(usualEphemeralFirst-1024)))
			if err != nil {
				return nil, u, err
			}
			u.First = port.Port{Proto: port.UDP, Number: uint16(1024 + number.Int64())}
		}
		text, found := policy.AddUser(displayName(d.file), d.source, n.Door, u)
		if len(found) > 0 {
			return nil, u, a.invalid(d.file, found)
		}
		p, found := policy.Parse(displayName(d.file), text)
		if p == nil && draw && try < attempts {
			continue
		}
		if p == nil {
			errs := slices.DeleteFunc(found, func(x policy.Diagnostic) bool { return x.Severity != policy.Error })
			return nil, u, a.invalid(d.file, errs)
		}
		return text, u, nil
	}
}

// credential is what a user is handed out.
func credential(s pool.Store, n pool.Name) (policy.Credential, error) {
	key, err := pool.ReadKey(s, n.Door, n.User)
	if err != nil {
		return policy.Credential{}, keyFailure(n, fmt.Errorf("read the secret of %s: %w", n.User, err))
	}
	rec, err := pool.ReadRecord(s, key.Secret.ID())
	if err != nil {
		return policy.Credential{}, err
	}
	c := policy.Credential{Secret: key.Secret, User: policy.User{
		Name: n.User, Kind: key.Kind, First: key.First, Length: key.Length, Ports: port.Span{First: key.Lo, Last: key.Hi}, Pool: key.Pool,
	}}
	if rec != nil {
		if rec.Retired != nil {
			return policy.Credential{}, keyFailure(n, fmt.Errorf("%s: %w", n.User, pool.ErrRevoked))
		}
		c.Start = rec.Start()
	}
	return c, nil
}
