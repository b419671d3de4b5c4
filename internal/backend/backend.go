// Package backend is what the kinds of kernel program that carry an automaton
// have in common. A backend renders text, loads it, reads back what the kernel
// holds and takes it out again; it knows nothing of the policy file.
package backend

import (
	"context"
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

// Loaded is what the kernel holds of tirl.
type Loaded struct {
	PolicyHash string // of the policy that it was made from
	Rules      int    // rules, both families together
	Text       string // the ruleset as the kernel lists it, without the sources
	Places     []Place
	Grants     []Grant
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
