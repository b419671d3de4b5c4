package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"

	"tirl/internal/port"
)

// userSource says where the parts of a user are written.
type userSource struct {
	name, kind, first, length, ports, pool int // offsets, -1 if not there
	broken                                 bool
}

// whole says whether all of the user could be read.
func (s userSource) whole(u User) bool { return !s.broken && u.Kind != "" }

// users reads the users of a door.
func (d *decoder) users(path string, e *entry) (all []User, at []userSource) {
	t := d.wantTable(e, "[door.NAME.users.NAME]")
	if t == nil {
		return nil, nil
	}
	for _, e := range t.entries {
		if hint := nameHint(e.name); hint != "" {
			d.r.errorf(e.key, hint, "%s is no name for a user", quote(e.name))
		}
		table := d.wantTable(e, "[door.NAME.users.NAME]")
		if table == nil {
			continue
		}
		full := join(path, e.name)
		d.places.add(full, e)
		u, where := d.user(full, e, table)
		all, at = append(all, u), append(at, where)
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(all[a].Name, all[b].Name) })
	sorted, where := make([]User, len(all)), make([]userSource, len(all))
	for i, k := range order {
		sorted[i], where[i] = all[k], at[k]
	}
	return sorted, where
}

func (d *decoder) user(path string, e *entry, t *table) (User, userSource) {
	u := User{Name: e.name, Length: DefaultLength, Ports: DefaultPorts(), Pool: DefaultPool}
	at := userSource{name: e.key, kind: -1, first: -1, length: -1, ports: -1, pool: -1}
	number := func(offset, to *int, low, high int) func(string, *entry) {
		return func(_ string, e *entry) {
			*offset = e.value.at
			n, ok := d.number(e, low, high)
			if ok {
				*to = n
			}
			at.broken = at.broken || !ok
		}
	}
	d.fields(path, t, []field{
		{"one_time", func(_ string, e *entry) {
			at.kind = e.value.at
			s, ok := d.choice(e, []string{string(Token), string(Sequence)})
			at.broken = at.broken || !ok
			u.Kind = OneTime(s)
		}},
		{"first", func(_ string, e *entry) {
			at.first = e.value.at
			ok := d.scalar(e, unstable.String, `a port such as "udp/40213"`, "")
			if ok {
				u.First, ok = d.knock(e.value)
			}
			at.broken = at.broken || !ok
		}},
		{"length", number(&at.length, &u.Length, MinLength, MaxLength)},
		{"ports", func(_ string, e *entry) {
			at.ports = e.value.at
			ok := d.span(e, &u.Ports)
			at.broken = at.broken || !ok
		}},
		{"pool", number(&at.pool, &u.Pool, MinPool, MaxPool)},
	})
	name := quote(e.name)
	switch {
	case d.shape.cut || at.broken:
	case at.kind < 0:
		d.r.errorf(e.key, `write one_time = "token", or "sequence" for clients that send empty packets only`, "user %s has no one_time", name)
	case u.Kind == Token:
		for _, key := range []struct {
			name string
			at   int
		}{{"first", at.first}, {"length", at.length}} {
			if key.at >= 0 {
				d.r.errorf(key.at, `leave it out, or set one_time = "sequence"`, "a token has no %s: it is one datagram", key.name)
			}
		}
		u.First, u.Length = port.Port{}, 0
	case at.first < 0:
		d.r.errorf(e.key, `write first = "udp/40213", with a port of your own`, "user %s has no first", name)
		at.broken = true
	case u.Ports.Size() < MinPorts:
		d.r.errorf(at.ports, fmt.Sprintf("leave it out: the default is %q", DefaultPorts().String()),
			"a sequence needs %d ports or more, not %d", MinPorts, u.Ports.Size())
		at.broken = true
	}
	return u, at
}

// span reads a range of port numbers.
func (d *reader) span(e *entry, to *port.Span) bool {
	const want = `a range of ports such as "1024-65535"`
	hint := ""
	if e.value.kind == unstable.Integer {
		hint = fmt.Sprintf("write it in quotes: %q", shorten(e.value.text))
	}
	if !d.scalar(e, unstable.String, want, hint) {
		return false
	}
	if len(e.value.text) > maxPortText {
		d.r.errorf(e.value.at, "", "%s is not %s", quote(e.value.text), want)
		return false
	}
	s, err := port.ParseSpan(e.value.text)
	if err != nil {
		hint := ""
		if r, err := port.ParseRange(e.value.text); err == nil {
			hint = fmt.Sprintf("leave the protocol out: %q", port.Span{First: r.First, Last: r.Last}.String())
		}
		d.r.errorf(e.value.at, hint, "%s", err)
		return false
	}
	*to = s
	return true
}

