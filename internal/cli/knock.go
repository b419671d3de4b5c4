package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/knock"
	"tirl/internal/policy"
	"tirl/internal/port"
)

type knockFlags struct {
	policy         string
	delay          time.Duration
	only4, only6   bool
	quiet, verbose bool
	payload        string
}

func (a *app) knockCommand() *cobra.Command {
	var f knockFlags
	cmd := &cobra.Command{
		Use:   "knock HOST [PORT | DOOR]...",
		Short: "Knock at a host",
		Long: `Send knocks to a host, in order. A knock is a port such as udp/7719 or tcp/443.
The name of a door stands for the knocks that the policy gives it; without any
port or door, the only door of the policy is meant.

All addresses of the host are knocked at, IPv4 and IPv6, since a connection may
then use any of them. A TCP knock is a single SYN. Nothing tells whether a door
has opened: a hidden host does not answer. No privilege is needed.

Messages go to standard error, so that it can stand in an ssh ProxyCommand.`,
		Example: `  tirl knock www.example.com udp/12345 udp/23456 udp/34567
  tirl knock www.example.com -c policy.toml ssh && ssh www.example.com
  tirl knock -6 --delay 300ms 2001:db8::1 tcp/4021 udp/7719`,
		GroupID: groupClient,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("tirl knock HOST udp/12345 udp/23456 udp/34567", "name the host to knock at")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeDoors(f.policy), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.knock(cmd, args[0], args[1:], f)
		}),
	}
	policyFlag(cmd, &f.policy)
	cmd.Flags().DurationVar(&f.delay, "delay", knock.DefaultDelay, "`time` between two knocks")
	cmd.Flags().BoolVarP(&f.only4, "ipv4", "4", false, "only the host's IPv4 addresses")
	cmd.Flags().BoolVarP(&f.only6, "ipv6", "6", false, "only the host's IPv6 addresses")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but errors")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "print each knock")
	cmd.Flags().StringVar(&f.payload, "payload", "", "one `byte` in each UDP knock, for networks that lose empty datagrams")
	return cmd
}

func (a *app) knock(cmd *cobra.Command, host string, what []string, f knockFlags) error {
	opts := knock.Options{Delay: f.delay, Payload: []byte(f.payload)}
	switch {
	case f.only4 && f.only6:
		return usage("leave both out to knock at all addresses", "-4 and -6 exclude each other")
	case f.quiet && f.verbose:
		return usage("", "-q and -v exclude each other")
	case len(f.payload) > 1:
		return usage("tirl knock --payload . HOST ...", "--payload is one byte, not %d", len(f.payload))
	case f.delay < 0:
		return usage("tirl knock --delay 100ms HOST ...", "--delay %s is negative", f.delay)
	case f.delay == 0:
		opts.Delay = -1
	case f.only4:
		opts.Network = knock.IPv4
	case f.only6:
		opts.Network = knock.IPv6
	}
	knocks, err := a.knocks(host, what, f.policy)
	if err != nil {
		return err
	}
	addrs, err := knock.Resolve(cmd.Context(), host, opts)
	if err != nil {
		return err
	}
	failed := make(map[netip.Addr]error)
	opts.Progress = func(addr netip.Addr, i int, k port.Port, err error) {
		if err != nil {
			failed[addr] = err
		}
		if f.verbose && err == nil {
			a.note("%s: knock %d of %d, %s", addr, i+1, len(knocks), k)
		}
	}
	if err := knock.Send(cmd.Context(), addrs, knocks, opts); err != nil {
		return fmt.Errorf("knock at %s: %w", host, err)
	}
	a.knocked(addrs, len(knocks), failed, f)
	return nil
}

// knocked tells what was sent where. An address that cannot be reached from here
// is no trouble as long as another can.
func (a *app) knocked(addrs []netip.Addr, n int, failed map[netip.Addr]error, f knockFlags) {
	var reached []string
	for _, addr := range addrs {
		if err := failed[addr]; err == nil {
			reached = append(reached, addr.String())
		} else if f.verbose {
			a.note("%s: not reached: %v", addr, err)
		}
	}
	if !f.quiet {
		a.note("sent %s to %s", plural(n, "knock"), strings.Join(reached, " and "))
	}
}

// knocks turns ports and names of doors into knocks. The policy is read only if
// a door is meant.
func (a *app) knocks(host string, what []string, file string) ([]port.Port, error) {
	var p *policy.Policy
	if len(what) == 0 || slices.ContainsFunc(what, isDoor) {
		d, err := a.sound(file)
		if err != nil {
			return nil, err
		}
		p = d.policy
	}
	if len(what) == 0 {
		if len(p.Doors) != 1 {
			return nil, usage(fmt.Sprintf("tirl knock %s %s", host, p.Doors[0].Name),
				"the policy has %d doors: name one of %s", len(p.Doors), doorNames(p))
		}
		return p.Doors[0].Knocks, nil
	}
	var knocks []port.Port
	for _, w := range what {
		if !isDoor(w) {
			k, err := port.Parse(w)
			if err != nil {
				return nil, usage(fmt.Sprintf("tirl knock %s udp/12345 udp/23456 udp/34567", host), "knock %v", err)
			}
			knocks = append(knocks, k)
			continue
		}
		i := slices.IndexFunc(p.Doors, func(d policy.Door) bool { return d.Name == w })
		if i < 0 {
			return nil, usage("a port is written like udp/12345", "the policy has no door %q, only %s", w, doorNames(p))
		}
		knocks = append(knocks, p.Doors[i].Knocks...)
	}
	return knocks, nil
}

// isDoor tells the name of a door from a port.
func isDoor(arg string) bool { return !strings.Contains(arg, "/") }

// doorNames lists the doors of a policy, the first ten of them.
func doorNames(p *policy.Policy) string {
	var names []string
	for _, d := range p.Doors {
		if len(names) == 10 {
			names = append(names, "...")
			break
		}
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}

// completeDoors gives the doors of the policy to a shell, silently.
func (a *app) completeDoors(file string) []cobra.Completion {
	if file == stdinName {
		return nil
	}
	d, err := a.parse(file)
	if err != nil || d.policy == nil {
		return nil
	}
	var names []cobra.Completion
	for _, door := range d.policy.Doors {
		opens := make([]string, len(door.Opens))
		for i, r := range door.Opens {
			opens[i] = r.String()
		}
		names = append(names, cobra.CompletionWithDesc(door.Name, "opens "+strings.Join(opens, ", ")))
	}
	return names
}
