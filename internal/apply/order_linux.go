package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/atomicfile"
	"tirl/internal/backend"
	"tirl/internal/tool"
)

// Order is all that it takes to put back what was there before a load.
type Order struct {
	ID   string `json:"id"`
	Boot string `json:"boot_id"`
	// Taken is when, on the wall; Clock is the same by CLOCK_MONOTONIC, which
	// nobody sets.
	Taken     time.Time           `json:"taken"`
	Clock     time.Duration       `json:"clock"`
	Snapshots []*backend.Snapshot `json:"snapshots"` // of the kinds that could be read
	Record    []byte              `json:"record"`    // the record's file; empty if there was none
	// Wait and Policy, the policy file's text, are those of the load that may be
	// taken back.
	Wait   time.Duration `json:"wait"`
	Policy string        `json:"policy"`
}

// Empty says that nothing was loaded.
func (o *Order) Empty() bool {
	for _, s := range o.Snapshots {
		if !s.Empty() {
			return false
		}
	}
	return true
}

func clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// passed is the time since an order was taken.
func (e *Engine) passed(o *Order) time.Duration {
	if o.Boot == e.Boot {
		return max(0, clock()-o.Clock)
	}
	return max(0, e.now().Sub(o.Taken))
}

// take notes what is there.
func (e *Engine) take(ctx context.Context) (*Order, error) {
	o := &Order{Boot: e.Boot, Taken: e.now().UTC(), Clock: clock()}
	for _, k := range e.Kinds {
		b, ok := k.New(e.Run).(backend.Snapshotter)
		if !ok {
			continue
		}
		s, err := b.Snapshot(ctx)
		if errors.Is(err, tool.ErrMissing) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("note what %s holds: %w", k.Name, err)
		}
		o.Snapshots = append(o.Snapshots, s)
	}
	text, err := os.ReadFile(e.recordPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("note the record of the last load: %w", err)
	}
	o.Record = text
	return o, nil
}

// putBack makes the kernel hold what it held when the order was taken: first
// what protects, then it takes out what was not there. What is wrong with
// anything but the rules is given as a warning.
func (e *Engine) putBack(ctx context.Context, o *Order) (warning, err error) {
	ctx = context.WithoutCancel(ctx)
	blocked := slices.ContainsFunc(e.skim(ctx), func(h held) bool { return h.loaded != nil && h.loaded.Blocked })
	var errs, warnings []error
	for _, empty := range []bool{false, true} {
		for _, s := range o.Snapshots {
			if s.Empty() != empty {
				continue
			}
			kinds, err := e.asked(s.Backend)
			if err == nil {
				err = e.restore(ctx, kinds[0], s, e.passed(o))
			}
			if err == nil && !empty {
				warnings = append(warnings, e.keepBlock(ctx, blocked, kinds[0]))
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("put back what %s held: %w", s.Backend, err))
			}
		}
		if len(errs) > 0 {
			return nil, errors.Join(errs...)
		}
	}
	if err := e.putBackRecord(o.Record); err != nil {
		warnings = append(warnings, fmt.Errorf("put back the record of the older load: %w", err))
	}
	return errors.Join(warnings...), nil
}

func (e *Engine) restore(ctx context.Context, k Kind, s *backend.Snapshot, passed time.Duration) error {
	b, ok := k.New(e.Run).(backend.Snapshotter)
	if !ok {
		return errors.New("it cannot")
	}
	return b.Restore(ctx, s, passed)
}

func (e *Engine) previousPath() string { return filepath.Join(e.stateDir(), "previous.json") }

// sparePath is a second name of the older record, for a disk that is full by the
// time it is put back.
func (e *Engine) sparePath() string { return filepath.Join(e.stateDir(), "before.json") }

// spare gives the record a second name.
func (e *Engine) spare() error {
	os.Remove(e.sparePath())
	if err := os.Link(e.recordPath(), e.sparePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the record of the older load: %w", err)
	}
	return nil
}

func (e *Engine) putBackRecord(record []byte) error {
	if len(record) == 0 {
		return e.forget()
	}
	if there, err := os.ReadFile(e.recordPath()); err == nil && string(there) == string(record) {
		os.Remove(e.sparePath())
		return nil
	}
	if spare, err := os.ReadFile(e.sparePath()); err == nil && string(spare) == string(record) {
		return os.Rename(e.sparePath(), e.recordPath())
	}
	slot, err := e.reserve()
	if err != nil {
		return err
	}
	defer slot.Discard()
	return slot.Commit(record)
}

func writeOrder(path string, o *Order) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Discard()
	return f.Commit(text)
}

func readOrder(path string) (*Order, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var o Order
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return nil, fmt.Errorf("read what was there before the load: %w", err)
	}
	return &o, nil
}
