package automatontest

import (
	"fmt"
	"strings"
	"time"

	"tirl/internal/policy"
)

// Text writes a policy as a file that policy.Parse reads.
func Text(p *policy.Policy) string {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%-12s = %v\n", key, value) }
	line("mode", quote(p.Mode))
	line("refuse", quote(p.Refuse))
	if public := append(quotes(p.Public.Services), quotes(p.Public.Protocols)...); public != nil {
		line("public", list(public))
	}
	if trust := quotes(p.Trust.Prefixes); trust != nil || p.Trust.Interfaces != nil {
		for _, name := range p.Trust.Interfaces {
			trust = append(trust, quote("iface:"+name))
		}
		line("trust", list(trust))
	}
	if p.Mode == policy.Firewall {
		b.WriteString("\n[firewall]\n")
		line("icmp", p.Firewall.ICMP)
		line("dhcp", p.Firewall.DHCP)
	}
	b.WriteString("\n[knocking]\n")
	k := p.Knocking
	line("step_timeout", span(k.StepTimeout))
	line("duplicates", quote(k.Duplicates))
	line("match_ttl", k.MatchTTL)
	line("ipv6_prefix", k.IPv6Prefix)
	line("per_source", quote(fmt.Sprintf("%d/second", k.PerSource)))
	line("sources", k.Sources)
	b.WriteString("\n[log]\n")
	line("events", quote(p.Log.Events))
	for _, d := range p.Doors {
		fmt.Fprintf(&b, "\n[door.%s]\n", d.Name)
		line("opens", list(quotes(d.Opens)))
		if len(d.Knocks) > 0 {
			line("knocks", list(quotes(d.Knocks)))
		}
		if d.Once {
			line("open_for", quote("once"))
		} else {
			line("open_for", span(d.OpenFor))
		}
		if len(d.From) > 0 {
			line("from", list(quotes(d.From)))
		}
		for _, u := range d.Users {
			fmt.Fprintf(&b, "\n[door.%s.users.%s]\n", d.Name, u.Name)
			line("one_time", quote(u.Kind))
			if u.Kind == policy.Sequence {
				line("first", quote(u.First))
				line("length", u.Length)
			}
			line("ports", quote(u.Ports))
			line("pool", u.Pool)
		}
	}
	return b.String()
}

func span(d time.Duration) string {
	if d == policy.Day {
		return quote("none")
	}
	return quote(d)
}

func quote(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) }

func quotes[T any](all []T) []string {
	var words []string
	for _, v := range all {
		words = append(words, quote(v))
	}
	return words
}

func list(words []string) string { return "[" + strings.Join(words, ", ") + "]" }
