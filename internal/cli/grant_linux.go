package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// longestGrant is what grant gives; who is to be let in for longer is trusted.
const longestGrant = 30 * 24 * time.Hour

func (a *app) grantCommand() *cobra.Command {
	var d time.Duration
	cmd := &cobra.Command{
		Use:   "grant SOURCE DOOR",
		Short: "Let an address in without a knock",
		Long: `Let an address in by a door, as if it had knocked: by a timed door to new
connections for a time, by an open-once door to its next connection, unless it
sends another packet first. Without --for it is the time that a knock would give.
A grant that ends later stays as it is. The door must be one that opens to the
address (from).

With iptables a grant has its door's own time: --for any other time is an error.
A grant ends at tirl remove, tirl block and with a reboot, and at tirl apply if
the door has changed.`,
		Example: `  sudo tirl grant 192.0.2.7 ssh
  sudo tirl grant 2001:db8::7 ssh --for 1h`,
		GroupID: groupLoad,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("tirl grant 192.0.2.7 DOOR", "grant takes an address and a door")
			}
			return nil
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			source, err := sourceAddress(args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("for") && d < time.Second || d > longestGrant {
				return usage(`to let somebody in always, put the address into trust`, "--for takes a time from 1s to %dh", longestGrant/time.Hour)
			}
			return a.operate(cmd, "let an address in", func(hands []backend.Operator, s *apply.Status) error {
				return a.grant(cmd, hands, s, source, args[1], d)
			})
		}),
	}
	cmd.Flags().DurationVar(&d, "for", 0, "how `long`, such as 10m (default the door's own time)")
	return cmd
}

func (a *app) grant(cmd *cobra.Command, hands []backend.Operator, s *apply.Status, source netip.Addr, name string, d time.Duration) error {
	if s.Loaded.Blocked {
		return fail(exitFailed, errors.New("all doors are blocked"), "sudo tirl unblock")
	}
	g := a.view(s, "").program
	door, err := doorNamed(g, name)
	if err != nil {
		return err
	}
	if !g.Doors[door].Admits(source) {
		return fail(exitFailed, fmt.Errorf("door %s does not open to %s: it is not in its from", name, source),
			"add it to from in the policy, and sudo tirl apply")
	}
	has := time.Duration(0)
	for _, op := range hands {
		if has, err = op.Grant(cmd.Context(), g, door, source, d); err != nil {
			if errors.Is(err, backend.ErrFixedTime) {
				return fail(exitFailed, err, fmt.Sprintf("sudo tirl grant %s %s", source, name))
			}
			return err
		}
	}
	class := g.Classes[g.Doors[door].Class]
	who := network(g, source)
	if class.Once {
		return a.print(fmt.Sprintf("%s may connect once within %s: %s (%s)\n", who, has.Round(time.Second), ranges(class.Services), name))
	}
	return a.print(fmt.Sprintf("%s is let in for %s: %s (%s)\n", who, has.Round(time.Second), ranges(class.Services), name))
}

// network names what counts as one source.
func network(g *automaton.Program, source netip.Addr) string {
	if g != nil && source.Is6() && g.IPv6Prefix < 128 {
		return netip.PrefixFrom(g.Source(source), g.IPv6Prefix).String()
	}
	return source.String()
}

// operate runs what an administrator does to what is loaded.
func (a *app) operate(cmd *cobra.Command, what string, f func([]backend.Operator, *apply.Status) error) error {
	if err := a.needRoot(what); err != nil {
		return err
	}
	err := a.engine().Operate(cmd.Context(), f)
	if errors.Is(err, backend.ErrNotLoaded) {
		return fail(exitInactive, fmt.Errorf("%s: %w", what, backend.ErrNotLoaded), "sudo tirl apply")
	}
	return a.explainFailure(err)
}

// sourceAddress reads the address of one source.
func sourceAddress(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		hint := "an address such as 192.0.2.7 or 2001:db8::7"
		if _, err := netip.ParsePrefix(text); err == nil {
			hint = "one address at a time; networks that are always let in belong into trust"
		}
		return netip.Addr{}, usage(hint, "%q is no address", text)
	}
	return addr.Unmap(), nil
}

// doorNamed finds a door of the loaded policy.
func doorNamed(g *automaton.Program, name string) (int, error) {
	if g == nil {
		return 0, fail(exitFailed, errors.New("it is not known which policy is loaded"), "sudo tirl apply")
	}
	i := slices.IndexFunc(g.Doors, func(d automaton.Door) bool { return d.Name == name })
	if i >= 0 {
		return i, nil
	}
	all := make([]string, len(g.Doors))
	for i, d := range g.Doors {
		all[i] = d.Name
	}
	hint := fmt.Sprintf("see tirl check for its %d doors", len(all))
	if len(all) <= 10 {
		hint = "its doors: " + strings.Join(all, ", ")
	}
	return 0, usage(hint, "the loaded policy has no door %q", name)
}
