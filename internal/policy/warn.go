package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tirl/internal/port"
)

// udpOpenFor is how long a door of a UDP service should take new flows. The
// kernel forgets an idle UDP flow after two minutes
// (nf_conntrack_udp_timeout_stream), and what comes after that needs an open
// door; an hour covers a pause in a session.
const udpOpenFor = time.Hour

// warn reports what is allowed, but better not so.
func (d *decoder) warn() {
	p := d.policy
	if at := d.shape.noTimeout; at >= 0 {
		d.r.warnf(at, `a client needs no more than "10s"`, `with step_timeout "none" half a sequence stays valid for a day`)
	}
	if d.shape.firewall >= 0 && p.Mode == Guard {
		d.r.warnf(d.shape.firewall, `leave it out, or set mode = "firewall"`, "[firewall] has no effect in guard mode")
	}
	space := p.Space()
	for i := range p.Doors {
		d.warnDoor(&p.Doors[i], &d.doors[i], space)
	}
	d.warnUsers()
}

func (d *decoder) warnDoor(door *Door, at *doorSource, space Space) {
	name := quote(door.Name)
	random := d.genCommand(door.Name)
	if n := len(door.Knocks); 0 < n && n < 3 {
		d.r.warnf(at.knocks, "use at least three: "+random, "door %s has only %s: at most %.0f bits to guess",
			name, count(n, "knock"), float64(n)*space.Each(door.Knocks))
	}
	if what, ok := Guessable(door.Knocks); ok {
		d.r.warnf(at.knocks, "have them drawn at random: "+random, "the knocks of door %s are easy to guess: %s (about %.0f bits)",
			name, what.Text, what.Bits)
	}
	isUDP := func(r port.Range) bool { return r.Proto == port.UDP }
	if i := slices.IndexFunc(door.Opens, isUDP); i >= 0 && door.OpenFor < udpOpenFor {
		where := at.openFor
		if where < 0 {
			where = at.services[i].at
		}
		long := fmt.Sprintf("%q", FormatDuration(door.OpenFor))
		if door.Once {
			long = `"once"`
		}
		d.r.warnf(where, `the kernel forgets an idle UDP flow after two minutes; set open_for to the length of a session, such as "8h"`,
			"%s is UDP and open for %s: a flow that pauses is shut out", door.Opens[i], long)
	}
}

// genCommand draws a sequence for a door and writes it into the policy file.
func (d *decoder) genCommand(door string) string {
	if file := d.r.src.file; file != "" && !strings.HasPrefix(file, "<") {
		return fmt.Sprintf("tirl gen -c %s --write %s", file, door)
	}
	return "tirl gen --write " + door
}

// count gives a number and its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// FormatDuration gives a time in the notation that a policy uses, without the
// zeroes that Go's has at the end: 1h, not 1h0m0s.
func FormatDuration(t time.Duration) string {
	s := t.String()
	if t%time.Minute == 0 && len(s) > 2 {
		s = s[:len(s)-len("0s")]
	}
	if t%time.Hour == 0 && len(s) > 2 && t != 0 {
		s = s[:len(s)-len("0m")]
	}
	return s
}
