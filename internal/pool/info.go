package pool

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/onetime"
	"tirl/internal/policy"
)

// Info is what can be told of a user: never what opens his door next.
type Info struct {
	Name
	Kind policy.OneTime
	Pool int // values that are to be live
	Live int
	// Block is where a client begins that has lost count, in pools; of what is live there
	// it tells nothing.
	Block uint64
	// Used is one more than the highest number that was spent, and Uses the last ones.
	Used   uint64
	Uses   []Use
	Losses int // of the pool since then: boots and the like
	// Lost says that a client which has not been used since would not find a live
	// value, and AtRisk that it would not after another loss.
	Lost, AtRisk bool
	// Problem is why there are no values for him; nil: there is none.
	Problem error
}

// Empty says that nothing opens the door to the user until a refill.
func (i *Info) Empty() bool { return i.Live == 0 }

// Low says that the user may run out of values before the next refill.
func (i *Info) Low() bool { return i.Live < (i.Pool+7)/8 }

// Users tells of all users of the program. It changes nothing and needs no lock: what
// packets have spent since the last refill is counted in.
func (k *Keeper) Users(ctx context.Context) ([]Info, error) {
	if k.Program == nil || len(k.Program.Users) == 0 {
		return nil, nil
	}
	r := &refill{Keeper: k, now: k.Now().UTC()}
	var err error
	if r.records, _, err = Records(k.Store); err != nil {
		return nil, err
	}
	marker, ok, err := k.Kernel.Marker(ctx)
	if err != nil && !errors.Is(err, backend.ErrNotLoaded) {
		return nil, err
	}
	r.marker = marker
	r.members, _ = k.members(r.records)
	for _, m := range r.members {
		if !ok || !r.here(&m.rec) {
			m.rec.Live = nil
		}
	}
	if ok {
		if err := r.spent(ctx); err != nil {
			return nil, err
		}
	}
	return r.infos(), nil
}

func (r *refill) infos() []Info {
	all := make([]Info, len(r.Program.Users))
	for i, u := range r.Program.Users {
		all[i] = Info{Name: Name{r.Program.Doors[u.Door].Name, u.Name}, Kind: u.Kind, Pool: u.Pool}
	}
	for _, m := range r.members {
		i := &all[m.index]
		i.Block = onetime.Block(m.rec.Start(), m.key.Pool)
		i.Live, i.Used, i.Uses, i.Losses = m.rec.Count(), m.rec.Used, m.rec.Uses, m.rec.Losses
		if i.Live > 0 {
			i.Lost, i.AtRisk = !m.rec.Reachable(), m.rec.AtRisk()
		}
	}
	known := make(map[string]*Record, len(r.records))
	for _, rec := range r.records {
		known[rec.ID] = rec
	}
	for i := range all {
		if !slices.ContainsFunc(r.members, func(m *member) bool { return m.index == i }) {
			m := &member{index: i, door: all[i].Door, user: r.Program.Users[i]}
			all[i].Problem = r.Keeper.read(m, known)
		}
	}
	slices.SortStableFunc(all, func(a, b Info) int { return cmp.Or(cmp.Compare(a.Door, b.Door), cmp.Compare(a.User, b.User)) })
	return all
}

// Check says what is wrong with the keys of a program's users, as UserErrors.
func Check(s Store, g *automaton.Program) []error {
	records, problems, err := Records(s)
	if err != nil {
		return []error{err}
	}
	_, of := (&Keeper{Store: s, Program: g}).members(records)
	return append(problems, of...)
}

// Unloaded stands for a kernel without a policy.
type Unloaded struct{}

var _ backend.Pool = Unloaded{}

// Marker implements backend.Pool.
func (Unloaded) Marker(context.Context) (uint32, bool, error) { return 0, false, backend.ErrNotLoaded }

// Begin implements backend.Pool.
func (Unloaded) Begin(context.Context, uint32) error { return backend.ErrNotLoaded }

// LoadValues implements backend.Pool.
func (Unloaded) LoadValues(context.Context, *automaton.Program, []automaton.Value) error {
	return errors.Join(backend.ErrNotLoaded, backend.ErrNotWritten)
}

// Spent implements backend.Pool.
func (Unloaded) Spent(context.Context) ([]backend.Spent, error) { return nil, backend.ErrNotLoaded }

// Drop implements backend.Pool.
func (Unloaded) Drop(context.Context, *automaton.Program, []automaton.Value) error {
	return backend.ErrNotLoaded
}

// Purge implements backend.Pool.
func (Unloaded) Purge(context.Context, uint32) error { return backend.ErrNotLoaded }

// Forget implements backend.Pool.
func (Unloaded) Forget(context.Context, uint32) error { return backend.ErrNotLoaded }
