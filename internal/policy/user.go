package policy

import (
	"hash/fnv"

	"tirl/internal/port"
)

// OneTime is the kind of what a user knocks with: values that are worth nothing
// once they have been used.
type OneTime string

const (
	// Token is one UDP datagram whose payload is a secret number.
	Token OneTime = "token"
	// Sequence is empty packets, all but the first to ports that change each time.
	Sequence OneTime = "sequence"
)

// Bounds and defaults of what a user may ask for. The defaults depend on nothing,
// least of all on the host: clients count with them for years.
const (
	MinLength  = 4
	MaxLength  = 9
	MinPool    = 16
	MaxPool    = 4096
	MinPorts   = 1024    // of a sequence
	MaxLive    = 1 << 22 // values of all users at once
	TokenBytes = 16

	DefaultLength = 6
	DefaultPool   = 256
)

// DefaultPorts are those that no privileged program listens on.
func DefaultPorts() port.Span { return port.Span{First: 1024, Last: 65535} }

// User is somebody who opens a door with values of his own, each of them once.
type User struct {
	Name   string
	Kind   OneTime
	First  port.Port // knock 1 of a sequence, the same each time; zero for a token
	Length int       // knocks of a sequence, with the first; 0 for a token
	Ports  port.Span // UDP ports of the other knocks, or of the datagram
	Pool   int       // values that the kernel holds at once, and the size of a block
}

// userBit marks numbers of users and of places on their paths: states are below
// it, classes have the bit above.
const userBit = 1 << 30

// UserID gives the number of a user within the kernel: bits 31 and 30 are 01, bit
// 29 is 0, the others a hash of the door's and the user's name.
func UserID(door, user string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(door + "/" + user))
	return h.Sum32()&(1<<29-1) | userBit
}
