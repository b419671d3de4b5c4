package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// wrongType reports a value that is not of the kind that its key takes.
func (d *reader) wrongType(v value, key, want, hint string) {
	d.r.errorf(v.at, hint, "%s must be %s, not %s", key, want, kindName(v.kind))
}

// scalar refuses a table or a value of another kind. Where e is a table made by
// a header or a dotted key there is no value to point at.
func (d *reader) scalar(e *entry, kind unstable.Kind, want, hint string) bool {
	if e.table != nil && e.table.origin != inline {
		d.wrongType(value{kind: unstable.Table, at: e.key}, e.name, want, "")
		return false
	}
	if e.value.kind != kind {
		d.wrongType(e.value, e.name, want, hint)
		return false
	}
	return true
}

func (d *reader) boolean(to *bool) func(string, *entry) {
	return func(_ string, e *entry) {
		hint := ""
		if s := strings.ToLower(e.value.text); s == "true" || s == "false" {
			hint = "write it without quotes: " + s
		}
		if d.scalar(e, unstable.Bool, "true or false", hint) {
			*to = e.value.text == "true"
		}
	}
}

// number reads an integer. Where it says no it has reported why.
func (d *reader) number(e *entry, low, high int) (int, bool) {
	want := fmt.Sprintf("a whole number from %d to %d", low, high)
	hint := ""
	if _, err := strconv.Atoi(e.value.text); err == nil && e.value.kind == unstable.String && len(e.value.text) < 20 {
		hint = "write it without quotes: " + e.value.text
	}
	if !d.scalar(e, unstable.Integer, want, hint) {
		return 0, false
	}
	text := e.value.text
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 0, 64)
	if err != nil || n < int64(low) || n > int64(high) {
		d.r.errorf(e.value.at, "", "%s must be %s, not %s", e.name, want, shorten(text))
		return 0, false
	}
	return int(n), true
}

func shorten(s string) string {
	if len(s) > 24 {
		return s[:24] + "…"
	}
	return s
}

func (d *reader) integer(to *int, low, high int) func(string, *entry) {
	return func(_ string, e *entry) {
		if n, ok := d.number(e, low, high); ok {
			*to = n
		}
	}
}

func (d *decoder) version(_ string, e *entry) {
	if !d.scalar(e, unstable.Integer, "1", "write version = 1") {
		return
	}
	if e.value.text != "1" {
		d.r.errorf(e.value.at, "write version = 1, or install a tirl that reads this version", "policies of version %s are unknown", shorten(e.value.text))
	}
}

func (d *decoder) ipv6Prefix(_ string, e *entry) {
	if !d.scalar(e, unstable.Integer, "64 or 128", "") {
		return
	}
	switch e.value.text {
	case "64":
		d.policy.Knocking.IPv6Prefix = 64
	case "128":
		d.policy.Knocking.IPv6Prefix = 128
	default:
		d.r.errorf(e.value.at, "128 takes each IPv6 address for a source, 64 each network of a site", "ipv6_prefix must be 64 or 128, not %s", shorten(e.value.text))
	}
}

// enum decodes a string that must be one of a few.
func enum[T ~string](d *reader, to *T, allowed ...T) func(string, *entry) {
	return func(_ string, e *entry) {
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
		}
		if s, ok := d.choice(e, names); ok {
			*to = T(s)
		}
	}
}

// choice reads a string that must be one of a few names.
func (d *reader) choice(e *entry, names []string) (string, bool) {
	list := alternatives(names)
	if !d.scalar(e, unstable.String, list, "") {
		return "", false
	}
	for _, name := range names {
		if e.value.text == name {
			return name, true
		}
	}
	hint := "use " + list
	if near := nearest(e.value.text, names); near != "" {
		hint = fmt.Sprintf("did you mean %q? It can be %s", near, list)
	}
	d.r.errorf(e.value.at, hint, "%s cannot be %s", e.name, quote(e.value.text))
	return "", false
}

