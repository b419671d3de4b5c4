package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/port"
)

var alice, bob, carol = Name{"ssh", "alice"}, Name{"ssh", "bob"}, Name{"ssh", "carol"}

// params are small pools, so that blocks end often.
func params(n Name) onetime.Params {
	p := onetime.Params{Kind: policy.Token, Lo: 1024, Hi: 65535, Pool: 16}
	if n != alice {
		p.Kind, p.First, p.Length = policy.Sequence, port.Port{Proto: port.UDP, Number: 40213}, 6
		if n == carol {
			p.First.Number++
		}
	}
	return p
}

// apply loads a policy with some users.
func (w *world) apply(names ...Name) {
	p, found := policy.Parse("policy.toml", []byte("[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/2001\", \"udp/47\", \"udp/911\"]\n"))
	if p == nil {
		w.fatal("%v", found)
	}
	for _, n := range names {
		q := params(n)
		p.Doors[0].Users = append(p.Doors[0].Users, policy.User{
			Name: n.User, Kind: q.Kind, First: q.First, Length: q.Length, Ports: port.Span{First: q.Lo, Last: q.Hi}, Pool: q.Pool,
		})
	}
	g, err := automaton.Compile(p)
	if err != nil {
		w.fatal("%v", err)
	}
	w.program = g
	w.kernel.apply(g)
}

// key draws a secret that no other world has drawn differently.
func (w *world) key(n Name) onetime.Key {
	w.draws++
	k := onetime.Key{Params: params(n), Created: w.clock}
	copy(k.Secret[:], fmt.Sprint(n, w.draws))
	return k
}

// client takes up the key that is on the disk, as an export gives it.
func (w *world) client(n Name) *client {
	key, err := ReadKey(w, n.Door, n.User)
	if err != nil {
		w.fatal("%v", err)
	}
	c := &client{w: w, name: n, key: key, sent: map[string]automaton.Value{}, opened: map[string]automaton.Value{}}
	if rec, err := ReadRecord(w, key.Secret.ID()); err == nil && rec != nil {
		c.c = rec.Start()
	}
	w.clients[n] = c
	return c
}

func (w *world) add(n Name, all ...Name) {
	w.do(func() error {
		if _, err := w.keeper().Add(n, w.key(n)); err != nil {
			return err
		}
		w.apply(all...)
		return w.refill()
	})
	w.client(n)
}

func (w *world) renew(n Name) {
	w.do(func() error {
		err := w.keeper().Renew(context.Background(), n, w.key(n))
		return errors.Join(err, w.refill())
	})
	w.gone = append(w.gone, w.clients[n])
	w.client(n)
}

func (w *world) remove(n Name, left ...Name) {
	w.do(func() error {
		if err := w.keeper().Revoke(context.Background(), n); err != nil {
			return err
		}
		if w.clients[n].open() {
			w.fatal("%s gets in after Revoke has come back", n)
		}
		w.apply(left...)
		if err := w.keeper().Delete(n); err != nil {
			return err
		}
		return w.refill()
	})
	w.gone = append(w.gone, w.clients[n])
	delete(w.clients, n)
}

// use has a client come in some times, after a refill has run as it does each minute.
func (w *world) use(n Name, times int) {
	w.do(w.refill)
	for range times {
		w.open(n)
	}
}

func (w *world) open(n Name) {
	if !w.clients[n].open() {
		rec, err := ReadRecord(w, w.clients[n].key.Secret.ID())
		w.fatal("%s is locked out: it is at %d, the host has %+v, %v", n, w.clients[n].c, rec, err)
	}
}

// replay sends all that anybody has ever sent, and what revoked clients have.
func (w *world) replay() {
	for _, c := range slices.Concat(w.gone, []*client{w.clients[alice], w.clients[bob], w.clients[carol]}) {
		if c == nil {
			continue
		}
		for n, v := range c.opened {
			if w.kernel.send(v) {
				w.fatal("%s: %s opens the door a second time", c.name, n)
			}
		}
	}
	for _, c := range w.gone {
		for n := range c.c + 3*uint64(c.key.Pool) {
			if w.kernel.send(c.value(n)) {
				w.fatal("%s: value %d of a revoked secret opens the door", c.name, n)
			}
		}
	}
}

