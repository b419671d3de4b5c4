package counter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/lockedfile"

	"tirl/internal/atomicfile"
	"tirl/internal/filelock"
	"tirl/internal/knock"
	"tirl/internal/onetime"
)

// Counter is the state of one ticket, which this process alone may change until it
// closes it. Every change is on the disk before the method returns.
type Counter struct {
	Ticket
	State
	// Copied says that the state was last written on another machine, or has been
	// copied or restored: then somebody else may use the same numbers.
	Copied bool

	file, place string
	lock        *lockedfile.File
	from        *uint64 // where a person wants to go on, instead of where the state says
	tried       int     // attempts since it was opened
}

// record is the file.
type record struct {
	Format int `json:"format"`
	State
	Place string `json:"place"`
}

// maxRecord bounds what is read of a file.
const maxRecord = 1 << 16

// Open waits for the state of a ticket, in a directory that is made if need be.
// If it has to wait for another process for long it calls waiting, which may be nil.
func Open(ctx context.Context, dir string, t Ticket, waiting func()) (*Counter, error) {
	c := &Counter{Ticket: t, file: filepath.Join(dir, t.Secret.ID()+".json")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep count of what was used: %w", err)
	}
	var err error
	// Not the file itself, which is replaced.
	if c.lock, err = filelock.Take(ctx, filepath.Join(dir, t.Secret.ID()+".lock"), waiting); err != nil {
		return nil, fmt.Errorf("keep count of what was used: %w", err)
	}
	atomicfile.Clean(c.file)
	if err := c.read(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Counter) read() error {
	c.place = place(c.lock.File)
	text, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		c.Next = c.Start
		return nil
	}
	var r record
	switch {
	case err != nil:
	case len(text) > maxRecord:
		err = fmt.Errorf("%d bytes", len(text))
	default:
		err = json.Unmarshal(text, &r)
	}
	if err == nil && r.Format != 1 {
		err = fmt.Errorf("format %d is unknown", r.Format)
	}
	if err != nil {
		return &DamagedError{c.file, err}
	}
	c.State, c.Copied = r.State, r.Place != c.place
	c.begin(c.Start)
	return nil
}

// DamagedError says that nobody knows any more which numbers were used.
type DamagedError struct {
	File string
	err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("read the count in %s: %v", e.File, e.err) }

func (e *DamagedError) Unwrap() error { return e.err }

// write replaces the file.
func (c *Counter) write() error {
	text, err := json.Marshal(record{1, c.State, c.place})
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(c.file, 0o600)
	if err == nil {
		err = f.Commit(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep count of what was used: %w", err)
	}
	return nil
}

// Close lets other processes go on.
func (c *Counter) Close() error { return c.lock.Close() }

// send notes numbers, and gives their packets.
func (c *Counter) send(numbers ...uint64) ([]knock.Volley, error) {
	var all []knock.Volley
	for _, i := range numbers {
		c.Take(i)
		all = append(all, c.Volley(i))
	}
	return all, c.write()
}

// FromBlock goes on at the first number of a block. If no connection comes by it
// that is forgotten.
func (c *Counter) FromBlock(block uint64) {
	first := block * uint64(c.Pool)
	c.from = &first
}

func (c *Counter) candidates() []uint64 {
	if c.from != nil {
		return onetime.Candidates(*c.from, c.Pool)
	}
	return c.State.Candidates(c.Pool)
}

// Attempts is how many attempts try everything.
func (c *Counter) Attempts() int { return len(order(c.candidates())) }

// Another gives the packets of the next attempt.
func (c *Counter) Another() (knock.Volley, error) {
	numbers := order(c.candidates())
	i := numbers[c.tried%len(numbers)]
	c.tried++
	all, err := c.send(i)
	return all[0], err
}

// Unseen gives the packets of a knock whose success nobody will tell: those of one
// number, or of two where both at once do no harm.
func (c *Counter) Unseen(both bool) ([]knock.Volley, error) {
	return c.send(c.State.unseen(c.candidates(), both)...)
}

// Opened notes that the number that was sent last has opened the door, and gives the
// packets that are to be sent once more.
func (c *Counter) Opened() ([]knock.Volley, error) {
	if len(c.Sent) == 0 {
		return nil, ErrNothingSent
	}
	c.Confirm(c.Sent[len(c.Sent)-1], c.Pool)
	var left []knock.Volley
	for _, i := range c.Left() {
		left = append(left, c.Volley(i))
	}
	return left, c.write()
}

// ErrNothingSent says that there is nothing that could have opened a door.
var ErrNothingSent = errors.New("nothing was sent that is not confirmed")

// Swept notes that all that Opened gave was sent.
func (c *Counter) Swept() error {
	c.State.Swept()
	return c.write()
}
