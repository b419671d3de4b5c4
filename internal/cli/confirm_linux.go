package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/session"
)

func (a *app) confirmCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "confirm",
		Short: "Keep the policy that apply has loaded",
		Long: `Keep the policy that apply has loaded: it is not taken back any more, and it is
what the next boot loads.

Type it in a connection that you have opened since: one that was open before
proves nothing about the rules, and is refused. Whoever sits at the console
need not prove anything. With --force it is kept whoever asks.`,
		Example: `  ssh www.example.com sudo tirl confirm`,
		GroupID: groupLoad,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("confirm the policy"); err != nil {
				return err
			}
			s, err := a.session()
			if err != nil && !force {
				return fail(exitFailed, fmt.Errorf("find out by which connection you came: %w", err), "sudo tirl confirm --force")
			}
			res, err := a.engine().Confirm(cmd.Context(), s, force)
			if err != nil {
				return a.explainFailure(err)
			}
			a.warnings(res.Warnings)
			return a.print("confirmed\n")
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "keep it though this connection proves nothing")
	return cmd
}

// session is the one that this process runs in; nil if in none.
func (a *app) session() (*session.Session, error) {
	return session.Find(os.DirFS("/"), os.Getpid(), a.getenv)
}

func (a *app) warnings(list []error) {
	for _, err := range list {
		a.warn("%v", err)
	}
}

// pendingNote says what to do after a load.
func (a *app) pendingNote(res apply.Result) {
	p := res.Pending
	a.note("taken back in %s, unless confirmed", spoken(p.Wait))
	how := "type in another connection: sudo tirl confirm"
	if s := p.Session; s != nil && s.Remote.Addr().IsValid() && !s.Remote.Addr().IsLoopback() {
		how = fmt.Sprintf("knock and connect again from %s, or %s", s.Remote.Addr(), how)
	}
	a.hint("%s", how)
}

// spoken is a time as people say it.
func spoken(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d >= time.Minute && d%time.Minute == 0:
		return plural(int(d/time.Minute), "minute")
	case d < 2*time.Minute:
		return plural(int(d/time.Second), "second")
	}
	return d.String()
}

// confirmFailure gives errors of waits their hints; nil for others.
func confirmFailure(err error) error {
	pending, ok := errors.AsType[*apply.PendingError](err)
	rolledBack, back := errors.AsType[*apply.RolledBackError](err)
	switch {
	case ok && !pending.Loaded:
		return fail(exitFailed, apply.ErrNotInForce, "sudo tirl status")
	case ok:
		return fail(exitFailed, err, "to keep it: sudo tirl confirm; to take it back: sudo tirl rollback")
	case back:
		return fail(exitRolledBack, rolledBack, "")
	case errors.Is(err, apply.ErrSameSession):
		return fail(exitFailed, err, "open another connection and type it there; or, if you know that you can get in: sudo tirl confirm --force")
	case errors.Is(err, apply.ErrNothingPending):
		return fail(exitFailed, err, "sudo tirl status")
	}
	return nil
}
