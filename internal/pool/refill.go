package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/onetime"
	"tirl/internal/port"
)

var errJournal = errors.New("read what was under way")

// batch is how many values are given to the kernel at once.
const batch = 4096

// refill is one look at all pools.
type refill struct {
	*Keeper
	now     time.Time
	members []*member
	records []*Record // of all secrets
	old     *journal  // what was under way
	marker  uint32
	begun   bool // the pool is empty: it has just begun
	report  Report
}

// Refill notes what was spent, takes it out of the kernel with all that came before
// it, and loads further values. It may be killed at any point, and run again.
func (k *Keeper) Refill(ctx context.Context) (Report, error) {
	r := &refill{Keeper: k, now: k.Now().UTC().Truncate(time.Second)}
	err := r.run(context.WithoutCancel(ctx))
	if err != nil {
		err = fmt.Errorf("refill the pools of users: %w", err)
	}
	return r.report, err
}

func (r *refill) run(ctx context.Context) error {
	if err := r.read(); err != nil {
		return err
	}
	if len(r.members)+len(r.records) == 0 {
		return nil
	}
	if ok, err := r.begin(ctx); !ok || err != nil {
		return err
	}
	if err := r.purge(ctx); err != nil {
		return err
	}
	for _, m := range r.members {
		r.reconcile(m)
	}
	if err := r.spent(ctx); err != nil {
		return err
	}
	base := make([]Record, len(r.members))
	for i, m := range r.members {
		base[i] = m.rec.clone()
	}
	r.plan()
	return r.commit(ctx, base)
}

func (r *refill) read() (err error) {
	if r.records, r.report.Warnings, err = Records(r.Store); err != nil {
		return err
	}
	var problems []error
	r.members, problems = r.Keeper.members(r.records)
	r.report.Warnings = append(r.report.Warnings, problems...)
	r.old, err = readJournal(r.Store)
	if errors.Is(err, errJournal) {
		// Nothing in the kernel can be relied upon.
		r.old, err = &journal{}, nil
	}
	return err
}

