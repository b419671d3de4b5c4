package shell

import "strings"

// expansion is one of a word.
type expansion struct {
	at     int    // in the word's text
	text   string // as written
	quoted bool
}

// Expand gives the words that a word becomes with the values of variables: $name
// and ${name}, whose values are split at blanks where no quotes are. It fails at
// a variable without a value, and at whatever else an expansion may be.
func (w Word) Expand(value func(name string) (string, bool)) ([]string, bool) {
	if w.pattern {
		return nil, false
	}
	var done []string
	var b strings.Builder
	any, at := w.quotes || len(w.expansions) == 0, 0
	for _, e := range w.expansions {
		v, ok := value(e.name())
		if !ok || !e.quoted && strings.ContainsAny(v, "*?[\n") || !e.quoted && w.quotes && strings.ContainsAny(v, " \t") {
			return nil, false
		}
		any = any || e.quoted || e.at > at
		b.WriteString(w.Text[at:e.at])
		at = e.at + len(e.text)
		if e.quoted {
			b.WriteString(v)
			continue
		}
		for i := range len(v) {
			if v[i] != ' ' && v[i] != '\t' {
				b.WriteByte(v[i])
				any = true
			} else if any {
				done = append(done, b.String())
				b.Reset()
				any = false
			}
		}
	}
	b.WriteString(w.Text[at:])
	if any || at < len(w.Text) {
		done = append(done, b.String())
	}
	return done, true
}

// name is that of a variable, or something that is none.
func (e expansion) name() string {
	name := strings.TrimPrefix(e.text, "$")
	if inside, ok := strings.CutPrefix(name, "{"); ok {
		name = strings.TrimSuffix(inside, "}")
	}
	return name
}

// Assigns gives the variable that a word in front of a command, NAME=value, sets.
func (w Word) Assigns() (name string, ok bool) {
	name, _, ok = strings.Cut(w.Text, "=")
	return name, ok && name != "" && !isDigit(name[0]) && nameLength(name) == len(name)
}
