package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/events"
	"tirl/internal/policy"
)

func (a *app) eventsCommand() *cobra.Command {
	follow, asJSON := false, false
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened at the doors",
		Long: `Show what the kernel has reported of the doors: opened (a knock was completed),
accepted (a connection was let in), wrong (a source that had begun to knock was
sent back to the start) and limited (a source sent more than its share). No event
holds the port of a knock. The policy says where they are reported:

  [log] events = "kernel"   the kernel log; this shows what the kernel still has,
                            journalctl -k -g '^tirl ' what the journal has
  [log] events = "nflog"    an nflog group, of which nothing is kept: with --follow,
                            this shows what happens from now on

With --follow it goes on until Ctrl-C. The doors work whether anybody reads or not.`,
		Example: `  sudo tirl events
  sudo tirl events --follow
  sudo tirl events --json | jq -r 'select(.event == "wrong").source'`,
		GroupID: groupLook,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("read events"); err != nil {
				return err
			}
			g, err := a.loadedProgram(cmd.Context())
			if err != nil {
				return err
			}
			r, err := openEvents(g.Events, follow)
			if err != nil {
				return err
			}
			defer r.Close()
			return a.printEvents(cmd.Context(), r, g, a.spender(cmd.Context(), g), asJSON)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// loadedProgram gives the policy in the kernel.
func (a *app) loadedProgram(ctx context.Context) (*automaton.Program, error) {
	s, err := a.engine().Status(ctx)
	if err != nil {
		return nil, a.explainFailure(err)
	}
	if !s.Active() {
		return nil, fail(exitInactive, backend.ErrNotLoaded, "sudo tirl apply")
	}
	g := a.view(s, "").program
	if g == nil {
		return nil, fail(exitFailed, errors.New("it is not known which policy is loaded"), "sudo tirl apply")
	}
	return g, nil
}

func openEvents(mode policy.Events, follow bool) (events.Reader, error) {
	switch {
	case mode == policy.NoEvents:
		return nil, fail(exitFailed, errors.New(`the loaded policy reports no events: [log] events = "none"`), `set it to "kernel" or "nflog", and sudo tirl apply`)
	case mode == policy.NflogEvents && !follow:
		return nil, fail(exitFailed, errors.New("of an nflog group nothing is kept"), "sudo tirl events --follow")
	case mode == policy.NflogEvents:
		r, err := events.Nflog(backend.EventGroup)
		if errors.Is(err, events.ErrTaken) {
			return nil, fail(exitFailed, err, "stop ulogd or the other tirl events")
		}
		return r, err
	}
	r, err := events.KernelLog(events.Oldest, follow)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(exitFailed, err, "journalctl -k -g '^tirl '")
	}
	return r, err
}

// eventJSON is one line of events --json.
type eventJSON struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	Source  string    `json:"source"`
	Service string    `json:"service,omitempty"`
	Doors   []string  `json:"doors,omitempty"` // that open the service
	User    string    `json:"user,omitempty"`  // who opened it with a value that works once
	Value   *uint64   `json:"value,omitempty"` // and which
}

func (a *app) printEvents(ctx context.Context, r events.Reader, g *automaton.Program, users *spender, asJSON bool) error {
	for {
		e, err := r.Next(ctx)
		if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		var by *spent
		if e.Kind == backend.EventOpened {
			if who, ok := users.who(e.Source, e.Time); ok {
				by = &who
			}
		}
		if err := a.print(eventLine(e, g, by, asJSON)); err != nil {
			return err
		}
	}
}

func eventLine(e events.Event, g *automaton.Program, by *spent, asJSON bool) string {
	var doors []string
	for _, d := range g.Doors {
		for _, r := range g.Classes[d.Class].Services {
			if e.To.Number != 0 && r.Contains(e.To) && d.Admits(e.Source) {
				doors = append(doors, d.Name)
				break
			}
		}
	}
	if asJSON {
		out := eventJSON{Time: e.Time.UTC(), Event: e.Kind, Source: e.Source.String(), Doors: doors}
		if e.To.Number != 0 {
			out.Service = e.To.String()
		}
		if by != nil {
			out.User, out.Value, out.Doors = by.User, &by.value, []string{by.Door}
		}
		line, err := json.Marshal(out)
		if err != nil {
			return err.Error() + "\n" // strings and times can be marshalled
		}
		return string(line) + "\n"
	}
	switch {
	case by != nil:
		return fmt.Sprintf("%s (%s, value %d of %s)\n", e, by.Door, by.value, by.User)
	case len(doors) == 0:
		return e.String() + "\n"
	case len(doors) > mostNames:
		return fmt.Sprintf("%s (one of %d doors)\n", e, len(doors))
	}
	return fmt.Sprintf("%s (%s)\n", e, strings.Join(doors, " or "))
}
