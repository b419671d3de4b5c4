// Package pool sees to it that the kernel holds live values for the users of a
// policy, and that no value is ever written into a kernel twice.
//
// Nothing of it runs between two commands. A Keeper is called by whoever holds the
// lock of the host: it reads from the kernel what was spent, and loads further
// values. What it knows is on the disk, twice where it matters:
//
//	/etc/tirl/keys/DOOR.USER         the user's secret
//	/etc/tirl/keys/DOOR.USER.next    the first number that no kernel ever held
//	/var/lib/tirl/users/ID.json      the same number, what is live, who used what
//	/var/lib/tirl/users/under-way    what a refill is about to do
//
// Of the two numbers the greater one counts, so that neither directory can be
// restored from a backup and bring a number back. Both are on the disk before the
// kernel is told of a value.
package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/onetime"
)

// Keeper works on the pools of one host. Nobody else may meanwhile.
type Keeper struct {
	Store  Store
	Kernel backend.Pool
	// Program is the policy in the kernel; nil: none is, and nothing is loaded.
	Program *automaton.Program
	// Boot tells this run of the kernel from others.
	Boot string
	Now  func() time.Time
	// Writers is how many files are written at a time; 0: one. A disk syncs many at once in
	// little more time than one.
	Writers int
	// Marker draws a number at random that tells one pool from all others.
	Marker func() uint32
}

// Report is what a refill found and did.
type Report struct {
	Loaded int // values
	// Warnings are about single users; the others have their values.
	Warnings []error
}

// Errors that are told of a user.
var (
	ErrNoKey   = errors.New("there is no key")
	ErrRevoked = errors.New("the key was revoked")
	ErrUnlike  = errors.New("the key was made for other parameters than the policy has")
)

// UserError is about one user's pool.
type UserError struct {
	Door, User string
	Err        error
}

func (e *UserError) Error() string { return fmt.Sprintf("user %s/%s: %v", e.Door, e.User, e.Err) }

func (e *UserError) Unwrap() error { return e.Err }

// member is a user of the program with all that is known of him.
type member struct {
	index int // into Program.Users
	door  string
	user  automaton.User
	key   onetime.Key
	id    string
	rec   Record
	mark  mark // zero if there is none of this key

	before Record  // as it was on the disk
	fresh  bool    // there was none
	drop   []Range // to be taken out of the kernel
	load   []Range // to be loaded
	values []automaton.Value
}

func (m *member) params() onetime.Params { return m.key.Params }

func (m *member) pool() uint64 { return uint64(m.key.Pool) }

func (m *member) fail(err error) error { return &UserError{m.door, m.user.Name, err} }

// members reads what is known of the users of the program. What is wrong with one
// of them is told, and he is left out.
func (k *Keeper) members(records []*Record) (all []*member, problems []error) {
	if k.Program == nil {
		return nil, nil
	}
	known := make(map[string]*Record, len(records))
	for _, rec := range records {
		known[rec.ID] = rec
	}
	for i, u := range k.Program.Users {
		m := &member{index: i, door: k.Program.Doors[u.Door].Name, user: u}
		if err := k.read(m, known); err != nil {
			problems = append(problems, m.fail(err))
			continue
		}
		all = append(all, m)
	}
	return all, problems
}

func (k *Keeper) read(m *member, known map[string]*Record) error {
	key, err := ReadKey(k.Store, m.door, m.user.Name)
	if err != nil {
		return err
	}
	m.key, m.id = key, key.Secret.ID()
	if err := unlike(m.user, key); err != nil {
		return err
	}
	if m.mark, err = readMark(k.Store, m.door, m.user.Name, m.id); err != nil {
		return err
	}
	rec := known[m.id]
	if m.fresh = rec == nil; m.fresh {
		// Perhaps there is one that cannot be read.
		if _, err := ReadRecord(k.Store, m.id); err != nil {
			return err
		}
		rec = &Record{Format: recordFormat, ID: m.id}
	}
	if rec.Retired != nil {
		return ErrRevoked
	}
	m.rec, m.before = rec.clone(), rec.clone()
	m.rec.Door, m.rec.User = m.door, m.user.Name
	return nil
}

// unlike compares what a policy says of a user with the key.
func unlike(u automaton.User, key onetime.Key) error {
	p := onetime.Params{Kind: u.Kind, First: u.First, Length: u.Length, Lo: u.Ports.First, Hi: u.Ports.Last, Pool: u.Pool}
	return Unlike(p, key.Params)
}

// Unlike says in which parameter a policy's user differs from his key.
func Unlike(policy, key onetime.Params) error {
	if policy == key {
		return nil
	}
	var what string
	switch {
	case policy.Kind != key.Kind:
		what = "one_time"
	case policy.First != key.First:
		what = "first"
	case policy.Length != key.Length:
		what = "length"
	case policy.Pool != key.Pool:
		what = "pool"
	default:
		what = "ports"
	}
	return fmt.Errorf("%w: %s", ErrUnlike, what)
}

// missing says whether a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
