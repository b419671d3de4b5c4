package apply

import (
	"context"
	"errors"
	"fmt"

	"tirl/internal/backend"
	"tirl/internal/confirm"
	"tirl/internal/tool"
)

// Status is what the kernel holds, and what the record says about it.
type Status struct {
	// Backend that holds the rules; empty: tirl is not active.
	Backend string
	Loaded  *backend.Loaded
	// Record of the load that made what the kernel holds; nil if there is none.
	Record *Record
	// Flushed is the record of rules that are not there any more.
	Flushed *Record
	// Rebooted says that they went with the kernel that they were loaded into.
	Rebooted bool
	// Drifted says that the rules are not what was loaded: somebody has changed them.
	Drifted bool
	// Others are further backends that hold rules too, left by an interrupted apply.
	Others []string
	// Pending is the load that waits to be confirmed, and Watched says whether its
	// watchdog lives.
	Pending *confirm.Pending
	Watched bool
	// Last is the wait that has ended last since the host started, and Outcome how.
	Last    *confirm.Pending
	Outcome confirm.Outcome
	// Unread are the errors of what could not be read.
	Unread []error
}

// Active says whether the kernel holds a policy.
func (s *Status) Active() bool { return s.Backend != "" }

// Status reads what is loaded. It fails only if nothing can be said of the kernel.
func (e *Engine) Status(ctx context.Context) (*Status, error) {
	s := &Status{}
	rec, err := e.readRecord()
	if err != nil {
		s.Unread = append(s.Unread, err)
	}
	e.waits(s)
	var failed []error
	missing := 0
	for _, h := range e.survey(ctx) {
		switch {
		case errors.Is(h.err, tool.ErrMissing):
			missing++
		case h.err != nil:
			failed = append(failed, fmt.Errorf("read what %s holds: %w", h.Name, h.err))
		case h.loaded == nil:
		case s.Active() && rec != nil && rec.Backend == h.Name:
			s.Others = append(s.Others, s.Backend)
			s.Backend, s.Loaded = h.Name, h.loaded
		case s.Active():
			s.Others = append(s.Others, h.Name)
		default:
			s.Backend, s.Loaded = h.Name, h.loaded
		}
	}
	if !s.Active() && len(failed) > 0 && len(failed)+missing == len(e.Kinds) {
		return nil, errors.Join(failed...)
	}
	s.Unread = append(s.Unread, failed...)
	switch {
	case rec == nil:
	case !s.Active():
		s.Flushed = rec
		s.Rebooted = rec.Boot != e.Boot
	case rec.Backend == s.Backend && rec.PolicyHash == s.Loaded.PolicyHash:
		s.Record = rec
		s.Drifted = e.drifted(ctx, rec, s.Loaded)
	}
	return s, nil
}

// waits fills in what waits to be confirmed, or has waited.
func (e *Engine) waits(s *Status) {
	p, err := e.underWay()
	if err != nil {
		s.Unread = append(s.Unread, err)
	}
	if p != nil {
		s.Pending, s.Watched = p, e.runtime().Alive(p.ID)
	}
	last, outcome, err := e.runtime().Last()
	if err != nil {
		s.Unread = append(s.Unread, err)
	}
	if last != nil && last.Boot == e.Boot {
		s.Last, s.Outcome = last, outcome
	}
}
