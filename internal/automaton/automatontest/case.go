package automatontest

import (
	"fmt"

	"tirl/internal/automaton"
	"tirl/internal/policy"
)

// Case is a policy and packets for it.
type Case struct {
	Policy  *policy.Policy
	Packets []automaton.Packet
}

// Program reads the policy as a file and compiles it. It is an error if a person
// could not have written it.
func (c Case) Program() (*automaton.Program, error) {
	p, found := policy.Parse("policy.toml", []byte(Text(c.Policy)))
	if found.HasErrors() {
		return nil, fmt.Errorf("%v", found)
	}
	return automaton.Compile(p)
}

// Seeded draws the case of a seed, whose policy a person could have written.
func Seeded(seed int, o Options) Case {
	roll := seeded(seed)
	for {
		c := Case{Policy: o.policy(roll)}
		if g, err := c.Program(); err == nil {
			c.Packets = o.trace(roll, g)
			return c
		}
	}
}