// Strength of one-time values: `check` refuses less bits than the first, and warns
// of less than the second.
const (
	leastUserBits  = 48
	enoughUserBits = 64
)

// Live counts, by kind, the values that all users have live at once.
type Live map[OneTime]int

// Live gives the sums of the users' pools.
func (p *Policy) Live() Live {
	live := Live{}
	for _, d := range p.Doors {
		for _, u := range d.Users {
			live[u.Kind] += u.Pool
		}
	}
	return live
}

// Bits gives what there is to guess of a user's values, if a hit on any live value
// of any user counts: the user's own possibilities, less what all have live.
func (l Live) Bits(u User) float64 {
	bits := float64(8 * TokenBytes)
	if u.Kind == Sequence {
		bits = float64(u.Length-1) * math.Log2(float64(u.Ports.Size()))
	}
	return bits - math.Log2(float64(max(1, l[u.Kind])))
}

// checkUsers looks at all users together: their first knocks, their numbers, and
// how many bits they leave.
func (d *decoder) checkUsers() {
	d.checkFirst()
	ids, live := map[uint32]string{}, d.policy.Live()
	for i, door := range d.policy.Doors {
		for k, u := range door.Users {
			at := d.doors[i].users[k]
			name := door.Name + "/" + u.Name
			if other, taken := ids[UserID(door.Name, u.Name)]; taken {
				d.r.errorf(at.name, "give one of them another name", "user %s has the same number in the kernel as user %s", quote(name), quote(other))
			}
			ids[UserID(door.Name, u.Name)] = name
			if !at.whole(u) {
				continue
			}
			if bits := live.Bits(u); bits < leastUserBits {
				d.r.errorf(at.weakest(), `make length larger, ports wider, or set one_time = "token"`,
					"the sequences of user %s leave %.0f bits to guess, less than %d", quote(u.Name), bits, leastUserBits)
			}
		}
	}
	if n := live[Token] + live[Sequence]; n > MaxLive {
		d.r.errorf(-1, "make the pools smaller", "all users together hold %d values, more than %d", n, MaxLive)
	}
}

// weakest is where there is something to change about the bits.
func (s userSource) weakest() int {
	for _, at := range []int{s.length, s.ports, s.pool, s.kind} {
		if at >= 0 {
			return at
		}
	}
	return s.name
}

// checkFirst sees that the first knock of a user's sequences tells him from all
// others, and from all doors.
func (d *decoder) checkFirst() {
	type owner struct {
		text string
		at   int
	}
	firsts := map[port.Port]owner{}
	for i, door := range d.policy.Doors {
		if at := d.doors[i]; !at.broken && len(door.Knocks) > 0 {
			firsts[door.Knocks[0]] = owner{"door " + quote(door.Name), at.steps[0]}
		}
	}
	for i, door := range d.policy.Doors {
		for k, u := range door.Users {
			at := d.doors[i].users[k]
			if !at.whole(u) || u.Kind != Sequence {
				continue
			}
			if o, taken := firsts[u.First]; taken {
				d.r.errorf(at.first, "choose another port", "%s is the first knock of %s on line %d", u.First, o.text, d.line(o.at))
				continue
			}
			firsts[u.First] = owner{"user " + quote(door.Name+"/"+u.Name), at.first}
		}
	}
}

// warnUsers reports what is allowed of users, but better not so.
func (d *decoder) warnUsers() {
	p, live := d.policy, d.policy.Live()
	first, alone := -1, len(p.Trust.Prefixes) == 0 && len(p.Trust.Interfaces) == 0
	for i, door := range p.Doors {
		alone = alone && len(door.Knocks) == 0
		for k, u := range door.Users {
			at := d.doors[i].users[k]
			if first < 0 || at.name < first {
				first = at.name
			}
			if bits := live.Bits(u); bits < enoughUserBits {
				d.r.warnf(at.weakest(), `make length larger, ports wider, or set one_time = "token"`,
					"the sequences of user %s leave %.0f bits to guess; %d are out of reach", quote(u.Name), bits, enoughUserBits)
			}
		}
	}
	if first >= 0 && alone {
		d.r.warnf(first, `add a network of yours to trust, or a door with knocks`,
			"all doors have users only: should tirl fail to fill their pools when the host starts, nobody gets in")
	}
}
