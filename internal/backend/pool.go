package backend

import (
	"context"
	"errors"
	"net/netip"

	"tirl/internal/automaton"
)

// Pool is where a backend holds the live values of users. What is loaded into it
// outlives every Load of a policy with users, and nothing but a packet, Begin, Drop or
// Purge takes a value out. Callers keep others from changing it meanwhile.
type Pool interface {
	// Marker reads the mark of the pool, which tells it from those before it and from a
	// listing of itself that somebody has loaded again; false if it has none: it is not
	// the pool of any Begin. The error is ErrNotLoaded if there is no policy.
	Marker(ctx context.Context) (uint32, bool, error)
	// Begin empties the pool and gives it a mark that a number drawn at random goes into,
	// in one transaction.
	Begin(ctx context.Context, random uint32) error
	// LoadValues makes values of users of g live, in transactions that disturb nothing
	// else. No value may be given that was given before. The error wraps ErrNotWritten
	// if it is certain that none of them has been live.
	LoadValues(ctx context.Context, g *automaton.Program, values []automaton.Value) error
	// Spent lists the values that packets have spent and nobody has dropped since.
	Spent(ctx context.Context) ([]Spent, error)
	// Drop takes values out, live or spent, with the records of who spent them. It is no
	// error if one is not there.
	Drop(ctx context.Context, g *automaton.Program, values []automaton.Value) error
	// Purge takes out all live values of a user's number, of whatever secret. It lists
	// the pool, which is slow.
	Purge(ctx context.Context, user uint32) error
	// Forget revokes a user at once: none of his values opens anything from here on, until a
	// policy with him is loaded.
	Forget(ctx context.Context, user uint32) error
}

// ErrNotWritten says that a transaction has failed as a whole.
var ErrNotWritten = errors.New("nothing of it was written into the kernel")

// Spent is a value that was spent.
type Spent struct {
	Token   [16]byte     // of a token
	Place   uint32       // of a sequence: the place before its last knock; 0: it is a token
	Sources []netip.Addr // that sent it, if there was room to note them
}