// story is the life of a host.
func (w *world) story() {
	w.apply()
	w.add(alice, alice)
	w.add(bob, alice, bob)
	w.use(alice, 2)
	w.use(alice, 1)
	w.use(bob, 1)
	w.replay()
	varLib, etc := w.backup(usersArea), w.backup(keysArea)
	for range 5 { // into the next block
		w.use(alice, 3)
	}
	w.use(bob, 1)
	w.do(w.refill)
	w.restore(usersArea, varLib)
	w.use(alice, 1)
	w.use(bob, 1)
	w.restore(keysArea, etc)
	w.use(alice, 1)
	w.use(bob, 1)
	w.boot()
	w.use(alice, 1)
	w.use(bob, 1)
	w.replay()
	w.renew(alice)
	w.use(alice, 1)
	w.renew(bob)
	w.use(bob, 1)
	w.replay()
	w.remove(bob, alice)
	w.use(alice, 1)
	w.replay()
	w.add(bob, alice, bob)
	w.add(carol, alice, bob, carol)
	w.use(bob, 3)
	w.use(carol, 1)
	w.apply(alice) // bob and carol are in no policy for a while
	w.use(alice, 1)
	w.apply(alice, bob, carol)
	w.use(bob, 1)
	w.use(carol, 1)
	w.replay()
}

// Whatever happens at any step, no value is written twice, nobody is lost, and who
// was revoked stays out.
func TestEveryStepMayFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Fatalf)
	w.story()
	total := w.steps
	if total < 100 {
		t.Fatalf("the story has %d steps only", total)
	}
	tried := 0
	// What comes after a step comes before the next one.
	for _, f := range []fault{killBefore, failBefore, failAfter, powerBefore, failThenPower} {
		for at := 1; at <= total; at++ {
			w := newWorld(func(format string, args ...any) {
				t.Helper()
				t.Fatalf("step %d %s: %s", at, f, fmt.Sprintf(format, args...))
			})
			w.at, w.fault = at, f
			w.story()
			tried++
		}
	}
	t.Logf("%d steps, %d faults", total, tried)
}

// The same with several faults, commands in any order, and backups put back.
func TestRandomLives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t.Fatalf)
		names := []Name{alice, bob, carol}
		w.apply()
		for i, n := range names {
			w.add(n, names[:i+1]...)
		}
		var saved []map[string]string
		// settle has everybody come in, so that nobody is behind by more than a client tries.
		settle := func() {
			for _, n := range names {
				w.use(n, 1)
			}
			w.replay()
		}
		actions := map[string]func(*rapid.T){
			"use": func(t *rapid.T) {
				n := rapid.SampledFrom(names).Draw(t, "who")
				for range rapid.IntRange(1, 5).Draw(t, "refills") {
					w.use(n, rapid.IntRange(1, 3).Draw(t, "times"))
				}
			},
			"fault": func(t *rapid.T) {
				settle()
				w.fault = fault(rapid.IntRange(int(killBefore), int(failThenPower)).Draw(t, "fault"))
				w.at = w.steps + rapid.IntRange(1, 20).Draw(t, "step")
				if rapid.Bool().Draw(t, "while renewing") {
					w.renew(rapid.SampledFrom(names).Draw(t, "who"))
				}
				settle()
				w.at = 0
				settle()
			},
			"boot": func(*rapid.T) {
				settle()
				w.boot()
				settle()
			},
			"renew": func(t *rapid.T) { settle(); w.renew(rapid.SampledFrom(names).Draw(t, "who")); settle() },
			"backup": func(*rapid.T) {
				settle()
				saved = append(saved, w.backup(usersArea))
			},
			"restore": func(t *rapid.T) {
				if len(saved) == 0 {
					return
				}
				settle()
				w.do(w.refill)
				w.restore(usersArea, rapid.SampledFrom(saved).Draw(t, "backup"))
				settle()
			},
		}
		for range rapid.IntRange(1, 8).Draw(t, "actions") {
			actions[rapid.SampledFrom(slices.Sorted(maps.Keys(actions))).Draw(t, "action")](t)
		}
	})
}
