package pool

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/onetime"
	"tirl/internal/policy"
)

// Name is a user of a door.
type Name struct{ Door, User string }

func (n Name) String() string { return n.Door + "/" + n.User }

// Keys lists whose secrets there are.
func Keys(s Store) ([]Name, error) {
	files, err := s.List(keysArea)
	var all []Name
	for _, f := range files {
		// Names of doors and users have no dot.
		if parts := strings.Split(f, "."); len(parts) == 2 {
			all = append(all, Name{parts[0], parts[1]})
		}
	}
	return all, err
}

// Add gives a user who is in no policy a secret, and says whether he had that one
// already: a key that somebody has left, or a killed command. A client that has it can
// go on with it. One that was revoked is replaced.
func (k *Keeper) Add(n Name, key onetime.Key) (had bool, err error) {
	name := KeyName(n.Door, n.User)
	err = k.Store.Create(name, key.Format())
	if !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	old, err := ReadKey(k.Store, n.Door, n.User)
	if err != nil {
		return false, err
	}
	rec, err := ReadRecord(k.Store, old.Secret.ID())
	if err != nil {
		return false, err
	}
	if rec != nil && rec.Retired != nil {
		return false, k.Store.Write(name, key.Format())
	}
	if err := Unlike(key.Params, old.Params); err != nil {
		return false, err
	}
	// Perhaps it never came to the disk.
	return true, k.Store.Write(name, old.Format())
}

// Revoke makes all values of a user worthless, at once and for ever. When it comes
// back with an error, or not at all, but has begun, the next refill goes on with it.
func (k *Keeper) Revoke(ctx context.Context, n Name) error {
	ctx = context.WithoutCancel(ctx)
	key, err := ReadKey(k.Store, n.Door, n.User)
	var rec *Record
	if err == nil {
		if rec, err = ReadRecord(k.Store, key.Secret.ID()); err != nil {
			return err
		}
		if rec == nil {
			rec = &Record{Format: recordFormat, ID: key.Secret.ID(), Params: key.Params}
		}
		rec.Door, rec.User = n.Door, n.User
		if rec.Number == 0 {
			rec.Number = policy.UserID(n.Door, n.User)
		}
		if rec.Retired == nil {
			now := k.Now().UTC()
			rec.Retired = &now
		}
		if err := rec.write(k.Store); err != nil {
			return err
		}
	}
	if err := k.loaded(k.Kernel.Forget(ctx, policy.UserID(n.Door, n.User))); err != nil {
		return err
	}
	return k.clear(ctx, n, key, rec)
}

// loaded makes it no error that there is nothing in the kernel.
func (*Keeper) loaded(err error) error {
	if errors.Is(err, backend.ErrNotLoaded) {
		return nil
	}
	return err
}

// clear takes the values of a secret out of the kernel, or, if it is not known any
// more, all of the user's.
func (k *Keeper) clear(ctx context.Context, n Name, key onetime.Key, rec *Record) error {
	old, err := readJournal(k.Store)
	if err != nil && !errors.Is(err, errJournal) {
		return err
	}
	i := k.index(n)
	if i < 0 || rec == nil || rec.Params != key.Params || err != nil || old != nil {
		if err := k.loaded(k.Kernel.Purge(ctx, policy.UserID(n.Door, n.User))); err != nil {
			return err
		}
	} else if len(rec.Live) > 0 {
		r := &refill{Keeper: k}
		values := r.values(&member{index: i, key: key}, rec.Live)
		if err := k.loaded(k.Kernel.Drop(ctx, k.Program, values)); err != nil {
			return err
		}
	}
	if rec == nil || len(rec.Live) == 0 {
		return nil
	}
	rec.lose()
	return rec.write(k.Store)
}

// Delete removes the files of a user who was revoked. What is known of the values
// stays for ever: the secret must not come back with a restored file.
func (k *Keeper) Delete(n Name) error {
	if err := k.Store.Remove(KeyName(n.Door, n.User)); err != nil {
		return err
	}
	return k.Store.Remove(markName(n.Door, n.User))
}

// Renew gives a user another secret in place of the one that he has, whose values
// are worthless from here on.
func (k *Keeper) Renew(ctx context.Context, n Name, key onetime.Key) error {
	ctx = context.WithoutCancel(ctx)
	old, err := ReadKey(k.Store, n.Door, n.User)
	var rec *Record
	if err == nil {
		if rec, err = ReadRecord(k.Store, old.Secret.ID()); err != nil {
			return err
		}
	}
	// From here on the older values are of no user: a refill takes them out.
	if err := k.Store.Write(KeyName(n.Door, n.User), key.Format()); err != nil {
		return err
	}
	if rec != nil {
		now := k.Now().UTC()
		rec.Retired = &now
		if err := rec.write(k.Store); err != nil {
			return err
		}
	}
	return k.clear(ctx, n, old, rec)
}

// index finds a user of the program; -1: he is none.
func (k *Keeper) index(n Name) int {
	if k.Program == nil {
		return -1
	}
	return slices.IndexFunc(k.Program.Users, func(u automaton.User) bool {
		return u.Name == n.User && k.Program.Doors[u.Door].Name == n.Door
	})
}
