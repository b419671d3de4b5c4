package policy

import (
	"fmt"
	"strings"
)

// Text writes the entry of a hosts file that ParseHosts reads as r.
func (r Remote) Text() string {
	var b strings.Builder
	name := bareKey(r.Name)
	fmt.Fprintf(&b, "[host.%s]\n", name)
	if len(r.Names) > 0 {
		fmt.Fprintf(&b, "names = %s\n", array(r.Names))
	}
	where := append(texts(r.Addresses), r.Lookups...)
	if len(r.Lookups) == 1 && r.Lookups[0] == r.Name {
		where = texts(r.Addresses)
	}
	if len(where) > 0 {
		fmt.Fprintf(&b, "addresses = %s\n", array(where))
	}
	if len(r.Lookups) > 0 {
		b.WriteString("resolve = true\n")
	}
	if r.Delay > 0 {
		fmt.Fprintf(&b, "delay = %q\n", FormatDuration(r.Delay))
	}
	for _, d := range r.Doors {
		fmt.Fprintf(&b, "\n[host.%s.door.%s]\n", name, bareKey(d.Name))
		openFor := "once"
		if !d.Once {
			openFor = FormatDuration(d.OpenFor)
		}
		fmt.Fprintf(&b, "opens = %s\n", array(texts(d.Opens)))
		if d.Credential == nil {
			fmt.Fprintf(&b, "knocks = %s\n", array(texts(d.Knocks)))
		}
		fmt.Fprintf(&b, "open_for = %q\n", openFor)
		if d.Credential != nil {
			b.WriteString(d.Credential.text())
		}
	}
	text, _ := Format("", []byte(b.String())) // no errors: nothing above writes what is not TOML
	return string(text)
}

func texts[T fmt.Stringer](all []T) []string {
	out := make([]string, len(all))
	for i, x := range all {
		out[i] = x.String()
	}
	return out
}

// array writes an array of strings.
func array(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quoteTOML(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
