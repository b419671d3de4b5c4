package counter

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const pool = 16

// client is a State, what the disk has of it, and what has been on the wire.
type client struct {
	State
	disk State
	wire []uint64 // in the last try
	ever map[uint64]bool
}

func (c *client) write() { c.disk = clone(c.State) }

func newClient() *client {
	c := &client{State: State{Next: []uint64{0}}}
	c.write()
	return c
}

func clone(s State) State {
	s.Sent, s.Left, s.Next = slices.Clone(s.Sent), slices.Clone(s.Left), slices.Clone(s.Next)
	return s
}

// kill is what a crash leaves.
func (c *client) kill() { c.State = clone(c.disk) }

// path is what becomes of a connection's packets.
type path struct {
	arrives  func() bool // of each value
	connects func() bool // of each connection to an open door
	kill     func() bool // at each point
}

func always() bool { return true }
func never() bool  { return false }

// connect does what package connect does, with so many attempts, and says whether
// there was a connection; a nil host is one that is away.
func (c *client) connect(h *host, p path, attempts int) bool {
	open := false
	c.wire = nil
	numbers := c.order(pool)
	c.Tries++
	for n := range attempts {
		i := numbers[n%len(numbers)]
		c.Take(i)
		if p.kill() {
			c.kill()
			return false
		}
		c.write()
		if p.kill() {
			c.kill()
			return false
		}
		if !slices.Contains(c.wire, i) {
			c.wire = append(c.wire, i)
		}
		c.send(h, i, p, &open)
		if !open || !p.connects() {
			continue
		}
		if p.kill() {
			c.kill()
			return false
		}
		c.Confirm(i, pool)
		if p.kill() {
			c.kill()
			return true
		}
		c.write()
		for _, left := range c.left() {
			if p.kill() {
				c.kill()
				return true
			}
			c.send(h, left, p, &open)
		}
		c.Swept()
		if p.kill() {
			c.kill()
			return true
		}
		c.write()
		return true
	}
	return false
}

func (c *client) send(h *host, i uint64, p path, open *bool) {
	if c.ever == nil {
		c.ever = map[uint64]bool{}
	}
	c.ever[i] = true
	if h != nil && p.arrives() && h.arrive(i) {
		*open = true
	}
}

// Ten thousand attempts in vain leave the client where it was, having tried four
// numbers at a time that are all live, or begin a block, and the next one opens: at once, if the host was only away, and
// within one round if it has lost its pool meanwhile.
func TestTenThousandInVain(t *testing.T) {
	for _, used := range []int{0, 1, 7, 14, 15, 16, 30} {
		for _, lost := range []bool{false, true} {
			h, c := newHost(pool), newClient()
			dead := path{never, never, never}
			fine := path{always, always, never}
			for range used {
				if !c.connect(h, fine, 1) {
					t.Fatalf("no connection: %+v", c.State)
				}
				h.refill()
			}
			before := clone(c.State)
			for range 10000 / 5 {
				c.connect(nil, dead, 5)
				for _, i := range c.wire {
					if !h.live[i] && i%pool != 0 || len(c.wire) != 4 {
						t.Fatalf("after %d connections: %d were tried, %+v, live from %d", used, c.wire, c.State, first(h))
					}
				}
			}
			if !slices.Equal(c.Next, before.Next) {
				t.Fatalf("after %d connections and ten thousand attempts: %+v, it was %+v", used, c.State, before)
			}
			attempts := 1
			if lost {
				h.lose()
				attempts = 5
			}
			if !c.connect(h, fine, attempts) {
				t.Errorf("after %d connections, lost %v: it does not open: %+v, live from %d", used, lost, c.State, first(h))
			}
			// And so it goes on.
			for range 40 {
				h.refill()
				if !c.connect(h, fine, 5) {
					t.Fatalf("later: %+v, live from %d", c.State, first(h))
				}
			}
		}
	}
}

