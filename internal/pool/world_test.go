package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/onetime"
	"tirl/internal/policy"
)

// fault is what happens at one step that changes the disk or the kernel, or reads
// from the kernel.
type fault int

const (
	none       fault = iota
	killBefore       // tirl is killed before the step
	killAfter        // and after it
	failBefore       // the step fails, and has changed nothing
	failAfter        // it fails, and what it was to do is done all the same
	powerBefore
	powerAfter
	failThenPower // the write seems to have happened, but was never on the disk
)

func (f fault) String() string {
	return [...]string{"none", "killed before", "killed after", "failed before", "failed after", "power cut before", "power cut after", "failed, then a power cut"}[f]
}

type killed struct{ power bool }

var errInjected = errors.New("injected")

// world is a host with its kernel, its disk, and its users' clients.
type world struct {
	fatal   func(format string, args ...any)
	disk    map[string]string
	before  map[string]string // what a power cut brings back; files that were written, and not synced
	kernel  *kernel
	program *automaton.Program // what is in the kernel, also after a boot
	draws   uint32
	clock   time.Time
	clients map[Name]*client
	gone    []*client // clients whose secret was revoked
	steps   int
	at      int // the step with the fault
	fault   fault
	boots   int
}

func newWorld(fatal func(string, ...any)) *world {
	w := &world{fatal: fatal, disk: map[string]string{}, before: map[string]string{}, clients: map[Name]*client{},
		clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.kernel = &kernel{w: w, ever: map[string]bool{}}
	w.kernel.clear()
	return w
}

// step counts, and does what is to be done with or without a fault.
func (w *world) step(do func() error) error {
	w.steps++
	if w.steps != w.at {
		return do()
	}
	switch w.fault {
	case killBefore, powerBefore:
		panic(killed{w.fault == powerBefore})
	case killAfter, powerAfter:
		if err := do(); err != nil {
			return err
		}
		panic(killed{w.fault == powerAfter})
	case failBefore:
		return errInjected
	case failAfter, failThenPower:
		return errors.Join(do(), errInjected)
	}
	return do()
}

// attempt runs a command of tirl; false if it was killed or failed.
func (w *world) attempt(command func() error) (ok bool) {
	defer func() {
		if x := recover(); x != nil {
			k, mine := x.(killed)
			if !mine {
				panic(x)
			}
			ok = false
			if k.power {
				w.boot()
			}
		}
	}()
	at := w.steps
	err := command()
	if at < w.at && w.at <= w.steps && w.fault == failThenPower {
		w.boot()
	}
	return err == nil
}

// do runs a command as an administrator does, who repeats what did not work.
func (w *world) do(command func() error) {
	for range 3 {
		if w.attempt(command) {
			return
		}
	}
	if err := command(); err != nil {
		w.fatal("it fails again and again: %v", err)
	}
}

// boot loses what only the kernel knew. The program is loaded from what was saved.
func (w *world) boot() {
	for name, text := range w.before {
		if w.disk[name] = text; text == "" {
			delete(w.disk, name)
		}
	}
	clear(w.before)
	w.boots++
	w.kernel.clear()
	w.kernel.apply(w.program)
}

// Disk.

func (w *world) Read(name string) ([]byte, error) {
	text, ok := w.disk[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (w *world) Write(name string, text []byte) error {
	was := w.disk[name]
	err := w.step(func() error {
		w.disk[name] = string(text)
		return nil
	})
	if err != nil {
		w.before[name] = was
	} else {
		delete(w.before, name)
	}
	return err
}

func (w *world) Create(name string, text []byte) error {
	if _, ok := w.disk[name]; ok {
		return fs.ErrExist
	}
	return w.Write(name, text)
}

func (w *world) Remove(name string) error {
	return w.step(func() error {
		delete(w.disk, name)
		return nil
	})
}

func (w *world) List(dir string) ([]string, error) {
	var names []string
	for name := range w.disk {
		if file, ok := strings.CutPrefix(name, dir+"/"); ok {
			names = append(names, file)
		}
	}
	slices.Sort(names)
	return names, nil
}

// backup copies one of the two directories, and restore puts a copy back.
func (w *world) backup(dir string) map[string]string {
	saved := map[string]string{}
	for name, text := range w.disk {
		if strings.HasPrefix(name, dir+"/") {
			saved[name] = text
		}
	}
	return saved
}

func (w *world) restore(dir string, saved map[string]string) {
	maps.DeleteFunc(w.disk, func(name, _ string) bool { return strings.HasPrefix(name, dir+"/") })
	maps.Copy(w.disk, saved)
}

// kernel is a pool in memory.
type kernel struct {
	w       *world
	there   bool
	marked  bool
	marker  uint32
	live    map[string]held
	spent   map[string]backend.Spent
	users   map[uint32]bool // that open their doors
	serials map[uint32]string
	ever    map[string]bool // every value that any kernel ever held
}

type held struct {
	user  uint32
	spent backend.Spent
}

func (k *kernel) clear() {
	k.there, k.marked, k.live, k.spent, k.users, k.serials = false, false, map[string]held{}, map[string]backend.Spent{}, map[uint32]bool{}, map[uint32]string{}
}

// apply is a Load of a policy, which leaves the pool as it is.
func (k *kernel) apply(g *automaton.Program) {
	k.there, k.users = true, map[uint32]bool{}
	if g == nil {
		return
	}
	for _, u := range g.Users {
		k.users[u.ID] = true
	}
}

// name tells a value from all others.
func name(v automaton.Value) string {
	if len(v.Knocks) == 0 {
		return fmt.Sprintf("token %x", v.Token)
	}
	return fmt.Sprint("sequence ", v.Knocks)
}

func (k *kernel) Marker(context.Context) (uint32, bool, error) {
	if !k.there {
		return 0, false, backend.ErrNotLoaded
	}
	return k.marker, k.marked, nil
}

func (k *kernel) Begin(_ context.Context, marker uint32) error {
	return k.w.step(func() error {
		k.live, k.spent, k.serials = map[string]held{}, map[string]backend.Spent{}, map[uint32]string{}
		k.marked, k.marker = true, marker
		return nil
	})
}

func (k *kernel) LoadValues(_ context.Context, g *automaton.Program, values []automaton.Value) error {
	// Two transactions.
	for i, part := range [][]automaton.Value{values[:len(values)/2], values[len(values)/2:]} {
		err := k.w.step(func() error {
			for _, v := range part {
				k.load(g, v)
			}
			return nil
		})
		if err != nil {
			if i == 0 && k.w.fault == failBefore {
				return errors.Join(err, backend.ErrNotWritten)
			}
			return err
		}
	}
	return nil
}

func (k *kernel) load(g *automaton.Program, v automaton.Value) {
	n := name(v)
	if k.ever[n] {
		k.w.fatal("value %d of %s is written into a kernel again", v.Number, g.Users[v.User].Name)
	}
	k.ever[n] = true
	h := held{g.Users[v.User].ID, backend.Spent{Token: v.Token}}
	if len(v.Knocks) > 0 {
		if other, taken := k.serials[v.Serial]; taken {
			k.w.fatal("serial %d is of %s and of %s", v.Serial, other, n)
		}
		k.serials[v.Serial] = n
		h.spent = backend.Spent{Place: automaton.PathPlace(v.Serial, len(v.Knocks)-1)}
	}
	k.live[n] = h
}

func (k *kernel) Spent(context.Context) ([]backend.Spent, error) {
	return slices.Collect(maps.Values(k.spent)), nil
}

func (k *kernel) Drop(_ context.Context, _ *automaton.Program, values []automaton.Value) error {
	return k.w.step(func() error {
		for _, v := range values {
			n := name(v)
			delete(k.live, n)
			delete(k.spent, n)
			if len(v.Knocks) > 0 && k.serials[v.Serial] == n {
				delete(k.serials, v.Serial)
			}
		}
		return nil
	})
}

func (k *kernel) Purge(_ context.Context, user uint32) error {
	return k.w.step(func() error {
		for n, h := range k.live {
			if h.user == user {
				delete(k.live, n)
				maps.DeleteFunc(k.serials, func(_ uint32, of string) bool { return of == n })
			}
		}
		return nil
	})
}

func (k *kernel) Forget(_ context.Context, user uint32) error {
	return k.w.step(func() error {
		delete(k.users, user)
		return nil
	})
}

// send is a value on the wire; true if it opens the door.
func (k *kernel) send(v automaton.Value) bool {
	n := name(v)
	h, ok := k.live[n]
	if !ok {
		return false
	}
	delete(k.live, n)
	h.spent.Sources = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	k.spent[n] = h.spent
	return k.users[h.user]
}

// client holds what a user's machine holds.
type client struct {
	w      *world
	name   Name
	key    onetime.Key
	c      uint64
	sent   map[string]automaton.Value
	opened map[string]automaton.Value
}

// value is one of the client's, which knows nothing of the host.
func (c *client) value(number uint64) automaton.Value {
	v := automaton.Value{Number: number}
	if c.key.Kind == policy.Token {
		v.Token, _ = c.key.Secret.Token(number, c.key.Params)
	} else {
		v.Knocks = c.key.Secret.Sequence(number, c.key.Params)
	}
	return v
}

// open tries each candidate once; false if none of them opens the door.
func (c *client) open() bool {
	for _, n := range onetime.Candidates(c.c, c.key.Pool) {
		v := c.value(n)
		c.sent[name(v)] = v
		if !c.w.kernel.send(v) {
			continue
		}
		c.opened[name(v)] = v
		c.c = onetime.After(n, c.key.Pool)
		for _, v := range c.sent {
			c.w.kernel.send(v)
		}
		return true
	}
	return false
}

// keeper is a run of tirl.
func (w *world) keeper() *Keeper {
	return &Keeper{Store: w, Kernel: w.kernel, Program: w.program, Boot: fmt.Sprint("boot ", w.boots),
		Now:    func() time.Time { w.clock = w.clock.Add(time.Second); return w.clock },
		Marker: func() uint32 { w.draws++; return w.draws }}
}

func (w *world) refill() error {
	_, err := w.keeper().Refill(context.Background())
	return err
}
