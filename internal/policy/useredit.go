package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"
)

// AddUser gives the text of a policy file with one more user of a door: a table of
// his own, below those that the door has. All else stays as it is.
//
// As with SetKnocks only the syntax of the text must be sound, and the text is
// nil if there are diagnostics. A user whom the door has already is one.
func AddUser(file string, text []byte, door string, u User) ([]byte, Diagnostics) {
	return edit(file, text, func(e *editor, root *table) []byte { return e.addUser(root, door, u) })
}

// RemoveUser gives the text without a user: his table, with the comments in it and
// right above it. A comment that stands alone between empty lines stays.
func RemoveUser(file string, text []byte, door, name string) ([]byte, Diagnostics) {
	return edit(file, text, func(e *editor, root *table) []byte { return e.removeUser(root, door, name) })
}

// edit has a sound text changed.
func edit(file string, text []byte, change func(*editor, *table) []byte) ([]byte, Diagnostics) {
	if len(text) > MaxSize {
		return nil, tooLarge(file, len(text))
	}
	e := editor{r: newReporter(newSource(file, slices.Clone(text))), newline: "\n"}
	root := readDocument(e.r)
	if e.r.hasErrors() {
		return nil, e.r.done()
	}
	e.text = e.r.src.text
	if bytes.Contains(e.text, []byte("\r\n")) {
		e.newline = "\r\n"
	}
	changed := change(&e, root)
	if e.r.hasErrors() {
		return nil, e.r.done()
	}
	return changed, nil
}

func (e *editor) addUser(root *table, door string, u User) []byte {
	d := e.find(root, door)
	if d == nil {
		return nil
	}
	users := d.table.find("users")
	if users != nil && users.table != nil {
		if known := users.table.find(u.Name); known != nil {
			e.r.errorf(known.key, "give him another name", "door %s has a user %s already", quote(door), quote(u.Name))
			return nil
		}
	}
	if !takesTables(d.table) || users != nil && !takesTables(users.table) {
		e.r.errorf(d.key, "write [door."+door+"] on a line of its own, and its keys below it", "door %s has its users within a line", quote(door))
		return nil
	}
	at := e.sectionEnd(d.table, d.key)
	var out bytes.Buffer
	out.Write(e.text[:at])
	if at > 0 && e.text[at-1] != '\n' {
		out.WriteString(e.newline)
	}
	out.WriteString(e.newline + "[door." + bareKey(door) + ".users." + bareKey(u.Name) + "]" + e.newline)
	for _, line := range userLines(u) {
		fmt.Fprintf(&out, "%-8s = %s%s", line[0], line[1], e.newline)
	}
	if rest := e.text[at:]; len(rest) > 0 && rest[0] != '\n' && rest[0] != '\r' {
		out.WriteString(e.newline)
	}
	out.Write(e.text[at:])
	return out.Bytes()
}

// takesTables says whether tables with headers of their own can stand below one.
func takesTables(t *table) bool { return t != nil && (t.origin == header || t.origin == implied) }

// userLines are the keys of a user that are not at their defaults.
func userLines(u User) [][2]string {
	lines := [][2]string{{"one_time", quoteTOML(string(u.Kind))}}
	if u.Kind == Sequence {
		lines = append(lines, [2]string{"first", quoteTOML(u.First.String())})
		if u.Length != DefaultLength {
			lines = append(lines, [2]string{"length", strconv.Itoa(u.Length)})
		}
	}
	if u.Ports != DefaultPorts() {
		lines = append(lines, [2]string{"ports", quoteTOML(u.Ports.String())})
	}
	if u.Pool != DefaultPool {
		lines = append(lines, [2]string{"pool", strconv.Itoa(u.Pool)})
	}
	return lines
}

func (e *editor) removeUser(root *table, door, name string) []byte {
	d := e.find(root, door)
	if d == nil {
		return nil
	}
	var known *entry
	if users := d.table.find("users"); users != nil && users.table != nil {
		known = users.table.find(name)
	}
	if known == nil {
		e.r.errorf(-1, "", "door %s has no user %s", quote(door), quote(name))
		return nil
	}
	if known.table == nil || known.table.origin != header {
		e.r.errorf(known.key, "take it out by hand", "user %s is no table of its own", quote(name))
		return nil
	}
	first := bytes.LastIndexByte(e.text[:known.key], '\n') + 1
	last := e.sectionEnd(known.table, known.key)
	for first > 0 { // the comments right above
		above := bytes.LastIndexByte(e.text[:first-1], '\n') + 1
		if line := bytes.TrimSpace(e.text[above:first]); len(line) == 0 || line[0] != '#' {
			break
		}
		first = above
	}
	for first > 0 && last < len(e.text) { // one of the empty lines around
		end := nextLine(e.text, last)
		if len(bytes.TrimSpace(e.text[last:end])) > 0 {
			break
		}
		last = end
	}
	before := e.text[:first]
	if last == len(e.text) {
		before = append(bytes.TrimRight(before, " \t\r\n"), e.newline...)
		if len(before) == len(e.newline) {
			before = nil
		}
	}
	return slices.Concat(before, e.text[last:])
}

// sectionEnd gives the offset behind the last line of a table and of those below
// it, whose name is at an offset.
func (e *editor) sectionEnd(t *table, at int) int {
	end := nextLine(e.text, at)
	for _, entry := range t.entries {
		last := entry.key
		switch {
		case entry.table != nil && entry.table.origin != inline:
			end = max(end, e.sectionEnd(entry.table, entry.key))
			continue
		case entry.value.kind == unstable.Array:
			last = closing(e.text, entry.value.at)
		case entry.table != nil:
			last = closing(e.text, entry.value.at)
		case entry.value.kind == unstable.String && entry.value.at >= 0:
			last = stringEnd(e.text, entry.value.at) - 1
		}
		end = max(end, nextLine(e.text, last))
	}
	return end
}
