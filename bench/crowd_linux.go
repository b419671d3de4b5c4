package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/port"
	made "tirl/internal/sample"
)

const (
	// livePool is how many values each user has, as in a policy that does not say.
	livePool = 256
	// spending is how many values are gone at a refill.
	spending = 250
	// firstUser is the port of the first knock of the first user; the others' follow.
	firstUser = 10000
	// betweenVisits is the time between two clients while values are loaded.
	betweenVisits = 5 * time.Millisecond
)

// crowdPolicy has a door that knocks open and so many users of one kind have.
func crowdPolicy(kind policy.OneTime, users int) string {
	var b strings.Builder
	b.WriteString(guardPolicy)
	for i := range users {
		fmt.Fprintf(&b, "[door.ssh.users.u%d]\none_time = %q\npool = %d\n", i, kind, livePool)
		if kind == policy.Sequence {
			fmt.Fprintf(&b, "first = \"udp/%d\"\n", firstUser+i)
		}
	}
	return b.String()
}

// crowd is a place whose door has users with live values.
type crowd struct {
	*place
	stage   *stage // the same server, once values are loaded and the sink is behind it
	program *automaton.Program
	pool    backend.Pool
	live    []automaton.Value
	next    []uint64 // by user: the number that is loaded next
	begun   map[[2]port.Port]bool
	serial  uint32

	took    time.Duration // to load all values
	memory  int64         // of the kernel, that they take; 0: not measured
	visits  visits        // by the knocks that the door has, while they were loaded
	refills sample        // ms
	dearer  sample        // what spends values, than as many packets that do not: ns a packet
}

// newCrowd sets up a server and loads the values, while a client comes and goes.
func newCrowd(ctx context.Context, kind policy.OneTime, users int) (c *crowd, err error) {
	c = &crowd{begun: make(map[[2]port.Port]bool), next: make([]uint64, users)}
	if c.program, err = compile(crowdPolicy(kind, users)); err != nil {
		return nil, err
	}
	c.program.PerSource = unlimited
	g := withRules(contender{name: number(float64(users), 0)})[0]
	for _, u := range c.program.Users {
		g.doors = append(g.doors, []port.Port{u.First})
	}
	g.load = func(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
		c.pool = kinds.All()[0].Make(server).(backend.Pool)
		return nil, loadProgram(ctx, server, kinds.All()[0], c.program)
	}
	for user := range users {
		for range livePool {
			c.live = append(c.live, c.value(user))
		}
	}
	if c.place, err = newPlace(ctx, g); err != nil {
		return nil, err
	}
	if err := c.fill(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.stage = &stage{contender: c.contender, pair: c.pair}
	if _, err := c.pair.Server.Run(ctx, sink, "nft", "-f", "-"); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// value gives a user's next one.
func (c *crowd) value(user int) automaton.Value {
	for {
		v := made.Value(c.program, user, c.next[user])
		v.Serial = c.serial
		c.next[user]++
		if !c.program.Loadable(v, func(first, second port.Port) bool { return c.begun[[2]port.Port{first, second}] }) {
			continue
		}
		if len(v.Knocks) > 0 {
			c.begun[[2]port.Port{v.Knocks[0], v.Knocks[1]}] = true
		}
		c.serial++
		return v
	}
}

func (c *crowd) fill(ctx context.Context) (err error) {
	if err := c.pool.Begin(ctx, 1); err != nil {
		return err
	}
	weighs := len(c.live) >= weighed
	var before int64
	if weighs {
		if before, err = settledMemory(ctx); err != nil {
			return err
		}
	}
	runtime.GC() // what others have left behind is not this one's to clear up
	loaded := make(chan error, 1)
	go func() {
		start := time.Now()
		err := c.pool.LoadValues(ctx, c.program, c.live)
		c.took = time.Since(start)
		loaded <- err
	}()
	if err := c.visit(ctx, loaded); err != nil || !weighs {
		return err
	}
	after, err := settledMemory(ctx)
	c.memory = after - before
	return err
}

// visit has one client after the other knock and connect until something is done.
func (c *crowd) visit(ctx context.Context, done <-chan error) error {
	var failed error
	err := onOneCPU(func() error {
		for {
			t, err := c.opening(ctx, lab.Forged4(c.visits.tries))
			if err != nil {
				return err
			}
			c.visits.tries++
			if t.opened {
				c.visits.in++
			}
			select {
			case failed = <-done:
				done = nil
				return nil
			case <-time.After(betweenVisits):
			}
		}
	})
	if done != nil {
		failed = <-done
	}
	return errors.Join(err, failed)
}

// users lists the packets by which values are used, and how many each takes.
func (f family) users(values []automaton.Value) (packets []lab.Packet, each int) {
	for _, v := range values {
		if len(v.Knocks) == 0 {
			packets = append(packets, f.token(v.Token[:]))
		}
		for i, k := range v.Knocks {
			packets = append(packets, f.to(k, i))
		}
	}
	return packets, len(packets) / len(values)
}

// token is a datagram of nothing but a token.
func (f family) token(token []byte) lab.Packet {
	p := f.to(port.Port{Proto: port.UDP, Number: firstWrong}, 0)
	p.Payload, p.Untagged = token, true
	return p
}

// refill has packets spend values, and does what a refill does with them.
func (c *crowd) refill(ctx context.Context, f family, misses pattern) error {
	places := make([]int, spending)
	var gone, fresh []automaton.Value
	for i := range places {
		places[i] = i * (len(c.live) / spending)
		gone = append(gone, c.live[places[i]])
		fresh = append(fresh, c.value(gone[i].User))
	}
	packets, each := f.users(gone)
	wasted := misses.packets(c.stage, f)
	miss, err := c.burst(ctx, lab.Stream{Packets: wasted[:min(len(packets), len(wasted))]}, len(packets))
	if err != nil {
		return err
	}
	hit, err := c.burst(ctx, lab.Stream{Packets: packets, Sources: spending, Hold: each}, len(packets))
	if err != nil {
		return err
	}
	c.dearer.costs = append(c.dearer.costs, hit-miss)
	start := time.Now()
	spent, err := c.pool.Spent(ctx)
	if err != nil {
		return err
	}
	if err := c.pool.Drop(ctx, c.program, gone); err != nil {
		return err
	}
	if err := c.pool.LoadValues(ctx, c.program, fresh); err != nil {
		return err
	}
	c.refills.costs = append(c.refills.costs, float64(time.Since(start).Microseconds())/1000)
	if len(spent) != spending {
		return fmt.Errorf("packets spent %d values of %d", len(spent), spending)
	}
	for i, place := range places {
		c.live[place] = fresh[i]
	}
	return nil
}

// burst sends n packets at once, and says what one of them cost.
func (c *crowd) burst(ctx context.Context, stream lab.Stream, n int) (float64, error) {
	live, err := lab.NewLive(c.pair, stream, lab.AnyCPU)
	if err != nil {
		return 0, err
	}
	cost, err := live.Run(ctx, n)
	return cost.PerPacket(), errors.Join(err, live.Close())
}

// spends is what a packet costs that spends a value, or leads to that, if one that misses
// costs so much in a long run: a burst is dearer.
func (c *crowd) spends(miss Cell) Cell {
	if miss.Failed != "" {
		return miss
	}
	return Cell{Value: miss.Value + c.dearer.cell().Value}
}
