package audit

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// Report is what Of finds.
type Report struct {
	Doors    []Door    // in the order of the policy
	Services []Service // those that more than one door opens
	Buckets  float64   // that limit one address
}

// Guess is how long it takes to guess.
type Guess struct {
	One       Span // from one address
	Many      Span // from Door.Addresses
	Unlimited Span // if per_source did not limit
}

// Door is what is to be said of one door.
type Door struct {
	Name string
	// Bits is the logarithm of the number of sequences of the door's length: what
	// there is to guess if the knocks were chosen at random. Of a door that has users
	// only they are those of the weakest.
	Bits float64
	// Pattern is what makes them easier; its Text is empty if none was found. Guess
	// is for somebody who tries sequences of this pattern first.
	Pattern policy.Pattern
	Guess
	Addresses float64 // ManyAddresses, or those of the door's from if they are fewer
	Shared    Shared
	Users     []User
}

// User is what is to be said of a user's values.
type User struct {
	Name string
	Kind policy.OneTime
	Bits float64 // policy.Live.Bits
	Span Span    // to guess one, at the line's rate: no bucket holds tokens up
}

// Shared is the longest beginning that a door shares with another: who owns the
// other knows it.
type Shared struct {
	Door   string // empty: none
	Knocks int
	Bits   float64 // what is left to guess for the owner of that door
}

// Of audits a policy that has no errors.
func Of(p *policy.Policy) Report {
	space := p.Space()
	r := Report{Doors: make([]Door, len(p.Doors)), Buckets: 1}
	if p.Knocking.MatchTTL {
		r.Buckets = bucketsByTTL
	}
	live := p.Live()
	for i := range p.Doors {
		d := &p.Doors[i]
		if len(d.Knocks) == 0 {
			r.Doors[i] = usersOnly(d, live)
			continue
		}
		each := space.Each(d.Knocks)
		t := Target{
			Knocks: len(d.Knocks), Bits: each * float64(len(d.Knocks)), First: each,
			Once: d.Once, Stay: p.Knocking.Duplicates == policy.IgnoreDuplicates,
		}
		out := Door{Name: d.Name, Bits: t.Bits, Addresses: addresses(d.From), Users: usersOf(d, live)}
		if found := policy.PatternOf(d.Knocks); found.Text != "" && found.Bits < t.Bits {
			out.Pattern = found
			t.Bits, t.First = found.Bits, min(found.First, found.Bits)
		}
		g := Guesser{Rate: LineRate, PerSource: float64(p.Knocking.PerSource)}
		out.Unlimited = t.Time(g)
		g.Buckets = r.Buckets
		out.One = t.Time(g)
		g.Buckets = r.Buckets * out.Addresses
		out.Many = t.Time(g)
		r.Doors[i] = out
	}
	share(p.Doors, r.Doors, space)
	r.Services = services(p.Doors, r.Doors)
	return r
}

// usersOf audits the users of a door. Each packet tries one value at most.
func usersOf(d *policy.Door, live policy.Live) []User {
	var all []User
	for _, u := range d.Users {
		bits := live.Bits(u)
		all = append(all, User{u.Name, u.Kind, bits, Span(math.Exp2(bits-1) / LineRate)})
	}
	return all
}

// usersOnly is a door that is as strong as its weakest user.
func usersOnly(d *policy.Door, live policy.Live) Door {
	out := Door{Name: d.Name, Addresses: addresses(d.From), Users: usersOf(d, live)}
	weakest := slices.MinFunc(out.Users, func(a, b User) int { return cmp.Compare(a.Bits, b.Bits) })
	out.Bits, out.Guess = weakest.Bits, Guess{weakest.Span, weakest.Span, weakest.Span}
	return out
}

// addresses counts the sources that a from admits, up to ManyAddresses: IPv4
// addresses, and IPv6 networks of 64 bits, which share a bucket.
func addresses(from []netip.Prefix) float64 {
	if len(from) == 0 {
		return ManyAddresses
	}
	n := 0.0
	for _, p := range from {
		bits := 32
		if p.Addr().Is6() {
			bits = 64
		}
		n += math.Exp2(float64(max(0, bits-p.Bits())))
	}
	return min(n, ManyAddresses)
}

// share finds the beginnings that doors have in common. In sorted order a
// sequence has its longest with a neighbour.
func share(doors []policy.Door, out []Door, space policy.Space) {
	var order []int
	for i, d := range doors {
		if len(d.Knocks) > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return slices.CompareFunc(doors[a].Knocks, doors[b].Knocks, port.Port.Compare)
	})
	note := func(i, other, n int) {
		if n > out[i].Shared.Knocks {
			left := float64(len(doors[i].Knocks) - n)
			out[i].Shared = Shared{doors[other].Name, n, left * space.Each(doors[i].Knocks)}
		}
	}
	for i := 1; i < len(order); i++ {
		a, b := order[i-1], order[i]
		n := 0
		for n < min(len(doors[a].Knocks), len(doors[b].Knocks)) && doors[a].Knocks[n] == doors[b].Knocks[n] {
			n++
		}
		note(a, b, n)
		note(b, a, n)
	}
}
