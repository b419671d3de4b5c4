package pool

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// commit does what was planned: first the disk, then the kernel.
func (r *refill) commit(ctx context.Context, base []Record) error {
	todo := &journal{Boot: r.Boot, Marker: r.marker}
	for _, m := range r.members {
		if len(m.drop)+len(m.load) > 0 {
			todo.Entries = append(todo.Entries, entry{m.id, m.drop, m.load})
		}
	}
	if r.old != nil || len(todo.Entries) > 0 {
		if err := todo.write(r.Store); err != nil {
			return err
		}
	}
	if err := r.saveAll(); err != nil {
		return err
	}
	if len(todo.Entries) == 0 {
		return nil
	}
	err := r.drop(ctx)
	if err == nil {
		err = r.load(ctx, todo, base)
	}
	if err != nil {
		return err // the next refill goes on from the journal
	}
	return r.Store.Remove(journalName)
}

// saveAll writes what has changed, and is done when all of it is on the disk.
func (r *refill) saveAll() error {
	turns := make(chan struct{}, max(1, r.Writers))
	errs := make([]error, len(r.members))
	var all sync.WaitGroup
	for i, m := range r.members {
		if r.Writers <= 1 {
			if err := r.save(m); err != nil {
				return err
			}
			continue
		}
		turns <- struct{}{}
		all.Go(func() {
			errs[i] = r.save(m)
			<-turns
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// save writes a record, and then the mark.
func (r *refill) save(m *member) error {
	if m.fresh || !reflect.DeepEqual(m.rec, m.before) {
		if err := m.rec.write(r.Store); err != nil {
			return err
		}
	}
	if m.mark.next == m.rec.Next {
		return nil
	}
	return mark{m.id, m.rec.Next}.write(r.Store, m.door, m.user.Name)
}

func (r *refill) drop(ctx context.Context) error {
	var values []automaton.Value
	for _, m := range r.members {
		if !r.begun {
			values = append(values, r.values(m, m.drop)...)
		}
	}
	if len(values) == 0 {
		return nil
	}
	return r.Kernel.Drop(ctx, r.Program, values)
}

// load gives the kernel what was planned, some users at a time. After an error the
// journal says which values may have been live.
func (r *refill) load(ctx context.Context, todo *journal, base []Record) error {
	for from := 0; from < len(r.members); {
		var values []automaton.Value
		to := from
		for ; to < len(r.members) && len(values) < batch; to++ {
			values = append(values, r.members[to].values...)
		}
		if len(values) > 0 {
			err := r.Kernel.LoadValues(ctx, r.Program, values)
			if errors.Is(err, backend.ErrNotWritten) {
				to = from
			}
			if err != nil {
				return errors.Join(err, r.unload(todo, base, to))
			}
			r.report.Loaded += len(values)
		}
		from = to
	}
	return nil
}

// unload takes back the plan for those users, from one on, whose values the kernel
// was never told of. They are loaded another time, and nothing is burnt.
func (r *refill) unload(todo *journal, base []Record, from int) error {
	for i, m := range r.members[from:] {
		if len(m.load) == 0 {
			continue
		}
		back := base[from+i]
		// The mark first: it must not be ahead of the record.
		if err := (mark{m.id, back.Next}).write(r.Store, m.door, m.user.Name); err != nil {
			return err
		}
		if err := back.write(r.Store); err != nil {
			return err
		}
		todo.of(m.id).Load = nil
	}
	todo.Entries = slices.DeleteFunc(todo.Entries, func(e entry) bool { return len(e.Load) == 0 })
	return todo.write(r.Store)
}