// Where every twentieth packet is lost, or as with sequences every fourth value,
// each try ends with a connection, and after it and a refill nothing is live that
// was on the wire before.
func TestNothingIsLeft(t *testing.T) {
	for lost, tries := range map[int]int{5: 10000, 27: 1000} {
		dice := rand.New(rand.NewPCG(uint64(lost), 1))
		chance := func(percent int) func() bool { return func() bool { return dice.IntN(100) < percent } }
		h, c := newHost(pool), newClient()
		for n := range tries {
			before := c.ever
			c.ever = nil
			if !c.connect(h, path{chance(100 - lost), chance(99), never}, 30) {
				t.Fatalf("%d %% lost, try %d: no connection: %+v, live from %d", lost, n, c.State, first(h))
			}
			h.refill()
			for i := range before {
				if h.live[i] {
					t.Fatalf("%d %% lost, try %d: %d was on the wire, and is live: %+v, live from %d", lost, n, i, c.State, first(h))
				}
				if c.ever[i] = true; i+8*pool < c.Next[0] {
					delete(c.ever, i)
				}
			}
		}
	}
}

// byHand is what is left to a person where the host has lost its pool, and the
// number by which the client would have noticed was spent in vain.
func (c *client) byHand(h *host) bool {
	usual := clone(c.State)
	for _, i := range []uint64{first(h), h.next - 1} { // as the host tells
		c.Next, c.Tries = []uint64{i / pool * pool}, 0
		if c.connect(h, path{always, always, never}, 5) {
			return true
		}
		usual.Sent = slices.Clone(c.Sent)
		c.State = clone(usual)
	}
	c.begin(first(h)) // by what the host exports
	return c.connect(h, path{always, always, never}, 5)
}

func first(h *host) uint64 {
	lowest := uint64(1 << 62)
	for i := range h.live {
		lowest = min(lowest, i)
	}
	return lowest
}

// On a bad path, with a host that refills and boots when it likes, and a client
// that is killed at any point: a client that is let through always comes in within
// a few tries, or by hand if all that it tries was spent in vain, where the host has not lost its pool more than once since the last connection; it never tries more than four numbers at a time; and no number is
// loaded twice.
func TestClientAndHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, c := newHost(pool), newClient()
		seed := rapid.Uint64().Draw(t, "seed")
		dice := rand.New(rand.NewPCG(seed, 1))
		chance := func(percent int) func() bool { return func() bool { return dice.IntN(100) < percent } }
		losses := 0 // of the pool since the client's last connection
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				h.refill()
			case 1:
				if losses == 0 {
					h.refill()
					h.lose()
					losses++
				}
			case 2: // nothing arrives
				c.connect(nil, path{never, never, chance(2)}, 7)
			case 3: // some arrives
				if c.connect(h, path{chance(60), chance(60), chance(2)}, rapid.IntRange(1, 8).Draw(t, "attempts")) {
					losses = 0
				}
			case 4: // all arrives, and the client is killed
				if c.connect(h, path{always, always, chance(10)}, 5) {
					losses = 0
				}
			case 5:
				h.refill()
				in := false
				for n := uint64(0); n < reach(pool) && !in; n++ {
					in = c.connect(h, path{always, always, never}, 10)
				}
				if !in && !c.byHand(h) {
					t.Fatalf("shut out: %+v, live from %d of %d", c.State, first(h), len(h.live))
				}
				losses = 0
			}
			if len(c.wire) > 4 {
				t.Fatalf("tried at a time: %d, %+v", c.wire, c.State)
			}
		}
		if len(h.twice) > 0 {
			t.Fatalf("loaded twice: %d", h.twice)
		}
	})
}

// Whoever has a service restarted while his knocks arrive is not led astray by the
// number that a connection came by in the end.
func TestAnOlderNumberHasOpened(t *testing.T) {
	for _, used := range []int{0, 1, 5, 15} {
		for fails := range 5 {
			h, c := newHost(pool), newClient()
			fine := path{always, always, never}
			for range used {
				c.connect(h, fine, 1)
				h.refill()
			}
			n := 0
			if !c.connect(h, path{always, func() bool { n++; return n > fails }, never}, 5) {
				t.Fatalf("%d, %d: no connection", used, fails)
			}
			for i := range 40 {
				h.refill()
				if !c.connect(h, fine, 5) {
					t.Fatalf("after %d connections, and one that needed %d attempts, and %d more: %+v, live from %d", used, fails+1, i, c.State, first(h))
				}
			}
		}
	}
}