// begin finds out which pool the kernel has, and begins another where it is not
// the one that the records are about.
func (r *refill) begin(ctx context.Context) (bool, error) {
	marker, ok, err := r.Kernel.Marker(ctx)
	if errors.Is(err, backend.ErrNotLoaded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.marker = marker
	known := slices.ContainsFunc(r.records, func(rec *Record) bool { return r.here(rec) })
	if ok && known && !r.restored() && r.serials()+r.wanted() < automaton.MaxSerial {
		return true, nil
	}
	if len(r.members) == 0 {
		return false, nil
	}
	if err := r.Kernel.Begin(ctx, r.Marker()); err != nil {
		return false, err
	}
	r.begun = true
	if r.marker, ok, err = r.Kernel.Marker(ctx); err == nil && !ok {
		err = errors.New("the pool has lost its mark")
	}
	return true, err
}

// here says whether a record is about the pool in the kernel.
func (r *refill) here(rec *Record) bool { return rec.Marker == r.marker && rec.Boot == r.Boot }

// restored says whether records are older than what was loaded last: the mark
// beside a key is written after the record, and can be ahead of it only if somebody has
// put an older record in its place.
func (r *refill) restored() bool {
	if r.old != nil && r.old.Marker != r.marker {
		return true
	}
	return slices.ContainsFunc(r.members, func(m *member) bool { return m.mark.next > m.rec.Next })
}

// serials is the first serial that no value of this pool has had.
func (r *refill) serials() uint32 {
	next := uint32(1) // 0 is none
	for _, rec := range r.records {
		if r.here(rec) {
			next = max(next, rec.Serials)
		}
	}
	for _, m := range r.members {
		if r.here(&m.rec) {
			next = max(next, m.rec.Serials)
		}
	}
	return next
}

// wanted is more serials than this refill takes.
func (r *refill) wanted() uint32 {
	n := 0
	for _, m := range r.members {
		n += m.user.Length * m.key.Pool
	}
	return uint32(n)
}

// purge takes out what the kernel holds of secrets that have none of the
// program's users: of a key that is gone, was revoked or replaced, or whose user has
// another name or other parameters by now.
func (r *refill) purge(ctx context.Context) error {
	keys, err := r.keyIDs()
	if err != nil {
		return err
	}
	members, renewed := make(map[string]*member, len(r.members)), make(map[uint32]bool)
	for _, m := range r.members {
		members[m.id], renewed[m.user.ID] = m, true
	}
	for _, rec := range r.records {
		if !r.here(rec) || r.begun {
			continue
		}
		m := members[rec.ID]
		gone := rec.Retired != nil || !keys[rec.ID]
		changed := m != nil && (rec.Number != m.user.ID || rec.Params != m.params())
		interrupted := m == nil && r.old.of(rec.ID) != nil
		if !changed && !interrupted && (!gone || len(rec.Live) == 0) {
			continue
		}
		if rec.Retired != nil && !renewed[rec.Number] {
			if err := r.Kernel.Forget(ctx, rec.Number); err != nil {
				return err
			}
		}
		if err := r.Kernel.Purge(ctx, rec.Number); err != nil {
			return err
		}
		if m != nil {
			m.lose()
			continue
		}
		rec.lose()
		if err := rec.write(r.Store); err != nil {
			return err
		}
	}
	return nil
}

// keyIDs are those of all keys that can be read.
func (r *refill) keyIDs() (map[string]bool, error) {
	ids := make(map[string]bool)
	names, err := Keys(r.Store)
	for _, n := range names {
		if key, err := ReadKey(r.Store, n.Door, n.User); err == nil {
			ids[key.Secret.ID()] = true
		}
	}
	return ids, err
}

// lose burns all that is live: a client goes on with a later block.
func (rec *Record) lose() {
	rec.Live = nil
	if rec.Next > 0 && rec.Params.Pool > 0 {
		rec.Next, rec.Skipped = roundUp(rec.Next, uint64(rec.Params.Pool)), 2
		rec.Losses++
	}
}

func (m *member) lose() {
	if m.rec.Params.Pool == 0 {
		m.rec.Params = m.params()
	}
	m.rec.Next = max(m.rec.Next, m.mark.next)
	m.rec.lose()
	m.rec.Params = m.params()
}

// reconcile makes a record one of the pool in the kernel, and burns what an
// interrupted refill was about to load.
func (r *refill) reconcile(m *member) {
	under := r.old.of(m.id)
	if under != nil {
		for _, l := range under.Load {
			m.rec.Next = max(m.rec.Next, l.To)
		}
	}
	if !r.here(&m.rec) {
		m.lose()
		m.rec.Serials, under = 0, nil
	}
	m.rec.Next = max(m.rec.Next, m.mark.next)
	m.rec.Boot, m.rec.Marker = r.Boot, r.marker
	m.rec.Number, m.rec.Params = m.user.ID, m.params()
	if under == nil {
		return
	}
	m.drop = append(m.drop, under.Drop...)
	for _, l := range under.Load {
		m.rec.Live, _ = cut(m.rec.Live, l.From, l.To)
		m.drop = append(m.drop, l)
		if l.To == m.rec.Next {
			m.rec.Skipped += l.Len()
		}
	}
	if m.rec.Skipped >= 2 {
		m.rec.Next = roundUp(m.rec.Next, m.pool())
	}
}

// value makes the value of a number.
func (r *refill) value(m *member, number uint64, serial uint32) automaton.Value {
	return r.Program.Value(m.index, m.key.Secret, m.key.Params, number, serial)
}

func (r *refill) values(m *member, ranges []Range) []automaton.Value {
	var all []automaton.Value
	for _, l := range ranges {
		for n := l.From; n < l.To; n++ {
			all = append(all, r.value(m, n, l.serial(n)))
		}
	}
	return all
}

// spent notes who used what. A value that was used ends all before it.
func (r *refill) spent(ctx context.Context) error {
	all, err := r.Kernel.Spent(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	find := r.finder(all)
	for _, s := range all {
		m, number := find(s)
		if m == nil {
			continue
		}
		m.rec.Uses = append(m.rec.Uses, Use{number, slices.Clone(s.Sources), r.now})
		m.rec.Used, m.rec.Losses = max(m.rec.Used, number+1), 0
	}
	for _, m := range r.members {
		var taken []Range
		m.rec.Live, taken = cut(m.rec.Live, 0, m.rec.Used)
		m.drop = append(m.drop, taken...)
		// All that are found at once were found in no order.
		slices.SortStableFunc(m.rec.Uses, func(a, b Use) int { return cmp.Compare(a.Number, b.Number) })
		m.rec.Uses = m.rec.Uses[max(0, len(m.rec.Uses)-mostUses):]
	}
	return nil
}

// finder tells whose a spent value is.
func (r *refill) finder(all []backend.Spent) func(backend.Spent) (*member, uint64) {
	type at struct {
		m      *member
		number uint64
	}
	tokens, places := make(map[[16]byte]at), make(map[uint32]at)
	isToken := func(s backend.Spent) bool { return s.Place == 0 }
	for _, m := range r.members {
		if m.user.Length == 0 && !slices.ContainsFunc(all, isToken) {
			continue // deriving all tokens takes time
		}
		for _, l := range m.rec.Live {
			for n := l.From; n < l.To; n++ {
				if m.user.Length == 0 {
					tokens[r.value(m, n, 0).Token] = at{m, n}
				} else {
					places[automaton.PathPlace(l.serial(n), m.user.Length-1)] = at{m, n}
				}
			}
		}
	}
	return func(s backend.Spent) (*member, uint64) {
		found := tokens[s.Token]
		if s.Place != 0 {
			found = places[s.Place]
		}
		return found.m, found.number
	}
}

// plan says what is to be loaded. A pool reaches to the end of the block that the
// user is in, and further only in the last quarter of it: what is loaded and lost
// brings a client nearer to the end of what it tries.
func (r *refill) plan() {
	serial := r.serials()
	for _, m := range r.members {
		saved := m.rec.clone()
		if !r.extend(m, &serial) {
			m.rec, m.load, m.values = saved, nil, nil
			r.report.Warnings = append(r.report.Warnings, m.fail(errors.New("none of the next values can be loaded beside the policy")))
		}
	}
}

func (r *refill) extend(m *member, serial *uint32) bool {
	rec, pool := &m.rec, m.pool()
	second := make(map[port.Port]bool)
	note := func(v automaton.Value) {
		if len(v.Knocks) > 1 {
			second[v.Knocks[1]] = true
		}
	}
	live := uint64(rec.Count())
	if m.user.Length > 0 && live < pool {
		for _, v := range r.values(m, rec.Live) {
			note(v)
		}
	}
	loaded := func(first, next port.Port) bool { return first == m.user.First && second[next] }
	for tries := uint64(0); live < pool; tries++ {
		if tries > 4*pool {
			return false
		}
		if end := roundUp(rec.Start()+1, pool); rec.Next >= end && live >= (pool+3)/4 {
			break
		}
		if rec.Next > 0 && rec.Next%pool == 0 && rec.Skipped < 2 {
			rec.Next = onetime.After(rec.Next-1, m.key.Pool) // clients have tried the first in vain, perhaps
		}
		v := r.value(m, rec.Next, 0)
		if m.user.Length > 0 {
			v.Serial = *serial
		}
		if !r.Program.Loadable(v, loaded) {
			rec.Next++
			if rec.Skipped++; rec.Skipped >= 2 {
				rec.Next = roundUp(rec.Next, pool) // where a client looks that finds two closed
			}
			continue
		}
		note(v)
		m.values = append(m.values, v)
		m.load = extend(m.load, v.Number, v.Serial)
		rec.Live = extend(rec.Live, v.Number, v.Serial)
		rec.Next, rec.Skipped = rec.Next+1, 0
		if m.user.Length > 0 {
			*serial++
		}
		live++
	}
	if m.user.Length > 0 && len(m.load) > 0 {
		rec.Serials = *serial
	}
	return true
}
