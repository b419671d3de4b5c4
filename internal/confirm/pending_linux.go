package confirm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tirl/internal/atomicfile"
	"tirl/internal/session"
)

// Pending is a load that waits to be confirmed, or that was waiting.
type Pending struct {
	ID      string        `json:"id"`
	Boot    string        `json:"boot_id"`
	Wait    time.Duration `json:"wait"` // in nanoseconds
	Applied time.Time     `json:"applied"`
	// Loaded says that the rules are in force; before, apply is still at it.
	Loaded bool      `json:"loaded"`
	Until  time.Time `json:"until"` // of the wait, by the clock on the wall
	// Backend and PolicyHash say what was loaded.
	Backend    string `json:"backend,omitempty"`
	PolicyHash string `json:"policy_hash,omitempty"`
	// Session is how the one who applied came in; nil: by no connection.
	Session *session.Session `json:"session,omitempty"`
	// Open are the connections to the same service that were open before.
	Open []session.Conn `json:"open,omitempty"`
	// Saved names what is prepared for the next boot.
	Saved string `json:"saved,omitempty"`

	// How and Ended say how it was confirmed, or why it was taken back, and when.
	How   string    `json:"how,omitempty"`
	Ended time.Time `json:"ended,omitzero"`
	// Failed is why the last attempt to take it back failed.
	Failed string `json:"failed,omitempty"`
}

// Outcome is how a wait ends.
type Outcome string

// The outcomes. Their texts are the names of files.
const (
	Confirmed  Outcome = "confirmed"
	RolledBack Outcome = "rolledback"
)

// Dir is the directory of the wait, such as /run/tirl.
type Dir string

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

func (d Dir) pending() string                   { return d.path("pending.json") }
func (d Dir) ended(o Outcome, id string) string { return d.path(string(o) + "-" + id + ".json") }
func (d Dir) watchdog(id string) string         { return d.path("watchdog-" + id) }
func (d Dir) OrderPath(id string) string        { return d.path("order-" + id + ".json") }

// Read gives the wait that is under way; nil if there is none.
func (d Dir) Read() (*Pending, error) {
	p, err := readPending(d.pending())
	if err != nil {
		return nil, fmt.Errorf("read what waits to be confirmed: %w", err)
	}
	return p, nil
}

// Last gives the wait that has ended last, and how; nil if none is known.
func (d Dir) Last() (*Pending, Outcome, error) {
	var last *Pending
	var how Outcome
	var errs []error
	for _, o := range []Outcome{Confirmed, RolledBack} {
		for _, path := range d.glob(string(o) + "-*.json") {
			p, err := readPending(path)
			errs = append(errs, err)
			if p != nil && (last == nil || p.Applied.After(last.Applied)) {
				last, how = p, o
			}
		}
	}
	return last, how, errors.Join(errs...)
}

func readPending(path string) (*Pending, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Pending{}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Write begins a wait, or changes what is known of it.
func (d Dir) Write(p *Pending) error { return d.write(d.pending(), p) }

func (d Dir) write(path string, p *Pending) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		var f *atomicfile.File
		if f, err = atomicfile.Create(path, 0o600); err == nil {
			defer f.Discard()
			err = f.Commit(append(text, '\n'))
		}
	}
	if err != nil {
		return fmt.Errorf("note what waits to be confirmed: %w", err)
	}
	return nil
}

// End ends the wait. Only the rename counts; that how and when are written down
// is a kindness that a full disk may prevent.
func (d Dir) End(p *Pending, o Outcome, how string, now time.Time) error {
	done := *p
	done.How, done.Ended, done.Failed = how, now.Truncate(time.Second), ""
	_ = d.Write(&done)
	if err := os.Rename(d.pending(), d.ended(o, p.ID)); err != nil {
		return fmt.Errorf("end the wait for a confirmation: %w", err)
	}
	d.tidy(p.ID)
	return nil
}

// tidy removes what earlier waits have left. While its watchdog lives, it needs
// to find out how its wait has ended.
func (d Dir) tidy(but string) (all bool) {
	all = true
	for _, o := range []string{string(Confirmed), string(RolledBack), "order"} {
		for _, path := range d.glob(o + "-*.json") {
			id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), o+"-"), ".json")
			switch {
			case id == but:
			case d.Alive(id):
				all = false
			default:
				os.Remove(path)
				os.Remove(d.watchdog(id))
				atomicfile.Clean(path)
			}
		}
	}
	return all
}

// glob lists files, but those that are not finished.
func (d Dir) glob(pattern string) []string {
	files, _ := filepath.Glob(d.path(pattern)) // the pattern is sound
	return files
}

// state of one wait.
type state int

const (
	lost    state = iota // somebody has removed the files
	loading              // apply is at it
	loaded
	ended
)

func (d Dir) state(id string) (state, *Pending) {
	for _, o := range []Outcome{Confirmed, RolledBack} {
		if _, err := os.Stat(d.ended(o, id)); err == nil {
			return ended, nil
		}
	}
	p, err := readPending(d.pending())
	switch {
	case err != nil || p == nil:
		return lost, nil
	case p.ID != id:
		return ended, nil // or there could be no other
	case p.Loaded:
		return loaded, p
	}
	return loading, p
}

// Clean removes what ended waits have left, and says whether nothing is left.
func (d Dir) Clean() bool {
	atomicfile.Clean(d.pending())
	return d.tidy("")
}

// Over says whether a wait has ended.
func (d Dir) Over(id string) bool {
	s, _ := d.state(id)
	return s == ended
}
