package counter

import (
	"tirl/internal/knock"
	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// Ticket is what a host has given a client to open one door with.
type Ticket struct {
	onetime.Params
	Secret onetime.Secret
	Start  uint64 // the first number of the pool when the ticket was given
}

// TicketOf reads what a hosts file says of a door.
func TicketOf(c policy.Credential) Ticket {
	return Ticket{onetime.ParamsOf(c.User), onetime.Secret(c.Secret), c.Start}
}

// Volley gives the packets of a number.
func (t Ticket) Volley(i uint64) knock.Volley {
	if t.Kind == policy.Sequence {
		return knock.Volley{Knocks: t.Secret.Sequence(i, t.Params)}
	}
	token, to := t.Secret.Token(i, t.Params)
	return knock.Volley{Knocks: []port.Port{{Proto: port.UDP, Number: to}}, Payload: token[:]}
}
