package importer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/recipe"
	"tirl/internal/remark"
	"tirl/internal/verify/ruleset"
)

// write makes the tables.
func (r *rulesImport) write() {
	if len(r.parts) == 0 {
		return
	}
	r.top()
	r.knocking()
	for _, d := range r.doors {
		r.door(d)
	}
}

// usual is the family that the policy's top is taken from: the one with doors.
func (r *rulesImport) usual() *recipe.Recipe {
	for _, p := range r.parts {
		if len(p.Doors) > 0 {
			return p
		}
	}
	return r.parts[0]
}

// top writes what is not about doors.
func (r *rulesImport) top() {
	usual := r.usual()
	top := r.out.Table("")
	if usual.Firewall {
		mode := top.Set("mode", remark.String(string(policy.Firewall)))
		r.warn(mode, 0, "take the rules out as soon as tirl is applied; open sessions go on",
			"while both are loaded no door opens: each drops the knocks that the other waits for")
	}
	if usual.Answers {
		top.Set("refuse", remark.String(string(policy.Reset)))
	}
	if public := r.public(); len(public) > 0 {
		top.Set("public", remark.Strings(public))
	}
	if trust := r.trust(); len(trust) > 0 {
		top.Set("trust", remark.Strings(trust))
	}
	for _, p := range r.parts {
		for _, who := range p.Partly {
			r.left++
			r.warn(top, 0, "name it in trust to let in everything from there", "%s is let in to more than others are; that is not carried over", who)
		}
		for _, idle := range p.Idle {
			if len(r.doors) > 0 {
				break // it may be for other packets than those that were sent
			}
			r.warn(top, idle.Line, "", "no sequence of packets brings a source on to %s, which this asks for", quote(idle.Name))
		}
		if p.Cut {
			r.warn(top, 0, "", "there are too many rules to try all sequences: some doors may be missing")
		}
	}
	switch {
	case usual.Firewall && r.seen != ruleset.Both:
		r.warn(top, 0, "put into public what has to be reached", "the rules are for one family only; tirl's firewall closes the other one too")
	case r.seen != ruleset.Both && len(r.doors) > 0:
		r.out.Head = append(r.out.Head, remark.Say("The rules are for one family only; tirl's doors hide their services in both."))
	}
	if !usual.Firewall {
		return
	}
	options := r.out.Table("firewall")
	if !slices.ContainsFunc(r.parts, func(p *recipe.Recipe) bool { return p.ICMP }) {
		options.Set("icmp", "false")
	}
	if !slices.ContainsFunc(r.parts, func(p *recipe.Recipe) bool { return p.DHCP }) {
		options.Set("dhcp", "false")
	}
}

// public is what all families let in without a knock.
func (r *rulesImport) public() []string {
	usual := r.usual()
	var out []string
	for _, p := range usual.Public {
		out = append(out, p.String())
	}
	for _, p := range usual.Protos {
		out = append(out, p.String())
	}
	return out
}

