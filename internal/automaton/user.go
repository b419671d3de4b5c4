package automaton

import (
	"fmt"
	"math"
	"slices"

	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// User is somebody who opens a door with values of his own, each of them once.
type User struct {
	Name   string
	Door   int // index into Program.Doors
	Kind   policy.OneTime
	ID     uint32    // policy.UserID; of a sequence also the place after knock 1
	First  port.Port // knock 1 of a sequence
	Length int       // knocks of a sequence
	Ports  port.Span // UDP ports of the other knocks, or of the datagram
	Pool   int       // values that are to be live at once
}

// Value is what opens a user's door once: a token, or a sequence of knocks. Live
// values are no part of a Program.
type Value struct {
	User   int // index into Program.Users
	Number uint64
	Token  [policy.TokenBytes]byte
	Knocks []port.Port
	Serial uint32 // of a sequence: tells its places from those of all others, below MaxSerial
}

// MaxSerial bounds serial numbers of sequences that are live at the same time.
const MaxSerial = 1 << 25

// pathBit marks the places on the path of a value, behind the user's own.
const pathBit = 1<<30 | 1<<29

// PathPlace numbers a place on the path of a sequence: bits 31 to 29 are 011, then
// come the serial number and the number of knocks done, which is 2 or more.
func PathPlace(serial uint32, depth int) uint32 {
	return pathBit | serial%MaxSerial<<4 | uint32(depth)
}

// Value gives a user's value of a number. Params are those that the user was
// created with.
func (g *Program) Value(user int, s onetime.Secret, p onetime.Params, number uint64, serial uint32) Value {
	v := Value{User: user, Number: number, Serial: serial}
	if p.Kind == policy.Token {
		v.Token, _ = s.Token(number, p)
	} else {
		v.Knocks = s.Sequence(number, p)
	}
	return v
}

// Loadable says whether a value may be live beside those that are: loaded tells
// whether one with these first two knocks is. Whoever knocks with a value that
// may not be has to take the next.
func (g *Program) Loadable(v Value, loaded func(first, second port.Port) bool) bool {
	u := g.Users[v.User]
	if u.Kind == policy.Token {
		return true
	}
	if len(v.Knocks) != u.Length || v.Knocks[0] != u.First {
		return false
	}
	for _, k := range v.Knocks {
		if g.service(k) || contains(g.Public, k) {
			return false
		}
	}
	// A second knock at the first one's port could not be told from a repetition.
	return !policy.Sweep(v.Knocks) && v.Knocks[1] != v.Knocks[0] && !loaded(v.Knocks[0], v.Knocks[1])
}

// admit adds the users of a policy.
func (g *Program) admit(p *policy.Policy) error {
	ids, firsts := map[uint32]string{}, map[port.Port]bool{}
	for door, d := range p.Doors {
		for _, u := range d.Users {
			name := d.Name + "/" + u.Name
			id := policy.UserID(d.Name, u.Name)
			if other, taken := ids[id]; taken {
				return fmt.Errorf("compile user %s: user %s has the same number", name, other)
			}
			ids[id] = name
			if u.Kind == policy.Sequence {
				if _, taken := g.children[edge{Root, u.First}]; taken || firsts[u.First] {
					return fmt.Errorf("compile user %s: another sequence begins with %s", name, u.First)
				}
				firsts[u.First], g.heard[u.First.Proto], g.heard[port.UDP] = true, true, true
			}
			g.Users = append(g.Users, User{
				Name: u.Name, Door: door, Kind: u.Kind, ID: id, First: u.First, Length: u.Length, Ports: u.Ports, Pool: u.Pool,
			})
		}
	}
	return nil
}

// detached adds the end of a door that only users open. The step to it is one
// that no packet can take: protocol 0 is the hop-by-hop header of IPv6, and no
// transport.
func (g *Program) detached(door int) (State, error) {
	if g.apart > math.MaxUint16 {
		return Root, fmt.Errorf("more than %d doors have users and no knocks", math.MaxUint16)
	}
	g.Places = append(g.Places, Place{Parent: Root, Knock: port.Port{Number: uint16(g.apart)}, Depth: 1, Door: door})
	g.apart++
	return State(len(g.Places) - 1), nil
}

// Detached says whether s is the end of a door that only users open, which no
// edge leads to.
func (g *Program) Detached(s State) bool { return s != Root && g.Places[s].Knock.Proto == 0 }

// Beginner gives the user whose sequences begin with these knocks, or -1. No door
// and no other user begins so.
func (g *Program) Beginner(done []port.Port) int {
	return slices.IndexFunc(g.Users, func(u User) bool {
		return len(done) > 0 && u.Kind == policy.Sequence && u.First == done[0]
	})
}

// IsUserPlace says whether a place is one of a user's, behind his first knock or on
// the path of a value of his. Such places are none of Program.Places.
func IsUserPlace(place State) bool { return place>>30 == 1 }

// UserDepth is how many knocks have led to a place of a user.
func UserDepth(place State) int {
	if place&(1<<29) == 0 {
		return 1
	}
	return int(place & 0xf)
}

// WayOf lists the knocks that lead to a place, be it one of the users', if one of
// these values has led there.
func (g *Program) WayOf(place State, loaded []Value) []port.Port {
	if !IsUserPlace(place) {
		return g.Way(place)
	}
	for _, u := range g.Users {
		if uint32(place) == u.ID {
			return []port.Port{u.First}
		}
	}
	for _, v := range loaded {
		for depth := 2; depth < len(v.Knocks); depth++ {
			if PathPlace(v.Serial, depth) == uint32(place) {
				return v.Knocks[:depth]
			}
		}
	}
	return nil
}
