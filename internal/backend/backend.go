// Package backend is what the kinds of kernel program that carry an automaton
// have in common. A backend renders text, loads it, reads back what the kernel
// holds and takes it out again; it knows nothing of the policy file.
package backend

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"tirl/internal/automaton"
)

// File is a part of a ruleset that one program loads in one transaction.
type File struct {
	Name string   // "tirl.nft", "tirl.iptables", "tirl.ip6tables"
	Load []string // the command that loads it from standard input, for people too
	Text string
}

// Ruleset is all that a backend loads for one automaton. The same automaton
// gives the same bytes.
type Ruleset []File

// Problem is something that a backend cannot do, or does otherwise than the
// other backends. Key is the path of the policy's key, such as
// "knocking.step_timeout" or "door.ssh.open_for".
type Problem struct {
	Key     string
	Text    string
	Hint    string
	Warning bool // it can be loaded, and Text says what it does instead
}

// Backend carries automata into a kernel.
type Backend interface {
	Name() string
	// Check says what this backend cannot do of an automaton, wherever it runs.
	Check(g *automaton.Program) []Problem
	// Render gives what Load loads. It fails where Check gives a Problem that is
	// not a Warning.
	Render(g *automaton.Program) (Ruleset, error)
	// Load makes g the only automaton that this backend has in the kernel. Live
	// grants are kept where g has a door of the same class whose from contains
	// the source; places are dropped. On an error the kernel holds what it held.
	Load(ctx context.Context, g *automaton.Program) error
	// Loaded reads what the kernel holds; nil if nothing of this backend.
	Loaded(ctx context.Context) (*Loaded, error)
	// Remove takes out everything that Load put in, and nothing else. It is no
	// error if there is nothing.
	Remove(ctx context.Context) error
}

// Skimmer is a Backend whose Loaded takes long where there are many doors.
type Skimmer interface {
	// Skim is Loaded with nothing but Blocked filled in.
	Skim(ctx context.Context) (*Loaded, error)
	// Outline is Loaded with nothing but PolicyHash and Rules filled in. It reads every
	// rule, but not what the doors have put into sets.
	Outline(ctx context.Context) (*Loaded, error)
	// Sources is Loaded with nothing but Places and Grants filled in.
	Sources(ctx context.Context) (*Loaded, error)
}

// Loaded is what the kernel holds of tirl.
type Loaded struct {
	PolicyHash string // of the policy that it was made from
	Rules      int    // rules, both families together
	Text       string // the ruleset as the kernel lists it, without the sources
	Listing    string // the same as the kernel's own programs print it, to be parsed
	InFront    []Rule // of others, in the chains that tirl hangs from: they decide first
	Places     []Place
	Grants     []Grant
	Blocked    bool // an administrator has shut all doors, see Operator
}

// Rule is a rule that somebody else has made.
type Rule struct {
	Where string // such as "chain INPUT of ip6tables"
	Text  string
}

// Place is a source in progress.
type Place struct {
	Source netip.Addr // the network's first address with IPv6Prefix 64
	TTL    uint8      // 0 unless MatchTTL
	State  automaton.State
	Left   time.Duration // until the place is left for the root; -1 if the kernel does not say
}

// Grant is an open door of one source.
type Grant struct {
	Source netip.Addr
	Class  uint32        // automaton.Class.ID
	Left   time.Duration // -1 if the kernel does not say
}

// EventGroup is the nflog group of events = "nflog". ulogd2 and tcpdump take it
// as a number; 0 is what other programs use by default.
const EventGroup = 5

// Names of the kinds of events. The text of a logged event begins with
// EventPrefix, the kind and a colon.
const (
	EventPrefix   = "tirl "
	EventOpened   = "opened"   // a source has finished its knock
	EventAccepted = "accepted" // a connection to a hidden service was let in
	EventWrong    = "wrong"    // a source that had begun to knock went back to the start
	EventLimited  = "limited"  // a source sent more than its share and was not heard
)

// Operator is the hand of an administrator in what a backend has loaded. Each
// call is one transaction as far as the backend has them, and touches nothing
// else. Callers keep others from loading meanwhile.
type Operator interface {
	// Grant lets a source in by a door of g, which is loaded, for d: a timed door
	// to new connections, an open-once door to the next one if it comes within d.
	// With d 0 it is the time that a knock would give. A grant that ends later
	// stays as it is. It returns the time that the source then has.
	Grant(ctx context.Context, g *automaton.Program, door int, source netip.Addr, d time.Duration) (time.Duration, error)
	// Revoke takes a source's grants and progress: those that have to do with one
	// door of g, or all if door is negative. g may then be nil. It returns how many
	// grants and places it has taken.
	Revoke(ctx context.Context, g *automaton.Program, door int, source netip.Addr) (int, error)
	// Block shuts all doors until Unblock, whatever is loaded meanwhile: grants and
	// progress are dropped, and no knock is heard. Open connections live on, and
	// trust still holds.
	Block(ctx context.Context) error
	// Unblock ends a block. Nothing that Block dropped comes back.
	Unblock(ctx context.Context) error
	// Counters reads how often each kind of event was; nil if the policy of g has no
	// events.
	Counters(ctx context.Context, g *automaton.Program) (*Counters, error)
}

// ErrFixedTime says that a backend grants for the door's own time only.
var ErrFixedTime = errors.New("the time of a grant is a part of the rules")

// ErrNotLoaded says that a backend holds nothing that could be changed.
var ErrNotLoaded = errors.New("no policy is loaded")

// Counters are totals, told or not.
type Counters struct {
	Opened, Accepted, Wrong, Limited uint64
	// Doors is what Opened is made of, by door of the program, since that program
	// was loaded.
	Doors []uint64
}
