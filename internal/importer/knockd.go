package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tirl/internal/knockd"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/remark"
)

// Knockd makes a policy out of a configuration of knockd. Host is nil if nothing
// is known of it.
func Knockd(name string, c *knockd.Config, host *Host) *Result {
	k := &knockdImport{file: name, config: c, host: host, names: names{}, tables: map[*remark.Table]*door{}}
	k.options()
	for _, d := range c.Doors {
		k.doors = append(k.doors, k.read(d))
	}
	k.pair()
	k.write()
	r := &Result{Policy: k.judge(), Left: k.left}
	k.head()
	r.Text, r.Found = k.out.Text(), sortFound(k.found)
	return r
}

type knockdImport struct {
	file   string
	config *knockd.Config
	host   *Host
	doors  []*door
	out    remark.File
	timing *remark.Table
	names  names
	tables map[*remark.Table]*door
	found  policy.Diagnostics
	left   int
	top    []remark.Paragraph // about [options]
}

// door is a section on its way to a door of the policy.
type door struct {
	*knockd.Door
	start, start6, stop, stop6 *commands // nil: nothing is run
	reasons                    []reason  // why it cannot be carried over; empty: it can
	closedBy                   []*door   // doors that only close this one
	closer                     bool      // this is such a door
	remarks                    map[string][]remark.Paragraph
	table                      *remark.Table
}

type reason struct{ text, hint string }

// warn says something at a place of the file, and at a key of the door ("" is the
// door itself).
func (k *knockdImport) warn(d *door, key string, at int, hint, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	k.found = append(k.found, k.config.Source.Diagnose(at, policy.Warning, text, hint))
	if d != nil {
		d.remarks[key] = append(d.remarks[key], k.sentence(at, text, hint))
		return
	}
	k.top = append(k.top, k.sentence(at, text, hint))
}

// sentence is a message as a remark.
func (k *knockdImport) sentence(at int, text, hint string) remark.Paragraph {
	return remark.Say(fmt.Sprintf("- line %d: %s", k.config.Source.Position(at).Line, hinted(text, hint)))
}

// refuse leaves a door as a comment.
func (k *knockdImport) refuse(d *door, at int, hint, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.reasons = append(d.reasons, reason{text, hint})
	k.found = append(k.found, k.config.Source.Diagnose(at, policy.Warning, fmt.Sprintf("door %s is not carried over: %s", quote(d.Name), text), hint))
}

// write makes the tables.
func (k *knockdImport) write() {
	k.timing = k.out.Table("knocking")
	for _, d := range k.doors {
		if !d.closer {
			k.table(d)
		}
	}
}

func (k *knockdImport) table(d *door) {
	t := k.out.Table("door." + k.name(d))
	d.table, k.tables[t] = t, d
	t.Remark(remark.Say(fmt.Sprintf("[%s] of line %d:", d.Name, d.Line)))
	t.Remark(d.remarks[""]...)
	for _, c := range d.closedBy {
		t.Remark(remark.Say(fmt.Sprintf("- line %d: %s; hint: %s", c.Line, closerText(c, d), closerHint)))
		for _, key := range []string{"", "opens", "knocks", "open_for", "from"} {
			t.Remark(c.remarks[key]...)
		}
	}
	set := func(key, value string, isKnown bool) {
		if isKnown {
			t.Set(key, value).Remark(d.remarks[key]...)
		} else {
			t.Remark(d.remarks[key]...)
		}
	}
	opens, from := d.services(), d.family()
	knocks := make([]string, len(d.Sequence))
	for i, p := range d.Ports() {
		knocks[i] = p.String()
	}
	set("opens", remark.Strings(opens), len(opens) > 0)
	set("knocks", remark.Strings(knocks), len(knocks) > 0)
	set("open_for", remark.String(policy.FormatDuration(k.openFor(d))), len(opens) > 0)
	set("from", remark.Strings([]string{from}), from != "")
	if t.Off = len(d.reasons) > 0; t.Off {
		k.leave(d, d.reasons...)
	}
}

// leave says at a door that is only a comment why that is so, and what the section
// was.
func (k *knockdImport) leave(d *door, reasons ...reason) {
	k.left++
	t := d.table
	if len(t.Tail) == 0 {
		t.Tail = append(t.Tail, remark.Say(""), remark.Say(fmt.Sprintf("In %s:", k.file)), remark.Show("["+d.Name+"]"))
		for _, s := range d.Settings {
			t.Tail = append(t.Tail, remark.Show(s.Raw))
		}
	}
	t.Remarks = slices.Insert(t.Remarks, 1, notCarried(reasons)...)
}

func notCarried(reasons []reason) []remark.Paragraph {
	var all []remark.Paragraph
	for _, r := range reasons {
		all = append(all, remark.Say(hinted("NOT CARRIED OVER: "+r.text, r.hint)))
	}
	return all
}

func hinted(text, hint string) string {
	if hint != "" {
		text += "; hint: " + hint
	}
	return text
}

// name makes a name for a door: small letters, digits, - and _, and of a door that
// opens what another closes the part that they share.
func (k *knockdImport) name(d *door) string {
	name := d.Name
	for _, prefix := range []string{"open", "Open", "OPEN"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && len(d.closedBy) > 0 &&
			slices.ContainsFunc(d.closedBy, func(c *door) bool { return len(c.Name) > 5 && c.Name[5:] == rest }) {
			name = rest
		}
	}
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || (r == '_' || r == '-') && b.Len() > 0 {
			b.WriteRune(r)
		} else if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
			b.WriteByte('-')
		}
	}
	const most = 28 // of 32, with room for a number
	name = strings.TrimRight(b.String()[:min(b.Len(), most)], "-_")
	if name == "" {
		name = "door"
	}
	return k.names.unique(name)
}

