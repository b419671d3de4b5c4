package lockout

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/port"
	"tirl/internal/session"
)

// refusal puts into words why a session would be shut out.
func (c *checker) refusal(conn session.Conn, f fate) (Finding, bool) {
	from := "an address that is not known"
	if conn.Remote.IsValid() {
		from = conn.Remote.Addr().String()
	}
	service := conn.Service()
	switch f {
	case excluded:
		return Finding{
			Kind: BehindDoor,
			Text: fmt.Sprintf("you came in by %s from %s: the policy hides %s from there, and %s",
				service, from, service, c.whyNot(service)),
			Hint: "add to the policy: " + c.trustLine(conn.Remote.Addr()),
		}, true
	case closed:
		hint := "add to the policy: " + c.publicLine(service)
		if conn.Remote.IsValid() {
			hint = "add to the policy: " + c.trustLine(conn.Remote.Addr()) + " or " + c.publicLine(service)
		}
		return Finding{
			Kind: Closed,
			Text: fmt.Sprintf("you came in by %s from %s: firewall mode closes %s, and no door, public or trust opens it",
				service, from, service),
			Hint: hint,
		}, true
	}
	return Finding{}, false
}

// whyNot says whom the doors of a service open to.
func (c *checker) whyNot(service port.Port) string {
	doors := c.doors(service)
	if len(doors) == 1 && len(doors[0].From) > 0 {
		return fmt.Sprintf("door %s opens to %s only", doors[0].Name, some(texts(doors[0].From)))
	}
	if slices.ContainsFunc(doors, func(d automaton.Door) bool { return len(d.From) == 0 }) {
		return "no knock opens it within the limits of [knocking]"
	}
	names := make([]string, len(doors))
	for i, d := range doors {
		names[i] = d.Name
	}
	return fmt.Sprintf("none of the doors that open it (%s) opens to that address", some(names))
}

// texts writes prefixes as a policy does.
func texts(list []netip.Prefix) []string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.String()
		if p.IsSingleIP() {
			words[i] = p.Addr().String()
		}
	}
	return words
}

const someWords = 4

// some lists the first few.
func some(words []string) string {
	if more := len(words) - someWords; more > 0 {
		words = append(slices.Clone(words[:someWords]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

// trustLine is the policy's line with one address more.
func (c *checker) trustLine(a netip.Addr) string {
	words := texts(c.g.Trust)
	for _, name := range c.g.Ifaces {
		words = append(words, "iface:"+name)
	}
	return line("trust", append(words, a.String()))
}

// publicLine is the policy's line with one service more.
func (c *checker) publicLine(service port.Port) string {
	var words []string
	for _, r := range c.g.Public {
		words = append(words, r.String())
	}
	for _, p := range c.g.Protos {
		words = append(words, p.String())
	}
	return line("public", append(words, service.String()))
}

func line(key string, words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = `"` + w + `"`
	}
	return key + " = [" + strings.Join(quoted, ", ") + "]"
}
