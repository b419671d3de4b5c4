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

// verifyTimeout is how long --verify waits for an answer: twice the time until a
// lost SYN is sent again.
const verifyTimeout = 2500 * time.Millisecond

// maxBlock bounds --from-block: nobody knocks as often.
const maxBlock = 1<<31 - 1

type knockFlags struct {
	policy, hosts  string
	delay          time.Duration
	only4, only6   bool
	quiet, verbose bool
	payload        string
	verify         string
	opened         bool
	fromBlock      int
}

func (a *app) knockCommand() *cobra.Command {
	var f knockFlags
	cmd := &cobra.Command{
		Use:   "knock HOST [PORT | DOOR]...",
		Short: "Knock at a host",
		Long: `Send knocks to a host, in order. A knock is a port such as udp/7719 or tcp/443.
The name of a door stands for its knocks; without any port or door, the only door
is meant.

HOST is one of the hosts file, which has its addresses and doors; a file with an
entry is what tirl export prints on the host. A host without an entry is looked
up by name, and its doors are those of a policy on this machine.

All addresses of the host are knocked at, IPv4 and IPv6, since a connection may
then use any of them. A TCP knock is a single SYN. A hidden host does not answer:
only --verify, which connects to a port, tells whether a door has opened. No
privilege is needed.

A door of the hosts file may be opened by values that work once. Knocking then
goes on until a TCP service of the door can be reached; what works next time is
counted in ~/.local/state/tirl. Where nothing can be reached, or the door opens
for one connection, tell with --opened that it has opened.

Messages go to standard error.`,
		Example: `  tirl knock web ssh && ssh web
  tirl knock web --verify tcp/22
  tirl knock www.example.com udp/12345 udp/23456 udp/34567
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
				return a.completeHosts(f.hosts), cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeDoorsOf(f.hosts, args[0], f.policy), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("delay") {
				f.delay = -1
			} else if f.delay < 0 {
				return usage("tirl knock --delay 100ms HOST ...", "--delay %s is negative", f.delay)
			}
			if cmd.Flags().Changed("from-block") && (f.fromBlock < 0 || f.fromBlock > maxBlock) {
				return usage("tirl knock --from-block 3 HOST", "--from-block %d is not between 0 and %d", f.fromBlock, maxBlock)
			}
			return a.knock(cmd, args[0], args[1:], f)
		}),
	}
	policyFlag(cmd, &f.policy)
	hostsFlag(cmd, &f.hosts)
	cmd.Flags().DurationVar(&f.delay, "delay", knock.DefaultDelay, "`time` between two knocks (default that of the host's entry, or 100ms)")
	cmd.Flags().Lookup("delay").DefValue = ""
	cmd.Flags().BoolVarP(&f.only4, "ipv4", "4", false, "only the host's IPv4 addresses")
	cmd.Flags().BoolVarP(&f.only6, "ipv6", "6", false, "only the host's IPv6 addresses")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but errors")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "print each knock")
	cmd.Flags().StringVar(&f.payload, "payload", "", "one `byte` in each UDP knock, for networks that lose empty datagrams")
	cmd.Flags().StringVar(&f.verify, "verify", "", "then connect to this TCP `port`, and fail if it is not open")
	cmd.Flags().BoolVar(&f.opened, "opened", false, "do not knock: what was sent last has opened the one-time door")
	cmd.Flags().IntVar(&f.fromBlock, "from-block", -1, "go on at this `block` of one-time values, as the host says")
	cmd.Flags().Lookup("from-block").DefValue = ""
	return cmd
}

func (a *app) knock(cmd *cobra.Command, host string, what []string, f knockFlags) error {
	opts, err := familyOptions(f.only4, f.only6)
	switch {
	case err != nil:
		return err
	case f.quiet && f.verbose:
		return usage("", "-q and -v exclude each other")
	case len(f.payload) > 1:
		return usage("tirl knock --payload . HOST ...", "--payload is one byte, not %d", len(f.payload))
	}
	opts.Payload = []byte(f.payload)
	verify, err := verifyPort(f.verify)
	if err != nil {
		return err
	}
	r, err := a.knockTarget(f.hosts, host, what)
	if err != nil {
		return err
	}
	switch {
	case f.delay < 0:
		opts.Delay = r.Delay
	case f.delay == 0:
		opts.Delay = -1
	default:
		opts.Delay = f.delay
	}
	door, err := oneTimeDoor(r, what)
	switch {
	case err != nil:
		return err
	case door != nil && f.policy == "":
		return a.knockOnce(cmd, r, *door, opts, verify, f)
	case f.opened || f.fromBlock >= 0:
		return usage("", "--opened and --from-block are for doors of the hosts file whose values work once")
	}
	knocks, once, err := a.knocks(r, what, f.policy, f.hosts)
	if err != nil {
		return err
	}
	addrs, err := a.addresses(cmd.Context(), r, opts)
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
	reached := a.knocked(addrs, len(knocks), failed, f)
	if f.verify == "" {
		return nil
	}
	if once {
		a.warn("the door opens for one connection, and --verify uses it up")
	}
	return a.verifyOpen(cmd, reached, verify, host, f)
}

// knockTarget reads the hosts file, unless what is given needs none of it.
func (a *app) knockTarget(file, host string, what []string) (policy.Remote, error) {
	if _, err := netip.ParseAddr(host); err == nil && file == "" && len(what) > 0 && !slices.ContainsFunc(what, isDoor) {
		return policy.Remote{Name: host, Lookups: []string{host}}, nil
	}
	return a.remote(file, host)
}

func verifyPort(text string) (port.Port, error) {
	if text == "" {
		return port.Port{}, nil
	}
	p, err := port.Parse(text)
	switch {
	case err != nil:
		return p, usage("tirl knock --verify tcp/22 HOST ...", "--verify: %v", err)
	case p.Proto != port.TCP:
		return p, usage("tirl knock --verify tcp/22 HOST ...", "--verify takes a TCP port: nothing tells whether %s is open", p)
	}
	return p, nil
}

// verifyOpen connects to a port of all addresses that were knocked at.
func (a *app) verifyOpen(cmd *cobra.Command, addrs []netip.Addr, p port.Port, host string, f knockFlags) error {
	open, err := knock.Open(cmd.Context(), addrs, p, verifyTimeout)
	if err == nil && cmd.Context().Err() != nil {
		err = cmd.Context().Err()
	}
	if err != nil {
		return fail(exitFailed, fmt.Errorf("%s of %s is not open: %w", p, host, err),
			"knock again, more slowly: tirl knock --delay 500ms "+commandLine(cmd.Flags().Args())+" --verify "+p.String())
	}
	if !f.quiet {
		a.note("%s is open at %s", p, joinAddrs(open))
	}
	return nil
}

// knocked tells what was sent where, and gives the addresses. One that cannot be
// reached from here is no trouble as long as another can.
func (a *app) knocked(addrs []netip.Addr, n int, failed map[netip.Addr]error, f knockFlags) []netip.Addr {
	var reached []netip.Addr
	for _, addr := range addrs {
		if err := failed[addr]; err == nil {
			reached = append(reached, addr)
		} else if f.verbose {
			a.note("%s: not reached: %v", addr, err)
		}
	}
	if !f.quiet {
		a.note("sent %s to %s", plural(n, "knock"), joinAddrs(reached))
	}
	return reached
}

func joinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return strings.Join(words, " and ")
}

// knocks turns ports and names of doors into knocks, and says whether a door
// among them opens for one connection only.
func (a *app) knocks(r policy.Remote, what []string, file, hosts string) (knocks []port.Port, once bool, err error) {
	var doors []policy.Door
	var whose string
	if len(what) == 0 || slices.ContainsFunc(what, isDoor) {
		if doors, whose, err = a.doorsOf(r, file, hosts); err != nil {
			return nil, false, err
		}
	}
	if len(what) == 0 {
		if len(doors) != 1 {
			return nil, false, usage(fmt.Sprintf("tirl knock %s %s", r.Name, doors[0].Name),
				"%s has %d doors: name one of %s", whose, len(doors), doorNames(doors))
		}
		what = []string{doors[0].Name}
	}
	for _, w := range what {
		if !isDoor(w) {
			k, err := port.Parse(w)
			if err != nil {
				return nil, false, usage(fmt.Sprintf("tirl knock %s udp/12345 udp/23456 udp/34567", r.Name), "knock %v", err)
			}
			knocks = append(knocks, k)
			continue
		}
		i := slices.IndexFunc(doors, func(d policy.Door) bool { return d.Name == w })
		if i < 0 {
			return nil, false, usage("a port is written like udp/12345", "%s has no door %q, only %s", whose, w, doorNames(doors))
		}
		knocks, once = append(knocks, doors[i].Knocks...), once || doors[i].Once
	}
	return knocks, once, nil
}

// completeDoorsOf gives the doors that knock would know to a shell, silently.
func (a *app) completeDoorsOf(hosts, host, file string) []cobra.Completion {
	if r, ok := a.knownHosts(hosts).Find(host); ok && file == "" && len(r.Doors) > 0 {
		return doorCompletions(r.Doors)
	}
	return a.completeDoors(file)
}

// completeDoors gives the doors of the policy.
func (a *app) completeDoors(file string) []cobra.Completion {
	if file == stdinName {
		return nil
	}
	d, err := a.parse(file)
	if err != nil || d.policy == nil {
		return nil
	}
	return doorCompletions(d.policy.Doors)
}
