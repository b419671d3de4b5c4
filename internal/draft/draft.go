// Package draft writes the first policy of a host, with comments for whoever
// will change it. It is pure: what was found on the host is handed in.
package draft

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// Draft is what a first policy says.
type Draft struct {
	Mode      policy.Mode
	Door      string
	Opens     []port.Range
	Knocks    []port.Port
	Bits      float64           // what the knocks are worth
	Public    []policy.Listener // see Public
	Trust     []Entry           // in force
	Suggested []Entry           // in a comment
	Firewalls []string          // other ones of the host
	OnFailure policy.OnFailure  // empty: left open
}

// Entry is one of trust, and why it may be there.
type Entry struct{ Text, Why string }

// sessionLength is how long a door of a UDP service is open: the kernel forgets an
// idle flow after two minutes, and what comes then needs an open door.
const sessionLength = "8h"

// Public lists the listeners that a policy has to name: those that are not hidden
// and whose clients would otherwise be heard, or in firewall mode shut out.
func Public(listeners []policy.Listener, mode policy.Mode, opens []port.Range, knocks []port.Port) []policy.Listener {
	var list []policy.Listener
	for _, l := range listeners {
		hidden := slices.ContainsFunc(opens, func(r port.Range) bool { return r.Contains(l.Service) })
		heard := mode == policy.Firewall || slices.ContainsFunc(knocks, func(k port.Port) bool { return k.Proto == l.Service.Proto })
		if !hidden && heard {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b policy.Listener) int {
		return cmp.Or(a.Service.Compare(b.Service), cmp.Compare(a.Program, b.Program))
	})
	return slices.CompactFunc(list, func(a, b policy.Listener) bool { return a.Service == b.Service })
}

// Text is the policy file.
func (d Draft) Text() ([]byte, error) {
	var w writer
	w.comment("The policy of tirl on this host, drafted by tirl init. Whoever can read it can",
		"knock: keep its mode at 0600. After a change: tirl check, and sudo tirl apply.")
	w.line("version = 1")
	w.line("")
	mode := string(policy.Guard)
	if d.Mode == policy.Firewall {
		mode = string(policy.Firewall)
		w.comment("tirl is the whole input firewall of this host: what nothing here accepts is",
			`dropped. The other mode is "guard", which touches nothing but the doors.`)
	} else {
		w.comment("Only what the doors open is hidden; all else on this host, and every other",
			`firewall, stays as it is. The other mode is "firewall".`)
	}
	for _, name := range d.Firewalls {
		w.comment(printable(name) + " is on this host too: it must let in what the doors open.")
	}
	w.line("mode = " + strconv.Quote(mode))
	d.public(&w)
	d.trust(&w)
	w.line("")
	w.line("[door." + strconv.Quote(d.Door) + "]")
	w.line("opens = " + array(d.Opens))
	w.line("")
	w.comment(fmt.Sprintf("Drawn at random, %.0f bits. To draw others: sudo tirl gen --write %s", d.Bits, d.Door))
	w.line("knocks = " + array(d.Knocks))
	w.line("")
	if slices.ContainsFunc(d.Opens, func(r port.Range) bool { return r.Proto == port.UDP }) {
		w.comment("A UDP flow that pauses needs an open door to go on.")
		w.line("open_for = " + strconv.Quote(sessionLength))
	} else {
		w.comment(`For how long after the last knock the door takes connections, or "once". Those`,
			"that are open go on.")
		w.line("open_for = " + strconv.Quote((30 * time.Second).String()))
	}
	d.boot(&w)
	text, found := policy.Format("draft", []byte(w.String()))
	if found.HasErrors() {
		return nil, fmt.Errorf("draft a policy: %s", found[0])
	}
	return text, nil
}

func (d Draft) public(w *writer) {
	w.line("")
	what := []string{"Left alone and never heard. Clients of a service that is heard would spoil their", "own knocks."}
	if d.Mode == policy.Firewall {
		what = []string{"Let in without a knock."}
	}
	w.comment(what...)
	if len(d.Public) == 0 {
		w.line("public = []")
		return
	}
	w.line("public = [")
	for _, l := range d.Public {
		comment := ""
		if l.Program != "" {
			comment = " # " + printable(l.Program)
		}
		w.line(strconv.Quote(l.Service.String()) + "," + comment)
	}
	w.line("]")
}

// trust writes who is let in without a knock. What is only suggested is for a
// person to decide: an address that a provider gives to somebody else tomorrow
// would be a hole.
func (d Draft) trust(w *writer) {
	w.line("")
	w.comment("Always let in, without a knock: a second way in, if knocks are lost on the way.",
		`Addresses and networks that stay yours, or an interface: "10.8.0.0/24", "iface:wg0".`)
	if len(d.Trust)+len(d.Suggested) == 0 {
		w.line("trust = []")
		return
	}
	w.line("trust = [")
	for _, e := range d.Trust {
		w.line(fmt.Sprintf("%q, # %s", e.Text, printable(e.Why)))
	}
	for _, e := range d.Suggested {
		w.comment(fmt.Sprintf("%q, # %s", e.Text, printable(e.Why)))
	}
	w.line("]")
}

func (d Draft) boot(w *writer) {
	if d.OnFailure == "" {
		return
	}
	w.line("")
	w.line("[boot]")
	w.comment("If no saved rules can be loaded when the host starts: shut the doors to everybody",
		`but trust ("close"), or leave them open ("open").`)
	w.line("on_failure = " + strconv.Quote(string(d.OnFailure)))
}

// writer collects lines.
type writer struct{ strings.Builder }

func (w *writer) line(s string) { w.WriteString(s + "\n") }

func (w *writer) comment(lines ...string) {
	for _, l := range lines {
		w.line("# " + l)
	}
}

func array[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = x.String()
	}
	return quoted(words)
}

func quoted(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// printable keeps names that a host gives from breaking a comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
