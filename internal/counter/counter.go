package counter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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
	from        *uint64  // where a person wants to go on, instead of where the state says
	numbers     []uint64 // of this try, once it has begun
	tried       int      // attempts of it
	last        *uint64  // the number of the last of them
	written     []byte   // what the file has
}

// record is the file.
type record struct {
	Format int `json:"format"`
	State
	Place string `json:"place"`
}

// maxNumber bounds numbers, far from where they would overflow.
const maxNumber = 1 << 48

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
		c.begin(c.Ticket.Start)
		return nil
	}
	var r record
	if err == nil {
		r, err = parse(text)
	}
	if err != nil {
		return &DamagedError{c.file, err}
	}
	c.State, c.Copied, c.written = r.State, r.Place != c.place, text
	c.begin(c.Ticket.Start)
	return nil
}

func parse(text []byte) (r record, err error) {
	if len(text) > maxRecord {
		return r, fmt.Errorf("%d bytes are too many", len(text))
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	switch {
	case r.Format != 1:
		return r, fmt.Errorf("format %d is unknown", r.Format)
	case len(r.Next) == 0 || len(r.Next) > maxCandidates || len(r.Sent) > maxSent || len(r.Left) > maxSent:
		return r, errors.New("it is not of this program")
	case slices.Max(slices.Concat(r.Next, r.Sent, r.Left)) > maxNumber:
		return r, errors.New("nobody knocks as often")
	}
	return r, nil
}

// DamagedError says that nobody knows any more which numbers were used.
type DamagedError struct {
	File string
	err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("read the count in %s: %v", e.File, e.err) }

func (e *DamagedError) Unwrap() error { return e.err }

// write replaces the file, unless it would stay as it is: who tries for hours in
// vain wears out no disk.
func (c *Counter) write() error {
	text, err := json.Marshal(record{1, c.State, c.place})
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if bytes.Equal(text, c.written) {
		return nil
	}
	f, err := atomicfile.Create(c.file, 0o600)
	if err == nil {
		err = f.Commit(text)
	}
	if err != nil {
		return fmt.Errorf("keep count of what was used: %w", err)
	}
	c.written = text
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

// Beyond gives the first block that nothing is tried of without FromBlock.
func (c *Counter) Beyond() uint64 { return onetime.Block(slices.Max(c.Next), c.Pool) + 3 }

// Another gives the packets of the next attempt. The first one begins a try.
func (c *Counter) Another() (knock.Volley, error) {
	if c.numbers == nil {
		at := c.State
		if c.from != nil {
			at.Next = []uint64{*c.from}
		}
		c.numbers = at.order(c.Pool)
		c.Tries++
	}
	c.last = &c.numbers[c.tried%len(c.numbers)]
	c.tried++
	all, err := c.send(*c.last)
	return all[0], err
}

// Unseen gives the packets of a knock whose success nobody will tell: those of one
// number, or of two where both at once do no harm.
func (c *Counter) Unseen(both bool) ([]knock.Volley, error) {
	if c.from != nil {
		c.Last = c.from
		return c.send(*c.from)
	}
	return c.send(c.State.Unseen(c.Pool, both)...)
}

// ErrNothingSent says that there is nothing that could have opened a door.
var ErrNothingSent = errors.New("nothing was sent that is not confirmed")

// Opened notes that the number that was sent last has opened the door, and gives the
// packets that are to be sent once more.
func (c *Counter) Opened() ([]knock.Volley, error) {
	if c.last == nil {
		c.last = c.Last
	}
	if c.last == nil {
		return nil, ErrNothingSent
	}
	c.Confirm(*c.last, c.Pool)
	c.last, c.numbers, c.tried = nil, nil, 0
	var left []knock.Volley
	for _, n := range c.left() {
		left = append(left, c.Volley(n))
	}
	return left, c.write()
}

// Swept notes that all that Opened gave was sent.
func (c *Counter) Swept() error {
	c.State.Swept()
	return c.write()
}
