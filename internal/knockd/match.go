package knockd

import (
	"net/netip"
	"slices"

	"tirl/internal/port"
)

// Packet is a packet as it comes to the host that knockd listens on.
type Packet struct {
	Second   int64 // since the epoch: knockd counts whole seconds
	Src, Dst netip.Addr
	To       port.Port
	Flags    uint8 // TCP
}

// Matcher is knockd's algorithm, its faults included:
//
//   - a packet is seen if some door has its port, and of a TCP packet the flags
//     fit that door;
//   - an attempt belongs to a source and a door. As long as a source has one, no
//     door begins another. What is not the expected knock ends an attempt, and is
//     used up by that, unless its flags do not fit the door;
//   - a whole sequence must be done within less than the door's SeqTimeout;
//   - attempts that have ended are cleared away at the next packet that is seen,
//     of whomever. If the oldest is among them, all others go too.
type Matcher struct {
	doors    []*Door
	local    []netip.Addr
	attempts []*attempt
}

type attempt struct {
	door  int
	src   netip.Addr
	stage int // knocks done; below 0: failed
	start int64
}

// NewMatcher begins without attempts. Local are the addresses of the interface
// when knockd started.
func NewMatcher(c *Config, local ...netip.Addr) *Matcher {
	return &Matcher{doors: c.Doors, local: local}
}

// Packet gives the doors whose command is run.
func (m *Matcher) Packet(p Packet) (opened []int) {
	if !m.sees(p) {
		return nil
	}
	m.clear(p.Second)
	found := slices.DeleteFunc(slices.Clone(m.attempts), func(a *attempt) bool {
		return a.src != p.Src || !m.isFor(m.doors[a.door], p.Dst)
	})
	for _, a := range found {
		d := m.doors[a.door]
		switch {
		case !fits(d, p):
		case d.Sequence[a.stage].Port != p.To:
			a.stage = -1
		default:
			opened = m.advance(a, opened)
		}
	}
	if len(found) > 0 {
		return opened
	}
	for i, d := range m.doors {
		if len(d.Sequence) > 0 && d.Sequence[0].Port == p.To && fits(d, p) && m.isFor(d, p.Dst) {
			a := &attempt{door: i, src: p.Src, start: p.Second}
			m.attempts = append(m.attempts, a)
			opened = m.advance(a, opened)
		}
	}
	return opened
}

func (m *Matcher) advance(a *attempt, opened []int) []int {
	if a.stage++; a.stage == len(m.doors[a.door].Sequence) {
		opened = append(opened, a.door)
	}
	return opened
}

// sees is the filter that knockd gives the kernel.
func (m *Matcher) sees(p Packet) bool {
	return slices.ContainsFunc(m.doors, func(d *Door) bool {
		return m.isFor(d, p.Dst) && fits(d, p) &&
			slices.ContainsFunc(d.Sequence, func(k Knock) bool { return k.Port == p.To })
	})
}

// isFor compares addresses as text, as knockd does: a target that is not in the
// usual form is nobody's.
func (m *Matcher) isFor(d *Door, dst netip.Addr) bool {
	if d.Target != nil {
		return d.Target.Text == dst.String()
	}
	return slices.Contains(m.local, dst)
}

func fits(d *Door, p Packet) bool { return p.To.Proto != port.TCP || d.Flags.Match(p.Flags) }

func (m *Matcher) clear(now int64) {
	over := func(a *attempt) bool {
		d := m.doors[a.door]
		return a.stage < 0 || a.stage >= len(d.Sequence) || now-a.start >= int64(d.SeqTimeout.Seconds())
	}
	if len(m.attempts) > 0 && over(m.attempts[0]) {
		m.attempts = nil
		return
	}
	m.attempts = slices.DeleteFunc(m.attempts, over)
}
