package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/connect"
	"tirl/internal/counter"
	"tirl/internal/knock"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/term"
)

// knockAttempts is how often tirl knock tries: each candidate, the first one twice.
const knockAttempts = 5

// stateDir is where programs keep what they must not forget, according to the XDG
// base directory specification. Empty: this user has no place for it.
func (a *app) stateDir() string {
	switch {
	case filepath.IsAbs(a.getenv("XDG_STATE_HOME")):
		return a.getenv("XDG_STATE_HOME")
	case runtime.GOOS == "windows":
		return a.getenv("LocalAppData")
	case a.getenv("HOME") != "":
		return filepath.Join(a.getenv("HOME"), ".local", "state")
	}
	return ""
}

// counter opens what is known of a user's values. A block of 0 or more is where a
// person wants to go on.
func (a *app) counter(ctx context.Context, r policy.Remote, door policy.Door, block int) (*counter.Counter, error) {
	dir := a.stateDir()
	if dir == "" {
		return nil, fail(exitFailed, errors.New("there is no place to keep count of what was used"), "set XDG_STATE_HOME to a directory that lasts")
	}
	c, err := counter.Open(ctx, filepath.Join(dir, "tirl", "one-time"), counter.TicketOf(*door.Credential), func() {
		a.note("%s: waiting for another tirl", r.Name)
	})
	if damaged, ok := errors.AsType[*counter.DamagedError](err); ok {
		return nil, fail(exitFailed, err, fmt.Sprintf("remove %s, and put what sudo tirl export USER prints on that host in place of the entry: it has the number to go on at", damaged.File))
	}
	if err != nil {
		return nil, err
	}
	if c.Copied {
		a.warn("the count of what was used at door %s of %s was last kept elsewhere: it has been copied or restored, and two devices of one user shut each other out",
			door.Name, r.Name)
		a.hint("on that host: sudo tirl user add NAME --door %s gives each device a user of its own", door.Name)
	}
	if block >= 0 {
		c.FromBlock(uint64(block))
	}
	return c, nil
}

// target is a service behind a door, for package connect.
func (a *app) target(r policy.Remote, door policy.Door, addrs []netip.Addr, number uint16, block int) connect.Target {
	t := connect.Target{Addrs: addrs, Port: number, Knocks: door.Knocks, Once: door.Once, OpenFor: door.OpenFor, Delay: r.Delay}
	if door.Credential != nil {
		t.OneTime = func(ctx context.Context) (connect.Values, error) { return a.counter(ctx, r, door, block) }
	}
	return t
}

// oneTimeDoor says which door is meant if it is one with values that work once.
func oneTimeDoor(r policy.Remote, what []string) (*policy.Door, error) {
	if len(what) == 0 && len(r.Doors) == 1 {
		what = []string{r.Doors[0].Name}
	}
	for _, w := range what {
		door, ok := r.Door(w)
		switch {
		case !ok || door.Credential == nil:
		case len(what) > 1:
			return nil, usage(fmt.Sprintf("tirl knock %s %s", r.Name, w), "door %s is opened by values that work once: knock at it alone", w)
		default:
			return &door, nil
		}
	}
	return nil, nil
}

// knockOnce sends values that work once until the door is open, or, where nothing
// can tell, the next ones.
func (a *app) knockOnce(cmd *cobra.Command, r policy.Remote, door policy.Door, opts knock.Options, verify port.Port, f knockFlags) error {
	switch {
	case f.payload != "":
		return usage("leave it out", "--payload is for doors with knocks")
	case f.opened && f.fromBlock >= 0:
		return usage("leave one of them out", "--opened and --from-block exclude each other")
	}
	ctx := cmd.Context()
	addrs, err := a.addresses(ctx, r, opts)
	if err != nil {
		return err
	}
	if f.delay >= 0 {
		r.Delay = max(f.delay, time.Millisecond)
	}
	service := cmp.Or(verify, probed(door))
	t := a.target(r, door, addrs, service.Number, f.fromBlock)
	switch {
	case f.opened:
		return a.opened(ctx, r, door, t)
	case service == port.Port{}:
		return a.knockUnseen(ctx, r, door, t, f)
	}
	if door.Once {
		a.warn("the door opens for one connection, and --verify uses it up")
	}
	p := &progress{app: a, host: r.Name, door: door.Name, service: service, line: term.NewLine(a.err, a.getenv), flags: connectFlags{quiet: f.quiet, verbose: f.verbose}}
	conn, err := connect.Dial(ctx, t, connect.Options{Turn: a.turnFile(r.Name, door.Name), Progress: p.step, Attempts: knockAttempts})
	p.line.Done()
	if err != nil {
		return a.connectFailure(ctx, r, door, service, err)
	}
	at := conn.RemoteAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Addr().Unmap()
	conn.Close() // when all is sent; it has served its purpose
	if !f.quiet {
		a.note("%s is open at %s", service, at)
	}
	return nil
}

// fromBlockHint says where to go on by hand if the host has lost its values more often
// than the client looks for by itself.
func (a *app) fromBlockHint(ctx context.Context, r policy.Remote, door policy.Door) string {
	if door.Credential == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := counter.Open(ctx, filepath.Join(a.stateDir(), "tirl", "one-time"), counter.TicketOf(*door.Credential), nil)
	if err != nil {
		return "" // which has been said
	}
	defer c.Close()
	return fmt.Sprintf("; if it was booted several times since you came in last: tirl knock --from-block %d %s %s", c.Beyond(), r.Name, door.Name)
}

// probed is a service by which to see whether the door is open. A door that opens
// for one connection has none: it would be used up.
func probed(door policy.Door) port.Port {
	i := slices.IndexFunc(door.Opens, func(s port.Range) bool { return s.Proto == port.TCP })
	if i < 0 || door.Once {
		return port.Port{}
	}
	return port.Port{Proto: port.TCP, Number: door.Opens[i].First}
}

// knockUnseen knocks once where nothing can tell what comes of it.
func (a *app) knockUnseen(ctx context.Context, r policy.Remote, door policy.Door, t connect.Target, f knockFlags) error {
	c, err := a.counter(ctx, r, door, f.fromBlock)
	if err != nil {
		return err
	}
	defer c.Close()
	n := int(c.Tries)
	volleys, err := c.Unseen(!door.Once)
	if err != nil {
		return err
	}
	for _, v := range volleys {
		if err := t.Send(ctx, v, n, knock.Options{Delay: r.Delay}); err != nil {
			return fmt.Errorf("knock at %s: %w", r.Name, err)
		}
	}
	if !f.quiet {
		a.note("knocked at door %s of %s; nothing tells whether it has opened", door.Name, r.Name)
		a.hint("if it has: tirl knock --opened %s %s", r.Name, door.Name)
	}
	return nil
}

// opened notes that a person has seen that the door was open.
func (a *app) opened(ctx context.Context, r policy.Remote, door policy.Door, t connect.Target) error {
	c, err := a.counter(ctx, r, door, -1)
	if err != nil {
		return err
	}
	defer c.Close()
	left, err := c.Opened()
	if errors.Is(err, counter.ErrNothingSent) {
		return fail(exitFailed, fmt.Errorf("door %s of %s: %w", door.Name, r.Name, err), fmt.Sprintf("tirl knock %s %s", r.Name, door.Name))
	}
	if err != nil {
		return err
	}
	// What is not sent now is sent after the next time.
	if err := t.SendAgain(ctx, left); err != nil {
		return fmt.Errorf("send once more what was on the wire: %w", err)
	}
	return c.Swept()
}