// alternatives gives "a", "b" or "c".
func alternatives(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

func (d *decoder) mode(_ string, e *entry) {
	s, ok := d.choice(e, []string{string(Guard), string(Firewall)})
	d.shape.modeBroken = !ok
	if ok {
		d.policy.Mode = Mode(s)
	}
}

func (d *decoder) backend(_ string, e *entry) {
	names := []string{BackendAuto, BackendNftables, BackendIptables}
	if e.value.kind == unstable.String && e.value.text == "bpf" {
		d.r.errorf(e.value.at, "use "+alternatives(names), "the backend \"bpf\" does not exist yet")
		return
	}
	if s, ok := d.choice(e, names); ok {
		d.policy.Backend = s
	}
}

func (d *decoder) stepTimeout(_ string, e *entry) {
	if t, ok := d.duration(e, "none", MaxStepTimeout); ok {
		d.policy.Knocking.StepTimeout = t
	} else if e.value.kind == unstable.String && e.value.text == "none" {
		d.policy.Knocking.StepTimeout = Day
		d.shape.noTimeout = e.value.at
	}
}

func (d *reader) openFor(e *entry, door *Door) {
	if t, ok := d.duration(e, "once", MaxOpenFor); ok {
		door.OpenFor = t
	} else if e.value.kind == unstable.String && e.value.text == "once" {
		door.Once, door.OpenFor = true, 0
	}
}

// duration reads a time such as "10s" or "1m30s", in the notation of Go, in
// whole milliseconds. Of the one word that the key also takes, if there is one,
// it says no without a report.
func (d *reader) duration(e *entry, word string, most time.Duration) (time.Duration, bool) {
	want := `a time such as "10s" or "1m30s"`
	if word != "" {
		want += fmt.Sprintf(", or %q", word)
	}
	hint := ""
	if e.value.kind == unstable.Integer {
		hint = fmt.Sprintf("give it a unit: \"%ss\"", shorten(e.value.text))
	}
	if !d.scalar(e, unstable.String, want, hint) {
		return 0, false
	}
	s := e.value.text
	if word != "" && s == word {
		return 0, false
	}
	t, err := time.ParseDuration(s)
	switch {
	case err != nil || len(s) > 64:
		d.r.errorf(e.value.at, durationHint(s, word, most), "%s is not %s", quote(s), want)
	case t < time.Millisecond:
		d.r.errorf(e.value.at, "", "%s must be at least 1ms, not %s", e.name, quote(s))
	case t%time.Millisecond != 0:
		d.r.errorf(e.value.at, "", "%s must be whole milliseconds, not %s", e.name, quote(s))
	case t > most:
		d.r.errorf(e.value.at, atMost(most), "%s is too long: %s", e.name, quote(s))
	default:
		return t, true
	}
	return 0, false
}

func atMost(t time.Duration) string { return fmt.Sprintf("the most is %q", FormatDuration(t)) }

// durationHint guesses what was meant: a bare number, or a unit that Go's
// notation does not have.
func durationHint(s, word string, most time.Duration) string {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz ")
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		if near := nearest(s, []string{word}); near != "" {
			return fmt.Sprintf("did you mean %q?", near)
		}
		return "the units are h, m, s and ms"
	}
	unit := time.Duration(0)
	switch strings.TrimSpace(s[len(digits):]) {
	case "", "sec", "secs", "second", "seconds":
		unit = time.Second
	case "min", "mins", "minute", "minutes":
		unit = time.Minute
	case "hour", "hours", "hr", "hrs":
		unit = time.Hour
	case "d", "day", "days":
		unit = Day
	case "w", "week", "weeks":
		unit = 7 * Day
	}
	switch t := time.Duration(n) * unit; {
	case t == 0:
		return "the units are h, m, s and ms"
	case t > most:
		return atMost(most)
	default:
		return fmt.Sprintf("write %q", FormatDuration(t))
	}
}

func (d *decoder) perSource(_ string, e *entry) {
	const want = `a rate such as "20/second"`
	hint := ""
	if e.value.kind == unstable.Integer {
		hint = fmt.Sprintf("write \"%s/second\"", shorten(e.value.text))
	}
	if !d.scalar(e, unstable.String, want, hint) {
		return
	}
	number, unit, _ := strings.Cut(e.value.text, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	switch {
	case err != nil || unit != "second" || strings.HasPrefix(number, "0") && number != "0":
		d.r.errorf(e.value.at, "write N/second with N from 1 to "+strconv.Itoa(MaxPerSource), "%s is not %s", quote(e.value.text), want)
	case n < 1 || n > MaxPerSource:
		d.r.errorf(e.value.at, "", "per_source must be from 1/second to %d/second, not %s", MaxPerSource, quote(e.value.text))
	default:
		d.policy.Knocking.PerSource = int(n)
	}
}