func (r *rulesImport) trust() []string {
	var out []string
	for _, p := range r.parts {
		for _, prefix := range p.Trust {
			text := prefix.String()
			if prefix.IsSingleIP() {
				text = prefix.Addr().String()
			}
			out = append(out, text)
		}
		for _, name := range p.Ifaces {
			if text := "iface:" + name; !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}

// knocking writes what all doors share.
func (r *rulesImport) knocking() {
	t := r.out.Table("knocking")
	var longest, shortest time.Duration
	endless, reset := false, false
	for _, d := range r.doors {
		steps := d.Steps
		if d.Once {
			steps = append(slices.Clone(steps), d.OpenFor)
		}
		for _, s := range steps {
			if s == recipe.Forever {
				endless = true
			} else if s > 0 {
				longest = max(longest, s)
				if shortest == 0 || s < shortest {
					shortest = s
				}
			}
		}
		reset = reset || !d.Stays
	}
	switch {
	case longest == 0 && endless:
		t.Set("step_timeout", remark.String("none"))
	case longest > 0:
		k := t.Set("step_timeout", remark.String(policy.FormatDuration(min(longest, policy.MaxStepTimeout))))
		if endless {
			r.warn(k, 0, "", "some knock is good for ever in the rules; in tirl all knocks have one time, and this is the longest of the others")
		}
		if shortest < longest {
			k.Remark(remark.Say(fmt.Sprintf("- In tirl all knocks have one time, and the connection to a door that opens once too. In the rules some have only %s.", policy.FormatDuration(shortest))))
		}
	}
	if reset {
		t.Set("duplicates", remark.String(string(policy.ResetDuplicates)))
	}
	if r.usual().MatchTTL {
		t.Set("match_ttl", "true")
	}
}

// door writes a table.
func (r *rulesImport) door(d *ruleDoor) {
	t := r.out.Table("door." + r.names.unique(doorName(d.Opens)))
	d.table, r.tables[t] = t, d
	t.Remark(remark.Say(r.places(d)))
	t.Set("opens", remark.Strings(texts(d.Opens)))
	knocks := make([]string, len(d.Knocks))
	for i, k := range d.Knocks {
		knocks[i] = k.String()
	}
	k := t.Set("knocks", remark.Strings(knocks))
	for _, ports := range d.Ranges {
		if ports.First != ports.Last {
			r.warn(k, d.Line, "", "any port of %s is this knock in the rules; tirl takes the first of them", ports)
		}
	}
	r.openFor(d)
	if len(d.From) > 0 {
		t.Set("from", remark.Strings(prefixes(d.From)))
	}
	r.judgeDoor(d)
	if t.Off = len(d.reasons) > 0; t.Off {
		r.left++
		t.Remarks = slices.Insert(t.Remarks, 1, notCarried(d.reasons)...)
	}
}

func prefixes(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

// doorName is for what a door opens.
func doorName(opens []port.Range) string {
	if opens[0] == (port.Range{Proto: port.TCP, First: 22, Last: 22}) {
		return "ssh"
	}
	return strings.ReplaceAll(opens[0].String(), "/", "-")
}

// places says which lines a door comes from.
func (r *rulesImport) places(d *ruleDoor) string {
	var lines []string
	for _, l := range d.Lines {
		if text := fmt.Sprint(l); l > 0 && !slices.Contains(lines, text) {
			lines = append(lines, text)
		}
	}
	text := "Let in by "
	if d.Line > 0 {
		text += fmt.Sprintf("line %d", d.Line)
	} else {
		text += "the policy of a chain"
	}
	if len(lines) > 0 {
		text += "; its knocks end at " + strings.Join(lines, ", ")
	}
	return text + ":"
}

func (r *rulesImport) openFor(d *ruleDoor) {
	if d.Once {
		d.table.Set("open_for", remark.String("once"))
		return
	}
	length := d.OpenFor
	if d.OpenFor <= 0 {
		length = usualOpenFor(d.Opens)
	}
	k := d.table.Set("open_for", remark.String(policy.FormatDuration(min(length, policy.MaxOpenFor))))
	switch {
	case d.OpenFor == recipe.Forever:
		r.warn(k, d.Line, openForHint, "the rules never close this again; tirl closes after %s, and connections that are open then go on", policy.FormatDuration(length))
	case d.OpenFor <= 0:
		r.warn(k, d.Line, openForHint, "for how long this is open is not known")
	case d.Slides:
		r.warn(k, d.Line, "", "each connection opens it for as long again (--update); in tirl the time begins with the last knock")
	}
}

// judgeDoor says what of a door is otherwise, or cannot be carried over.
func (r *rulesImport) judgeDoor(d *ruleDoor) {
	if d.Counts {
		r.refuse(d, "draw a sequence: tirl gen", "the rules count packets to one port (hitcount), and know no sequence")
	}
	if n := total(d.Opens); n > 1000 {
		r.refuse(d, "write the services that the door hides into opens", "it opens %d ports", n)
	}
	if len(r.unread) > 0 {
		r.refuse(d, "", "there are rules that are not understood, and what they do to it is not known")
	}
	if d.Iface != "" {
		r.warn(d.table, d.Line, "", "knocks count only by %s; tirl hears them by every interface", d.Iface)
	}
	if len(d.Guards) > 0 {
		r.warn(d.table, d.Line, "", "%s take a source off the list again. tirl needs no such ports: between two knocks every other port does", strings.Join(texts(d.Guards), ", "))
	}
	for _, p := range r.parts {
		if len(p.Doors) == 0 && p.Firewall == r.usual().Firewall && !p.Firewall && !p.Refused(d.Opens[0]) {
			r.warn(d.table, d.Line, "", "%s is open to everybody over the other family; tirl's door hides it there too", d.Opens[0])
			d.table.Keys = slices.DeleteFunc(d.table.Keys, func(k *remark.Key) bool { return k.Name == "from" && len(d.From) == 1 && d.From[0].Bits() == 0 })
		}
	}
}

func total(ranges []port.Range) int {
	n := 0
	for _, r := range ranges {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// judge has the policy package look at what was written.
func (r *rulesImport) judge(host *Host) *policy.Policy {
	p, found := r.out.Judge()
	for _, f := range found {
		d := r.tables[f.Table]
		switch {
		case d != nil && f.Severity == policy.Error:
			r.left++
			r.refuse(d, f.Hint, "the policy would be refused: %s", f.Text)
			d.table.Remarks = slices.Insert(d.table.Remarks, 1, notCarried(d.reasons[len(d.reasons)-1:])...)
		case d != nil && f.Key != nil:
			r.warn(f.Key, d.Line, f.Hint, "%s", f.Text)
		default:
			r.warn(f.Table, 0, f.Hint, "%s", f.Text)
		}
	}
	if p == nil || host == nil {
		return p
	}
	for _, found := range p.Audit(host.Audit) {
		r.say(0, found.Hint, "%s", found.Text)
		r.out.Head = append(r.out.Head, remark.Say("- on this host: "+hinted(found.Text, found.Hint)))
	}
	p, _ = r.out.Judge()
	return p
}
