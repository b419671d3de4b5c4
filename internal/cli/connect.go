package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/connect"
	"tirl/internal/knock"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/term"
)

// defaultConnectTimeout is half of what TCP alone would wait for a connection.
const defaultConnectTimeout = time.Minute

type connectFlags struct {
	hosts, door    string
	timeout        time.Duration
	only4, only6   bool
	quiet, verbose bool
}

func (a *app) connectCommand() *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "connect HOST PORT",
		Short: "Knock, connect, and carry the stream",
		Long: `Knock at a host of the hosts file, connect to one of its TCP ports, and carry
standard input and output over the connection: what ssh wants of a ProxyCommand.
The door is the one that opens the port.

If the connection does not come it knocks again, by turns more slowly, against
loss and reordering, and all at once, against somebody who forges packets to
spoil the knocks. All addresses are tried. Of many sessions that begin together
one knocks, and the others come in with it, or, where the door opens for one
connection, each in its turn.

A terminal shows what it does as long as it takes; nothing is printed otherwise,
but an error. It exits with 0 when both ends have closed.`,
		Example: `  tirl connect web 22
  ssh -o ProxyCommand='tirl connect %h %p' web
  tirl connect -4 --timeout 10s web 22 </dev/null`,
		GroupID: groupClient,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("tirl connect web 22", "connect takes a host and a port")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.completeHosts(f.hosts), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			number, err := strconv.ParseUint(args[1], 10, 16)
			if err != nil || number == 0 {
				return usage("tirl connect "+commandLine(args[:1])+" 22", "%q is not a port number", args[1])
			}
			return a.connect(cmd, args[0], uint16(number), f)
		}),
	}
	hostsFlag(cmd, &f.hosts)
	cmd.Flags().StringVar(&f.door, "door", "", "knock at this `door`, not at the first that opens the port")
	cmd.Flags().DurationVar(&f.timeout, "timeout", defaultConnectTimeout, "give up after this `time`")
	cmd.Flags().BoolVarP(&f.only4, "ipv4", "4", false, "only the host's IPv4 addresses")
	cmd.Flags().BoolVarP(&f.only6, "ipv6", "6", false, "only the host's IPv6 addresses")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show no progress on a terminal either")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "print each step, on a terminal or not")
	return cmd
}

func (a *app) connect(cmd *cobra.Command, name string, number uint16, f connectFlags) error {
	opts, err := familyOptions(f.only4, f.only6)
	switch {
	case err != nil:
		return err
	case f.quiet && f.verbose:
		return usage("", "-q and -v exclude each other")
	case f.hosts == stdinName:
		return usage("", "standard input is what connect carries: --hosts must be a file")
	case f.timeout <= 0:
		return usage("tirl connect --timeout 30s HOST PORT", "--timeout %s is no time", f.timeout)
	}
	r, err := a.knownRemote(f.hosts, name)
	if err != nil {
		return err
	}
	service := port.Port{Proto: port.TCP, Number: number}
	door, err := doorTo(r, service, f.door)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	addrs, err := a.addresses(ctx, r, opts)
	if err != nil {
		return err
	}
	p := &progress{app: a, host: r.Name, door: door.Name, service: service, line: term.NewLine(a.err, a.getenv), flags: f}
	conn, err := connect.Dial(ctx, a.target(r, door, addrs, number, -1), connect.Options{Turn: a.turnFile(r.Name, door.Name), Progress: p.step})
	p.line.Done()
	if err != nil {
		return a.connectFailure(cmd.Context(), r, door, service, err)
	}
	err = connect.Carry(cmd.Context(), conn, connect.Stream{In: a.in, Out: closing(a.out), Interactive: term.IsTerminal(a.in)})
	if err != nil {
		return fmt.Errorf("the connection to %s: %w", r.Name, err)
	}
	return nil
}

func (a *app) connectFailure(ctx context.Context, r policy.Remote, door policy.Door, service port.Port, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	hint := fmt.Sprintf("on that host: sudo tirl doctor --listen %s shows which knocks arrive", door.Name) + a.fromBlockHint(ctx, r, door)
	if errors.Is(err, connect.ErrRefused) {
		hint = fmt.Sprintf("does anything listen on %s there?", service)
	}
	return fail(exitFailed, fmt.Errorf("connect to %s of %s: %w", service, r.Name, err), hint)
}

// knownRemote finds a host that must be in the hosts file.
func (a *app) knownRemote(file, name string) (policy.Remote, error) {
	hosts, err := a.hosts(file)
	if err != nil {
		return policy.Remote{}, err
	}
	r, ok := hosts.Find(name)
	if !ok {
		return r, fail(exitFailed, fmt.Errorf("%s has no host %q", a.hostsName(file), name),
			"on that host: sudo tirl export prints what to put there")
	}
	return r, nil
}

// doorTo finds the door that opens a service, or the one that is named.
func doorTo(r policy.Remote, service port.Port, name string) (policy.Door, error) {
	if name != "" {
		door, ok := r.Door(name)
		if !ok {
			return door, usage("", "host %s has no door %q, only %s", r.Name, name, doorNames(r.Doors))
		}
		return door, nil
	}
	door, ok := r.DoorOf(service)
	if !ok {
		var known []string
		for _, d := range r.Doors {
			known = append(known, d.Name+" opens "+ranges(d.Opens))
		}
		if known == nil {
			known = []string{"it has none"}
		}
		return door, fail(exitFailed, fmt.Errorf("no door of host %s opens %s: %s", r.Name, service, strings.Join(known, ", ")), "")
	}
	return door, nil
}

// turnFile is by what processes of this user take turns at a door. It lasts as
// long as the session where there is a place for that.
func (a *app) turnFile(host, door string) string {
	dir := a.getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return ""
		}
	}
	// Colons and percent signs are for addresses.
	name := strings.NewReplacer(":", "_", "%", "_").Replace(strings.ToLower(host) + "." + door)
	return filepath.Join(dir, "tirl", name+".turn")
}

// closing gives an output that can be closed; one that cannot be is left open.
func closing(out io.Writer) io.WriteCloser {
	if c, ok := out.(io.WriteCloser); ok {
		return c
	}
	return struct {
		io.Writer
		io.Closer
	}{out, io.NopCloser(nil)}
}

// progress tells what connect does: on a terminal in one line that goes away, or
// line by line if that is asked for.
type progress struct {
	app     *app
	host    string
	door    string
	service port.Port
	line    *term.Line
	flags   connectFlags
}

func (p *progress) step(s connect.Step) {
	var text string
	switch s.Kind {
	case connect.Waiting:
		text = fmt.Sprintf("%s: waiting for another tirl connect", p.host)
	case connect.Knocking:
		text = fmt.Sprintf("%s: knocking at door %s", p.host, p.door)
	case connect.Connecting:
		text = fmt.Sprintf("%s: connecting to %s", p.host, p.service)
	}
	if s.Attempt > 1 {
		text += fmt.Sprintf(", attempt %d", s.Attempt)
	}
	if s.Last != nil {
		text += fmt.Sprintf(" (%v)", s.Last)
	}
	switch {
	case p.flags.verbose:
		p.app.note("%s", text)
	case !p.flags.quiet:
		p.line.Show(func() string { return "tirl: " + text })
	}
}

// familyOptions limit what is tried to one address family.
func familyOptions(only4, only6 bool) (opts knock.Options, err error) {
	switch {
	case only4 && only6:
		return opts, usage("leave both out to try all addresses", "-4 and -6 exclude each other")
	case only4:
		opts.Network = knock.IPv4
	case only6:
		opts.Network = knock.IPv6
	}
	return opts, nil
}
