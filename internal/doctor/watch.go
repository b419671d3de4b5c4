package doctor

import (
	"fmt"
	"net/netip"
	"time"

	"tirl/internal/port"
)

// Arrival is a knock that has come as far as this host's network card.
type Arrival struct {
	Time  time.Time
	Knock int // counted from 1
	Of    int
	Port  port.Port
	From  netip.Addr
}

func (a Arrival) String() string {
	return fmt.Sprintf("%s knock %d of %d (%s) from %s", a.Time.Format(time.TimeOnly), a.Knock, a.Of, a.Port, a.From)
}

// Watch remembers which knocks of one sequence have arrived. It does not judge
// their order: that is what tirl explain is for.
type Watch struct {
	knocks []port.Port
	seen   []bool
	last   map[netip.Addr]int // the index of a source's last knock, plus 1
}

// maxWatched bounds how many sources are told apart where a port is knocked at
// more than once.
const maxWatched = 1 << 16

// NewWatch watches for a sequence.
func NewWatch(knocks []port.Port) *Watch {
	return &Watch{knocks: knocks, seen: make([]bool, len(knocks)), last: make(map[netip.Addr]int)}
}

// Note records a packet and says which knock it is; of several to one port, the one
// that follows the source's last. It is false for a packet that is no knock.
func (w *Watch) Note(at time.Time, from netip.Addr, to port.Port) (Arrival, bool) {
	n := len(w.knocks)
	for i := range n {
		k := (w.last[from] + i) % n
		if w.knocks[k] != to {
			continue
		}
		if len(w.last) < maxWatched {
			w.last[from] = k + 1
		}
		w.seen[k] = true
		return Arrival{at, k + 1, n, to, from}, true
	}
	return Arrival{}, false
}

// Missing gives the numbers, from 1, of the knocks that have not arrived.
func (w *Watch) Missing() []int {
	var list []int
	for i, seen := range w.seen {
		if !seen {
			list = append(list, i+1)
		}
	}
	return list
}
