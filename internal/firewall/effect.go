// Package firewall reads commands of other firewalls, such as iptables -I INPUT
// -s 192.0.2.7 -p tcp --dport 22 -j ACCEPT, and says what they open, and to whom.
// It is pure, and runs nothing.
package firewall

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tirl/internal/port"
	"tirl/internal/shell"
)

// Verb says what a command does to services.
type Verb int

const (
	Nothing Verb = iota // that matters: it checks, logs, lets answers out
	Opens
	Closes
	Waits // sleep
)

// Who says for whom a command opens or closes.
type Who int

const (
	Everybody Who = iota
	Client        // the one address that the placeholder stands for
	Network       // a network around that address
)

// Effect is what a command does.
type Effect struct {
	Verb       Verb
	Services   []port.Range // sorted; empty: every port of the host
	Who        Who
	IPv4, IPv6 bool          // the families that it works for
	Time       time.Duration // of Waits; of Opens: closes by itself after this, if not 0
	Program    string

	Appended bool   // to a chain: what stands there before it comes first
	Adds     bool   // once more each time that it is run
	Checks   bool   // only looks whether a rule is there
	Place    int    // the number that a new rule gets; 0: none is said
	Chain    string // another chain than INPUT, if it is one
	Narrow   string // a condition that a door does not have: "-i eth0"; empty: none
	Note     string // more to be said; may be empty
}

// Unread says why a command cannot be understood.
type Unread struct {
	Text    string // such as: it is no command of a firewall
	Hint    string
	Foreign bool // no firewall's command at all
}

func (u *Unread) Error() string { return u.Text }

func unread(hint, format string, args ...any) error {
	return &Unread{Text: fmt.Sprintf(format, args...), Hint: hint}
}

// Read says what a command does. The placeholder is what stands in it for the
// client's address, such as %IP%. The error is an [*Unread].
func Read(c shell.Command, placeholder string) (*Effect, error) {
	if c.Piped {
		return nil, unread("", "it is a pipeline")
	}
	r := reader{client: placeholder}
	name, args := c.Name(), c.Args()
	if !inSystem(c.Words[0].Text) {
		name = "" // a script with the name of a program
	}
	var read func([]string) (*Effect, error)
	switch name {
	case "iptables", "iptables-nft", "iptables-legacy":
		read = func(args []string) (*Effect, error) { return r.iptables(args, 4) }
	case "ip6tables", "ip6tables-nft", "ip6tables-legacy":
		read = func(args []string) (*Effect, error) { return r.iptables(args, 6) }
	case "ufw":
		read = r.ufw
	case "firewall-cmd":
		read = r.firewalld
	case "nft":
		read = r.nft
	case "knock_helper_ipt.sh", "knock_add":
		read = r.helper
	case "sleep":
		read = sleep
	case "true", ":":
		read = func([]string) (*Effect, error) { return &Effect{}, nil }
	default:
		return nil, &Unread{Text: "it is no command of a firewall that is known here", Foreign: true}
	}
	if c.Open() {
		return nil, unread("", "what a shell makes of it is not known")
	}
	e, err := read(args)
	if err != nil {
		return nil, err
	}
	e.Program = name
	slices.SortFunc(e.Services, port.Range.Compare)
	e.Services = slices.Compact(e.Services)
	return e, nil
}

// inSystem says whether a program is looked up, or stands where programs do.
func inSystem(path string) bool {
	dir := path[:strings.LastIndexByte(path, '/')+1]
	return slices.Contains([]string{"", "/sbin/", "/bin/", "/usr/sbin/", "/usr/bin/", "/usr/local/sbin/", "/usr/local/bin/"}, dir)
}

// reader reads commands with one placeholder.
type reader struct{ client string }

// who says whom an address in a command means.
func (r reader) who(text string) (Who, error) {
	addr, bits, hasBits := strings.Cut(text, "/")
	switch {
	case text == "any" || text == "0.0.0.0/0" || text == "::/0" || text == "0/0":
		return Everybody, nil
	case addr != r.client:
		return 0, unread("", "it is about %s, not about the client that knocks", text)
	case !hasBits || bits == "32" || bits == "128" || bits == "255.255.255.255":
		return Client, nil
	}
	return Network, nil
}

func sleep(args []string) (*Effect, error) {
	if len(args) == 1 {
		text := args[0]
		if strings.Trim(text, "0123456789.") == "" {
			text += "s"
		}
		if t, err := time.ParseDuration(text); err == nil {
			return &Effect{Verb: Waits, Time: t}, nil
		}
	}
	return nil, unread("", "how long it waits cannot be read")
}
