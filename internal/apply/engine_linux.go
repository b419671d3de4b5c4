package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/session"
	"tirl/internal/tool"
)

// Engine works on one host.
type Engine struct {
	// Root is the directory that /var/lib/tirl and /run/tirl are under.
	Root string
	// Kinds are all backends, the best one first.
	Kinds []Kind
	// Run runs the backends' programs on the host.
	Run tool.Runner
	// Scratch calls use with a runner of a fresh, private network namespace, where
	// loading a ruleset shows whether this host can. An error that wraps
	// ErrNoScratch says that there can be no such namespace.
	Scratch func(ctx context.Context, use func(tool.Runner) error) error
	// Version of tirl, for the record.
	Version string
	// Boot tells this run of the kernel from others; empty if it is not known.
	Boot string
	// Now tells the time; nil means time.Now.
	Now func() time.Time
	// Launch starts the watchdog of a load, which calls Watch. It needs only be set
	// where Input.Wait is.
	Launch func(ctx context.Context, id string) error
	// Conns lists the connections to services of this host; nil: none are known.
	Conns func(services ...port.Range) ([]session.Conn, error)
	// Adopt makes conntrack know every open connection; nil: it is not called.
	Adopt func(ctx context.Context) error
	// Boots saves what the next boot loads; nil: nothing is saved.
	Boots Saver
	// Prove says whether rules do what a program says: those that are to be loaded, and
	// then what the kernel lists. Its error is a *verify.NotProvedError if they do not, or
	// if that cannot be told. listed: the rules are as the kernel lists them. nil: nothing is proved.
	Prove func(g *automaton.Program, backend string, rules backend.Ruleset, listed bool) error
	// Warn is told what is wrong with the pools of users, which no command fails by; nil:
	// nobody is.
	Warn func(error)
	// Patience is how long to wait for another tirl to finish; 0 means 10 s.
	Patience time.Duration
}

// Input is what Apply loads.
type Input struct {
	Program *automaton.Program
	Source  []byte // the policy file, byte by byte
	File    string // where it is
	Backend string // policy.BackendAuto or a backend's name
	// Wait is how long the load may go unconfirmed; 0: it need not be confirmed.
	Wait time.Duration
	// Session is how the caller came to this host; nil: by no connection.
	Session *session.Session
}

// ErrNoScratch says that no private network namespace can be made.
var ErrNoScratch = errors.New("no private network namespace can be made")

// UnsupportedError says that no backend in question can carry the policy here.
type UnsupportedError struct {
	Lacks []Lack
}

func (e *UnsupportedError) Error() string {
	texts := make([]string, len(e.Lacks))
	for i, l := range e.Lacks {
		texts[i] = l.String()
	}
	return "this host cannot carry the policy: " + strings.Join(texts, "; ")
}

// Unwrap gives the errors of the backends.
func (e *UnsupportedError) Unwrap() []error {
	var errs []error
	for _, l := range e.Lacks {
		if l.Err != nil {
			errs = append(errs, l.Err)
		}
	}
	return errs
}

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// asked gives the kinds that a name stands for.
func (e *Engine) asked(name string) ([]Kind, error) {
	if name == policy.BackendAuto {
		return e.Kinds, nil
	}
	for _, k := range e.Kinds {
		if k.Name == name {
			return []Kind{k}, nil
		}
	}
	return nil, fmt.Errorf("there is no backend %q", name)
}

// held is what one kind has in the kernel.
type held struct {
	Kind
	loaded *backend.Loaded // nil: nothing
	err    error           // it could not be read
}

// survey reads what every kind holds. A kind whose program is not installed
// holds nothing that this host could change.
func (e *Engine) survey(ctx context.Context) []held {
	all := make([]held, len(e.Kinds))
	for i, k := range e.Kinds {
		loaded, err := k.New(e.Run).Loaded(ctx)
		all[i] = held{k, loaded, err}
	}
	return all
}

// skim is a survey that says of what is there only whether it is blocked, where to read more
// takes long.
func (e *Engine) skim(ctx context.Context) []held {
	all := make([]held, len(e.Kinds))
	for i, k := range e.Kinds {
		b := k.New(e.Run)
		read := b.Loaded
		if s, ok := b.(backend.Skimmer); ok {
			read = s.Skim
		}
		loaded, err := read(ctx)
		all[i] = held{k, loaded, err}
	}
	return all
}

// surveyFor is what an apply has to know: only where the last load was of the same policy,
// more than skim says.
func (e *Engine) surveyFor(ctx context.Context, in Input) []held {
	if rec, err := e.readRecord(); err == nil && rec != nil && rec.PolicyHash == in.Program.PolicyHash {
		return e.survey(ctx)
	}
	return e.skim(ctx)
}

// Held is what one backend has in the kernel.
type Held struct {
	Backend string
	Loaded  *backend.Loaded
}

// Held reads what the backends have in the kernel. It takes no lock.
func (e *Engine) Held(ctx context.Context) ([]Held, error) {
	holding := e.survey(ctx)
	if err := denied(holding); err != nil {
		return nil, err
	}
	var all []Held
	for _, h := range holding {
		if h.loaded != nil {
			all = append(all, Held{h.Name, h.loaded})
		}
	}
	return all, nil
}

// denied gives the first error of a survey that is for want of privilege.
func denied(holding []held) error {
	for _, h := range holding {
		if errors.Is(h.err, fs.ErrPermission) {
			return h.err
		}
	}
	return nil
}
