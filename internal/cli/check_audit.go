package cli

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/audit"
	"tirl/internal/policy"
	"tirl/internal/term"
	"tirl/internal/trace"
)

// mostDoors is how many doors check lists; of more it lists the weakest.
const mostDoors = 20

// doorAudit is what check says of a door to programs. docs/audit.md explains the
// fields.
type doorAudit struct {
	Bits          float64        `json:"bits"`
	Pattern       *patternReport `json:"pattern"`
	guessReport                  // of a guesser who tries the pattern first
	ManyAddresses float64        `json:"guess_addresses"`
	Shared        *sharedReport  `json:"shared"`
	Replay        bool           `json:"replay"` // who has seen the knocks can send them again
	Users         []userAudit    `json:"users,omitempty"`
}

// userAudit is of somebody whose values open the door once each.
type userAudit struct {
	Name string         `json:"name"`
	Kind policy.OneTime `json:"one_time"`
	Bits float64        `json:"bits"`
	Time float64        `json:"guess_seconds"`
}

type patternReport struct {
	Text string  `json:"text"`
	Bits float64 `json:"bits"`
}

type sharedReport struct {
	Door   string  `json:"door"`
	Knocks int     `json:"knocks"`
	Bits   float64 `json:"bits"`
}

type guessReport struct {
	One       float64 `json:"guess_seconds_1_address"`
	Many      float64 `json:"guess_seconds_10000_addresses"`
	Unlimited float64 `json:"guess_seconds_unlimited"`
}

// serviceReport is of a service that several doors open.
type serviceReport struct {
	Ports []string `json:"ports"`
	Doors []string `json:"doors"`
	Bits  float64  `json:"bits"`
	guessReport
}

// inBits and inSeconds round to what the arithmetic is good for, so that it is
// the same on every machine.
func inBits(n float64) float64 { return math.Round(n*10) / 10 }

func inSeconds(s audit.Span) float64 {
	n, err := strconv.ParseFloat(strconv.FormatFloat(float64(s), 'g', 3, 64), 64)
	if err != nil {
		return float64(s)
	}
	return n
}

// guesserReport is whom the times are for.
type guesserReport struct {
	Rate      int     `json:"packets_per_second"`
	PerSource int     `json:"per_source"`
	Buckets   float64 `json:"buckets_per_address"`
}

func guessOf(g audit.Guess) guessReport {
	return guessReport{inSeconds(g.One), inSeconds(g.Many), inSeconds(g.Unlimited)}
}

func doorAuditOf(d audit.Door) doorAudit {
	out := doorAudit{Bits: inBits(d.Bits), guessReport: guessOf(d.Guess), ManyAddresses: d.Addresses, Replay: true}
	for _, u := range d.Users {
		out.Users = append(out.Users, userAudit{u.Name, u.Kind, inBits(u.Bits), inSeconds(u.Span)})
	}
	if d.Pattern.Text != "" {
		out.Pattern = &patternReport{d.Pattern.Text, inBits(d.Pattern.Bits)}
	}
	if s := d.Shared; s.Door != "" {
		out.Shared = &sharedReport{s.Door, s.Knocks, inBits(s.Bits)}
	}
	return out
}

func serviceReports(list []audit.Service) []serviceReport {
	out := make([]serviceReport, len(list))
	for i, s := range list {
		out[i] = serviceReport{rangeNames(s.Ports), s.Doors, inBits(s.Bits), guessOf(s.Guess)}
	}
	return out
}

// printAudit has a block for each door, of many for the weakest.
func (a *app) printAudit(p *policy.Policy, r audit.Report, style term.Style) {
	for _, i := range weakest(r.Doors) {
		a.printDoor(&p.Doors[i], r.Doors[i], style)
	}
	if n := len(r.Doors) - mostDoors; n > 0 {
		fmt.Fprintf(a.out, "and %s, none weaker\n\n", plural(n, "door"))
	}
	for i, s := range r.Services {
		if i == mostDoors {
			fmt.Fprintf(a.out, "note: %s more that several doors open: tirl check --json\n", plural(len(r.Services)-i, "group of services"))
			break
		}
		fmt.Fprintf(a.out, "note: any of %s opens %s: at most %.0f bits together, %s\n",
			plural(len(s.Doors), "door"), ranges(s.Ports), s.Bits, guessText(s.Guess, "", audit.ManyAddresses))
	}
	if r.Buckets > 1 {
		fmt.Fprintf(a.out, "note: with match_ttl one address guesses as fast as %.0f: per_source limits each TTL by itself\n", r.Buckets)
	}
	fmt.Fprintf(a.out, "note: the times are for %.1f million packets a second, 10 Gbit/s; how they come about: docs/audit.md\n", audit.LineRate/1e6)
	fmt.Fprintln(a.out, "note: who can see the knocks on their way needs no guess, and who shares a client's address (NAT) gets in with it")
}

// weakest orders the doors to be shown: all as in the file, or those that are
// guessed first.
func weakest(doors []audit.Door) []int {
	order := make([]int, len(doors))
	for i := range order {
		order[i] = i
	}
	if len(order) <= mostDoors {
		return order
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(doors[a].Many, doors[b].Many), cmp.Compare(doors[a].One, doors[b].One))
	})
	return order[:mostDoors]
}

func (a *app) printDoor(door *policy.Door, d audit.Door, style term.Style) {
	opens := "for " + trace.Span(door.OpenFor)
	if door.Once {
		opens = "once"
	}
	after := fmt.Sprintf("after %s (%s)", plural(len(door.Knocks), "knock"), strings.Join(protocols(door), ", "))
	if len(door.Knocks) == 0 {
		after = "to its users"
	}
	fmt.Fprintf(a.out, "%s %s opens %s %s %s\n", style.Bold("door"), style.Bold(door.Name), ranges(door.Opens), opens, after)
	for _, u := range d.Users {
		fmt.Fprintf(a.out, "  user %s has a %s of %.0f bits for each time: guessed in %s\n", u.Name, u.Kind, u.Bits, u.Span)
	}
	if len(door.Knocks) == 0 {
		fmt.Fprintln(a.out)
		return
	}
	switch {
	case d.Pattern.Text != "":
		fmt.Fprintf(a.out, "  about %.0f bits: %s (at most %.0f, if chosen at random)\n", d.Pattern.Bits, d.Pattern.Text, d.Bits)
	default:
		fmt.Fprintf(a.out, "  at most %.0f bits, if chosen at random\n", d.Bits)
	}
	where := ""
	if len(door.From) > 0 {
		where = " of its from"
	}
	fmt.Fprintf(a.out, "  %s\n", guessText(d.Guess, where, d.Addresses))
	if s := d.Shared; s.Door != "" {
		fmt.Fprintf(a.out, "  who owns door %s knows %d of the knocks: %.0f bits are left\n", s.Door, s.Knocks, s.Bits)
	}
	fmt.Fprintln(a.out)
}

// guessText says from how many addresses, and where they have to be.
func guessText(g audit.Guess, where string, addresses float64) string {
	one, many, unlimited := g.One.String(), g.Many.String(), g.Unlimited.String()
	text := "guessed in " + one + " from 1 address" + where
	if addresses > 1 {
		from := " from " + thousands(int(addresses))
		if many != one {
			from = " " + many + from
		}
		text += "," + from
	}
	if many == unlimited {
		return text + " or without per_source"
	}
	return text + ", " + unlimited + " without per_source"
}

// thousands writes a number of at most five digits for people.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// protocols are those of the door's knocks.
func protocols(door *policy.Door) []string {
	names := []string{}
	for _, k := range door.Knocks {
		names = append(names, k.Proto.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}