// names are those of doors: how many have been given away.
type names map[string]int

func (n names) unique(name string) string {
	unique := name
	for n[unique] > 0 {
		n[name]++
		unique = fmt.Sprintf("%s-%d", name, n[name])
	}
	n[unique]++
	return unique
}

// judge has the policy package look at what was written.
func (k *knockdImport) judge() *policy.Policy {
	k.setTiming()
	p, found := k.out.Judge()
	for _, f := range found {
		d := k.tables[f.Table]
		if d == nil { // [knocking]
			k.found = append(k.found, k.config.Source.Diagnose(-1, f.Severity, f.Text, f.Hint))
			continue
		}
		if f.Severity == policy.Error {
			k.refuse(d, k.at(d, f.Key), f.Hint, "the policy would be refused: %s", f.Text)
			k.leave(d, reason{"the policy would be refused: " + f.Text, f.Hint})
			continue
		}
		at := k.at(d, f.Key)
		k.found = append(k.found, k.config.Source.Diagnose(at, policy.Warning, f.Text, f.Hint))
		said := k.sentence(at, f.Text, f.Hint)
		if f.Key != nil {
			f.Key.Remark(said)
		} else {
			f.Table.Remark(said)
		}
	}
	k.setTiming()
	if p != nil && k.host != nil {
		k.audit(p)
	}
	if p != nil {
		p, _ = k.out.Judge()
	}
	return p
}

// audit says what clashes with the host that this runs on.
func (k *knockdImport) audit(p *policy.Policy) {
	for _, found := range p.Audit(k.host.Audit) {
		k.found = append(k.found, policy.Diagnostic{File: k.file, Severity: found.Severity, Text: found.Text, Hint: found.Hint})
		k.top = append(k.top, remark.Say("- on this host: "+hinted(found.Text, found.Hint)))
	}
}

// at gives the place in knockd's file that a key of the policy comes from.
func (k *knockdImport) at(d *door, key *remark.Key) int {
	switch {
	case key == nil:
	case key.Name == "knocks" && d.SequenceAt >= 0:
		return d.SequenceAt
	case key.Name == "opens" && d.StartFor(d.start == nil) != nil:
		return d.StartFor(d.start == nil).At
	}
	return d.At
}

// setTiming gives step_timeout: the longest time for a sequence among the doors
// that are carried over.
func (k *knockdImport) setTiming() {
	var used []*door
	for _, d := range k.doors {
		if d.table != nil && !d.table.Off {
			used = append(used, d)
		}
	}
	k.timing.Keys, k.timing.Remarks = nil, nil
	if len(used) == 0 {
		return
	}
	longest := slices.MaxFunc(used, func(a, b *door) int { return cmp.Compare(a.SeqTimeout, b.SeqTimeout) }).SeqTimeout
	value := policy.FormatDuration(longest)
	if longest > policy.MaxStepTimeout {
		value = "none"
	}
	text := "In knockd the time of seq_timeout (25 s if it is not given) is that of the whole sequence, in tirl the time from one knock to the next."
	if slices.ContainsFunc(used, func(d *door) bool { return d.SeqTimeout != longest }) {
		text += " All doors share it: this is the longest of knockd's."
	}
	k.timing.Remark(remark.Say(text))
	k.timing.Set("step_timeout", remark.String(value))
}

const openForHint = "set open_for as you like it, up to 720h"

// usualOpenFor is for services that the other tool never closed.
func usualOpenFor(opens []port.Range) time.Duration {
	if slices.ContainsFunc(opens, isUDP) {
		return 8 * time.Hour // a session: the kernel forgets idle flows of UDP
	}
	return 30 * time.Second
}

// openFor says how long the door is open, and remarks why.
func (k *knockdImport) openFor(d *door) time.Duration {
	start, at := d.acts()
	if start == nil || len(start.opens) == 0 {
		return usualOpenFor(nil)
	}
	closes, reads := d.closing()
	length := usualOpenFor(start.opens)
	why := ""
	switch {
	case start.after > 0:
		length = min(max(start.after.Round(time.Millisecond), time.Millisecond), policy.MaxOpenFor)
		if closes && d.CmdTimeout > 0 {
			length = min(length, d.CmdTimeout)
		}
		return length
	case closes && d.CmdTimeout > policy.MaxOpenFor:
		k.warn(d, "open_for", at, "", "cmd_timeout is longer than a door of tirl can be open")
		return policy.MaxOpenFor
	case closes && d.CmdTimeout > 0:
		return d.CmdTimeout
	case closes && d.CmdTimeout == 0: // refused
		return usualOpenFor(nil)
	case closes:
		why = "with a negative cmd_timeout knockd waits for ever and never closes"
	case reads:
		why = "stop_command does not close what start_command opens: it stayed open in knockd"
	case len(d.closedBy) > 0:
		why = "knockd left this open until somebody knocked to close it"
	default:
		why = "there is no stop_command: knockd left this open for ever"
	}
	k.warn(d, "open_for", at, openForHint, "%s; tirl closes after %s by itself, and connections that are open then go on", why, policy.FormatDuration(length))
	return length
}
