package policy

import (
	"math"

	"tirl/internal/port"
)

// Space counts, by protocol, the ports that a knock can be at: those that are
// neither public nor a door's service.
type Space map[port.Proto]int

// Space gives what is left for knocks.
func (p *Policy) Space() Space {
	var taken []owned
	for _, r := range p.Public.Services {
		taken = append(taken, owned{ports: r})
	}
	for _, d := range p.Doors {
		for _, r := range d.Opens {
			taken = append(taken, owned{ports: r})
		}
	}
	space := Space{port.TCP: math.MaxUint16, port.UDP: math.MaxUint16}
	for _, o := range cover(taken) {
		space[o.ports.Proto] -= int(o.ports.Last-o.ports.First) + 1
	}
	return space
}

// Each is the logarithm of how many knocks there are of the protocols that a
// sequence uses: the bits of each knock, if it was chosen at random.
func (s Space) Each(knocks []port.Port) float64 {
	n := 0
	seen := map[port.Proto]bool{}
	for _, k := range knocks {
		if !seen[k.Proto] {
			seen[k.Proto] = true
			n += s[k.Proto]
		}
	}
	return math.Log2(float64(max(1, n)))
}