// Who has used up values where no connection came, because a service was down, or
// a network lets nothing through but datagrams, comes in at once when that has
// passed.
func TestSpentInVain(t *testing.T) {
	for _, used := range []int{0, 1, 5, 14, 15} {
		for _, tries := range []int{1, 2} {
			h, c := newHost(pool), newClient()
			fine := path{always, always, never}
			for range used {
				c.connect(h, fine, 1)
				h.refill()
			}
			for range tries {
				if c.connect(h, path{always, never, never}, 5) {
					t.Fatal("a connection")
				}
				h.refill()
			}
			for i := range 40 {
				if !c.connect(h, fine, 3) {
					t.Fatalf("after %d connections, %d tries in vain, and %d connections: %+v, live from %d", used, tries, i, c.State, first(h))
				}
				h.refill()
			}
		}
	}
}

// Where nothing tells what comes of a knock, the first number is in each, or in
// each other one.
func TestUnseen(t *testing.T) {
	for _, tt := range []struct {
		both bool
		want [][]uint64
	}{
		{true, [][]uint64{{7}, {7, 8}, {7, 16}, {7, 9}, {7, 32}, {7, 10}, {7, 16}}},
		{false, [][]uint64{{7}, {8}, {7}, {16}, {7}, {9}, {7}, {32}, {7}}},
	} {
		s := State{Next: []uint64{7}}
		for i, want := range tt.want {
			if got := s.Unseen(pool, tt.both); !slices.Equal(got, want) || *s.Last != want[len(want)-1] {
				t.Errorf("knock %d, both %v: %d, want %d", i+1, tt.both, got, want)
			}
		}
	}
}

func TestConfirm(t *testing.T) {
	type numbers = []uint64
	for _, tt := range []struct {
		next, sent numbers
		i          uint64
		want       numbers
	}{
		{numbers{7}, numbers{7}, 7, numbers{8}},
		{numbers{15}, numbers{15}, 15, numbers{17}},
		{numbers{7}, numbers{7, 8}, 8, numbers{9}},
		{numbers{7}, numbers{7, 8, 9, 10}, 7, numbers{11}},
		{numbers{16}, numbers{16}, 16, numbers{17}},
		// A block further, and perhaps not.
		{numbers{7}, numbers{7, 8, 16}, 16, numbers{9, 17}},
		{numbers{7}, numbers{7, 8, 16, 32}, 32, numbers{9, 17, 33}},
		{numbers{7}, numbers{7, 8, 16, 32}, 7, numbers{9}},
		// The next one shows.
		{numbers{9, 33}, numbers{9}, 9, numbers{10}},
		{numbers{9, 33}, numbers{9, 33}, 33, numbers{34, 10}},
		{numbers{34, 10}, numbers{34}, 34, numbers{35}},
		{numbers{34, 10}, numbers{10, 34}, 10, numbers{11, 35}},
		{numbers{9, 33}, numbers{9, 33, 48, 64}, 64, numbers{65, 10, 34, 49}},
		// By hand.
		{numbers{7}, nil, 160, numbers{161}},
	} {
		s := State{Next: tt.next, Sent: tt.sent, Tries: 3}
		s.Confirm(tt.i, pool)
		if !slices.Equal(s.Next, tt.want) || s.Tries != 0 {
			t.Errorf("%d of %d, sent %d: %+v, want %d", tt.i, tt.next, tt.sent, s, tt.want)
		}
	}
}

func TestCandidates(t *testing.T) {
	for _, tt := range []struct {
		s    State
		want []uint64
	}{
		{State{Next: []uint64{7}}, []uint64{7, 8, 16, 32}},
		{State{Next: []uint64{7}, Tries: 2}, []uint64{7, 10, 16, 32}},
		{State{Next: []uint64{7}, Tries: 3}, []uint64{7, 8, 16, 32}},
		{State{Next: []uint64{14}, Tries: 2}, []uint64{14, 18, 16, 32}},
		{State{Next: []uint64{9, 33}}, []uint64{9, 33, 48, 64}},
		{State{Next: []uint64{9, 17, 33}, Tries: 1}, []uint64{10, 18, 34, 48}},
		{State{Next: []uint64{65, 10, 34, 49}}, []uint64{65, 10, 34, 49}},
	} {
		if got := tt.s.Candidates(pool); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %d, want %d", tt.s, got, tt.want)
		}
	}
}
