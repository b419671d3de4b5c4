package importer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/policy"
	"tirl/internal/recipe"
	"tirl/internal/remark"
	"tirl/internal/verify/parse"
	"tirl/internal/verify/ruleset"
)

// KindError says that a text is of another kind than was said.
type KindError struct{ Kind parse.Kind }

func (e *KindError) Error() string { return fmt.Sprintf("this is text of the kind %q", e.Kind) }

// Rules makes a policy out of rules of nftables, or of iptables: of iptables-save, or
// commands in a shell script. Rules that are not understood are named, and then no door
// is carried over. Any other error is of text that cannot be loaded.
func Rules(name string, text []byte, isNft bool, host *Host) (*Result, error) {
	r := &rulesImport{file: name, source: policy.NewSource(name, text), names: names{}, tables: map[*remark.Table]*ruleDoor{}}
	r.lines = strings.SplitAfter(string(text), "\n")
	if err := r.parse(string(text), isNft); err != nil {
		return nil, err
	}
	if r.rules != nil {
		if err := r.find(); err != nil {
			return nil, err
		}
	}
	r.tool = "iptables"
	if isNft {
		r.tool = "nftables"
	}
	r.head()
	r.write()
	out := &Result{Policy: r.judge(host)}
	if out.Policy != nil {
		out.Proof = r.prove(out.Policy)
	}
	out.Text, out.Found, out.Left = r.out.Text(), sortFound(r.found), r.left
	return out, nil
}

type rulesImport struct {
	file   string
	tool   string
	source policy.Source
	lines  []string
	rules  *ruleset.Ruleset
	seen   ruleset.Family
	parts  []*recipe.Recipe // of the families that rules see
	doors  []*ruleDoor
	out    remark.File
	names  names
	tables map[*remark.Table]*ruleDoor
	unread []*ruleset.UnknownError
	found  policy.Diagnostics
	left   int
}

// ruleDoor is a door on its way to one of the policy.
type ruleDoor struct {
	recipe.Door
	table   *remark.Table
	reasons []reason
}

// maxUnread is how many lines that are not understood are looked for.
const maxUnread = 50

// parse reads the rules. Lines that are not understood are left out, one after the
// other, and kept in unread.
func (r *rulesImport) parse(text string, isNft bool) error {
	lines := slices.Clone(r.lines)
	for {
		rs, kind, err := parse.Text(text, ruleset.IPv4)
		if (kind == parse.Nftables) != isNft && len(r.unread) == 0 {
			return &KindError{kind}
		}
		if err == nil {
			r.rules = rs
			r.seen = parse.Families(rs)
			return nil
		}
		unknown, ok := errors.AsType[*ruleset.UnknownError](err)
		switch {
		case !ok && len(r.unread) == 0:
			return err
		case !ok:
			return nil // it hangs together with what was left out
		}
		r.unread = append(r.unread, unknown)
		n := unknown.Line - 1
		if n < 0 || n >= len(lines) || strings.TrimSpace(lines[n]) == "" || len(r.unread) >= maxUnread {
			return nil
		}
		lines[n] = "\n"
		text = strings.Join(lines, "")
	}
}

// find tries the rules in each family, and joins what is the same.
func (r *rulesImport) find() error {
	for _, f := range []ruleset.Family{ruleset.IPv4, ruleset.IPv6} {
		if r.seen&f == 0 {
			continue
		}
		part, err := recipe.Find(r.rules, f, recipe.Options{})
		if unknown, ok := errors.AsType[*ruleset.UnknownError](err); ok {
			r.unread = append(r.unread, unknown)
			r.rules = nil
			return nil
		} else if err != nil {
			return err
		}
		r.parts = append(r.parts, part)
		r.join(part)
	}
	return nil
}

// join adds the doors of a family.
func (r *rulesImport) join(part *recipe.Recipe) {
	everybody := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if part.Family == ruleset.IPv6 {
		everybody = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	for _, d := range part.Doors {
		if len(d.From) == 0 && r.seen == ruleset.Both {
			d.From = []netip.Prefix{everybody}
		}
		i := slices.IndexFunc(r.doors, func(o *ruleDoor) bool { return o.Same(d) })
		if i < 0 {
			r.doors = append(r.doors, &ruleDoor{Door: d})
			continue
		}
		all := append(r.doors[i].From, d.From...)
		if len(all) == 2 && all[0].Bits()+all[1].Bits() == 0 {
			all = nil // everybody of both families
		}
		r.doors[i].From = all
	}
}

// offset is where the text of a line begins; -1: it is of no line.
func (r *rulesImport) offset(line int) int {
	if line < 1 || line > len(r.lines) {
		return -1
	}
	at := 0
	for _, l := range r.lines[:line-1] {
		at += len(l)
	}
	text := r.lines[line-1]
	return at + len(text) - len(strings.TrimLeft(text, " \t"))
}

func (r *rulesImport) say(line int, hint, format string, args ...any) {
	r.found = append(r.found, r.source.Diagnose(r.offset(line), policy.Warning, fmt.Sprintf(format, args...), hint))
}

// warn says something at a line of the file, and at a door or a key of it.
func (r *rulesImport) warn(where interface{ Remark(...remark.Paragraph) }, line int, hint, format string, args ...any) {
	r.say(line, hint, format, args...)
	text := fmt.Sprintf(format, args...)
	if line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	where.Remark(remark.Say("- " + hinted(text, hint)))
}

// refuse leaves a door as a comment.
func (r *rulesImport) refuse(d *ruleDoor, hint, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.reasons = append(d.reasons, reason{text, hint})
	r.say(d.Line, hint, "door %s is not carried over: %s", strings.TrimPrefix(d.table.Name, "door."), text)
}

// head says what the file is.
func (r *rulesImport) head() {
	r.out.Head = append(r.out.Head, remark.Say(fmt.Sprintf("A policy for tirl, made from %s by tirl import %s. Read it, then: tirl check.", r.file, r.tool)),
		remark.Say("Its doors were found by sending packets at the rules, in a model of the kernel."))
	for _, u := range r.unread {
		r.left++
		r.say(u.Line, unreadHint(u.What), "not understood: %s", u.What)
		r.out.Head = append(r.out.Head, remark.Say(""), remark.Say(hinted(fmt.Sprintf("NOT CARRIED OVER: line %d is not understood: %s", u.Line, u.What), unreadHint(u.What))))
		if at := u.Line; at >= 1 && at <= len(r.lines) {
			r.out.Head = append(r.out.Head, remark.Show(strings.TrimSpace(r.lines[at-1])))
		}
	}
}

// unreadHint is for what recipes of knocking have that is no knock of tirl.
func unreadHint(what string) string {
	switch {
	case strings.Contains(what, "`length`"):
		return "tirl's knocks are TCP and UDP ports; the length of a packet is none"
	case strings.Contains(what, "`set`"), strings.Contains(what, "`SET`"):
		return "what is in a set of ipset is decided elsewhere; addresses that are always let in belong in trust"
	}
	return ""
}
