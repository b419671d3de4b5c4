// Package handout writes what a client needs in order to knock at this host: an
// entry of its hosts file, as text and as a QR code, and lines for machines that
// have no tirl.
//
//	h, err := handout.New(p, policy.Remote{Name: "web", Addresses: addrs}, "ssh")
//	h, err := handout.NewUser(p, self, credentials) // to one user, with values of his own
//	h.WriteText(stdout)         // all of it; the whole is a hosts file
//	h.WriteQR(stdout, colour)   // the entry as a QR code for the terminal
//	h.Entry()                   // the entry alone, TOML
//	h.Lines()                   // the lines alone, one command each
package handout

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tirl/internal/knock"
	"tirl/internal/policy"
)

// HostsFile is where a client keeps its hosts, as people write it.
const HostsFile = "~/.config/tirl/hosts.toml"

// Handout is what is handed to a client.
type Handout struct {
	Remote   policy.Remote
	knocking policy.Knocking
}

// New describes some doors of a policy, or all of them if none is named, to the
// clients of a host, of which self has the names and addresses.
func New(p *policy.Policy, self policy.Remote, doors ...string) (*Handout, error) {
	h := &Handout{Remote: self, knocking: p.Knocking}
	for _, door := range doors {
		if !slices.ContainsFunc(p.Doors, func(d policy.Door) bool { return d.Name == door }) {
			return nil, fmt.Errorf("the policy has no door %q", door)
		}
	}
	for _, d := range p.Doors {
		if len(doors) > 0 && !slices.Contains(doors, d.Name) {
			continue
		}
		switch {
		case len(d.Knocks) > 0:
			h.Remote.Doors = append(h.Remote.Doors, forClients(d))
		case len(doors) > 0:
			return nil, fmt.Errorf("door %q has no knocks, only users, each with an entry of his own: tirl export %s", d.Name, d.Users[0].Name)
		}
	}
	return h.finish()
}

// NewUser describes to one user the doors that he opens with values that work
// once, given what he has for each of them.
func NewUser(p *policy.Policy, self policy.Remote, credentials map[string]policy.Credential) (*Handout, error) {
	h := &Handout{Remote: self, knocking: p.Knocking}
	for _, d := range p.Doors {
		if c, ok := credentials[d.Name]; ok {
			d = forClients(d)
			d.Knocks, d.Credential = nil, &c
			h.Remote.Doors = append(h.Remote.Doors, d)
		}
	}
	return h.finish()
}

// forClients leaves out what is the host's business.
func forClients(d policy.Door) policy.Door {
	d.From, d.Users = nil, nil
	return d
}

func (h *Handout) finish() (*Handout, error) {
	switch {
	case len(h.Remote.Addresses) == 0:
		return nil, errors.New("this host has no address that a client could reach")
	case len(h.Remote.Doors) == 0:
		return nil, errors.New("there is no door to describe")
	}
	h.Remote.Delay = h.delay()
	// Only what a client can read is handed out.
	if _, found := policy.ParseHosts(HostsFile, []byte(h.Entry())); found.HasErrors() {
		return nil, errors.New(found[0].Text)
	}
	return h, nil
}

// delay is 0 where the client's own will do. Knocks must not come faster than
// the limit lets them be heard, nor so slowly that a place ends: a client that
// tries again waits up to knock.Slowest times as long.
func (h *Handout) delay() time.Duration {
	var longest int
	for _, d := range h.Remote.Doors {
		longest = max(longest, len(d.Knocks))
		if d.Credential != nil {
			longest = max(longest, d.Credential.Length, 1)
		}
	}
	delay := time.Duration(0)
	// The connection costs a token, too.
	if longest+1 > 2*h.knocking.PerSource {
		delay = (time.Second / time.Duration(h.knocking.PerSource)).Round(time.Millisecond) + time.Millisecond
		if delay <= knock.DefaultDelay {
			delay = 0
		}
	}
	if most := h.knocking.StepTimeout / (2 * knock.Slowest); cmp.Or(delay, knock.DefaultDelay) > most {
		delay = max(most.Truncate(time.Millisecond), time.Millisecond)
	}
	return delay
}

// Entry is the entry of the hosts file.
func (h *Handout) Entry() string { return h.Remote.Text() }

// WriteText writes the entry, and below it the lines as comments, so that all of
// it can be put at the end of a hosts file.
func (h *Handout) WriteText(w io.Writer) error {
	var b strings.Builder
	first := h.Remote.Doors[0].Name
	fmt.Fprintf(&b, "\n# Put this at the end of %s, which nobody else should read.\n", HostsFile)
	fmt.Fprintf(&b, "# Then: tirl knock %s %s\n", h.Remote.Name, first)
	if h.Remote.Doors[0].Credential != nil {
		b.WriteString("# On one device only: another one needs another user.\n")
	}
	b.WriteString(h.Entry())
	for _, l := range h.Lines() {
		fmt.Fprintf(&b, "\n# %s\n", l.For)
		if l.Command != "" {
			fmt.Fprintf(&b, "#   %s\n", l.Command)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
