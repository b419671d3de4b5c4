package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"tirl/internal/port"
)

// Bounds of what a policy may ask for.
const (
	MaxKnocks      = 16
	MaxStepTimeout = Day
	MaxOpenFor     = 30 * Day
	MaxPerSource   = 10000
	MaxSources     = 1 << 24
)

// Defaults of the keys that a policy leaves out.
const (
	defaultStepTimeout = 10 * time.Second
	defaultOpenFor     = 30 * time.Second
	defaultPerSource   = 20
	defaultSources     = 65536
)

func defaults(src *sourceText) *Policy {
	return &Policy{
		Version:  1,
		Mode:     Guard,
		Backend:  BackendAuto,
		Refuse:   Drop,
		Firewall: FirewallOptions{ICMP: true, DHCP: true},
		Knocking: Knocking{
			StepTimeout: defaultStepTimeout,
			Duplicates:  IgnoreDuplicates,
			IPv6Prefix:  128,
			PerSource:   defaultPerSource,
			Sources:     defaultSources,
		},
		Log:    Log{Events: KernelEvents},
		Boot:   Boot{OnFailure: CloseOnFailure},
		places: newPlaces(src),
	}
}

// Parse reads a policy file. The name is for messages only; nothing is opened.
//
// All that is wrong is reported at once, in the order of the file, warnings
// that need only the file included. If there is an error the policy is nil, so
// that nobody can load a part of one; otherwise it is complete, with all
// defaults filled in. The time is linear in the size of the text, and a text of
// more than MaxSize bytes is refused.
func Parse(file string, text []byte) (*Policy, Diagnostics) {
	if len(text) > MaxSize {
		return nil, tooLarge(file, len(text))
	}
	src := newSource(file, slices.Clone(text))
	p := defaults(src)
	d := &decoder{reader: reader{newReporter(src), p.places, keyHint}, policy: p}
	root := readDocument(d.r)
	d.shape = shape{cut: d.r.hasErrors(), firewall: -1, noTimeout: -1}
	d.decodeRoot(root)
	d.check()
	if d.r.hasErrors() {
		return nil, d.r.done()
	}
	d.warn()
	return d.policy, d.r.done()
}

func tooLarge(file string, size int) Diagnostics {
	return Diagnostics{{File: file, Severity: Error,
		Text: fmt.Sprintf("the file has %d bytes, more than %d", size, MaxSize)}}
}

// reader reads the tables and values that more than one kind of file has.
type reader struct {
	r      *reporter
	places *places
	// hint says what an unknown key in the table of a path was meant to be.
	hint func(path, key string, known []string) string
}

// decoder turns the tables of a policy file into a Policy.
type decoder struct {
	reader
	policy *Policy
	doors  []doorSource // beside policy.Doors
	shape  shape
}

// shape says what of the file itself matters to a check.
type shape struct {
	cut        bool     // TOML could not be read to the end: keys may be missing
	modeBroken bool     // the mode is not known
	public     []served // tcp and udp
	protocols  []value  // protocols without ports in public
	firewall   int      // offset of [firewall], -1 if there is none
	noTimeout  int      // offset of step_timeout = "none", -1 if there is none
}

// served is a range and where it is written.
type served struct {
	ports port.Range
	at    int
}

// doorSource says where the parts of a door are written.
type doorSource struct {
	name, opens, knocks, openFor, from int // offsets
	services                           []served
	steps                              []int // offsets of knocks
	prefixes                           []int // offsets of from
	users                              []userSource
	broken                             bool // knocks could not all be read
}

// field is a key that a table may have.
type field struct {
	name   string
	decode func(path string, e *entry)
}

// fields decodes a table whose keys are known.
func (d *reader) fields(path string, t *table, known []field) {
	for _, e := range t.entries {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == e.name })
		if i < 0 {
			d.unknown(path, e, known)
			continue
		}
		full := join(path, e.name)
		d.places.add(full, e)
		known[i].decode(full, e)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *reader) unknown(path string, e *entry, known []field) {
	if d.r.isFull(Error) {
		return
	}
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	where := ""
	if path != "" {
		where = " in [" + path + "]"
	}
	d.r.errorf(e.key, d.hint(path, e.name, names), "unknown key %s%s", quote(e.name), where)
}

// subtable checks that an entry is a table, and decodes it.
func (d *reader) subtable(path string, e *entry, known []field) {
	if t := d.wantTable(e, "["+path+"]"); t != nil {
		d.fields(path, t, known)
	}
}

func (d *reader) wantTable(e *entry, form string) *table {
	switch {
	case e.table == nil:
		d.r.errorf(e.value.at, "write "+form+" on a line of its own, and its keys below it", "%s is a table, not %s", e.name, kindName(e.value.kind))
		return nil
	case e.table.origin == elements:
		d.r.errorf(e.key, "write "+form, "%s is a table, not an array of tables", e.name)
		return nil
	}
	return e.table
}

func (d *decoder) decodeRoot(root *table) {
	p := d.policy
	d.fields("", root, []field{
		{"version", d.version},
		{"mode", d.mode},
		{"backend", d.backend},
		{"public", d.public},
		{"trust", d.trust},
		{"refuse", enum(&d.reader, &p.Refuse, Drop, Reset)},
		{"firewall", func(path string, e *entry) {
			d.shape.firewall = e.key
			d.subtable(path, e, []field{
				{"icmp", d.boolean(&p.Firewall.ICMP)},
				{"dhcp", d.boolean(&p.Firewall.DHCP)},
			})
		}},
		{"knocking", func(path string, e *entry) {
			d.subtable(path, e, []field{
				{"step_timeout", d.stepTimeout},
				{"duplicates", enum(&d.reader, &p.Knocking.Duplicates, IgnoreDuplicates, ResetDuplicates)},
				{"match_ttl", d.boolean(&p.Knocking.MatchTTL)},
				{"ipv6_prefix", d.ipv6Prefix},
				{"per_source", d.perSource},
				{"sources", d.integer(&p.Knocking.Sources, 1, MaxSources)},
			})
		}},
		{"log", func(path string, e *entry) {
			d.subtable(path, e, []field{
				{"events", enum(&d.reader, &p.Log.Events, KernelEvents, NflogEvents, NoEvents)},
			})
		}},
		{"boot", func(path string, e *entry) {
			d.subtable(path, e, []field{
				{"on_failure", enum(&d.reader, &p.Boot.OnFailure, CloseOnFailure, OpenOnFailure)},
			})
		}},
		{"door", d.decodeDoors},
	})
}

func (d *decoder) decodeDoors(path string, e *entry) {
	t := d.wantTable(e, "[door.NAME]")
	if t == nil {
		return
	}
	for _, e := range t.entries {
		full := join(path, e.name)
		if hint := nameHint(e.name); hint != "" {
			d.r.errorf(e.key, hint, "%s is no name for a door", quote(e.name))
		}
		table := d.wantTable(e, "[door.NAME]")
		if table == nil {
			continue
		}
		d.places.add(full, e)
		d.decodeDoor(full, e, table)
	}
}

func (d *decoder) decodeDoor(path string, e *entry, t *table) {
	door := Door{Name: e.name, OpenFor: defaultOpenFor}
	at := doorSource{name: e.key, opens: -1, knocks: -1, openFor: -1, from: -1}
	d.fields(path, t, []field{
		{"opens", func(path string, e *entry) {
			at.opens = e.value.at
			at.services = d.services(path, e)
			for _, s := range at.services {
				door.Opens = append(door.Opens, s.ports)
			}
		}},
		{"knocks", func(path string, e *entry) {
			at.knocks = e.value.at
			door.Knocks, at.steps, at.broken = d.knocks(path, e)
		}},
		{"open_for", func(path string, e *entry) {
			at.openFor = e.value.at
			d.openFor(e, &door)
		}},
		{"from", func(path string, e *entry) {
			at.from = e.value.at
			door.From, at.prefixes = d.prefixes(path, e)
		}},
		{"users", func(path string, e *entry) { door.Users, at.users = d.users(path, e) }},
	})
	name := quote(e.name)
	if at.opens < 0 && !d.shape.cut {
		d.r.errorf(e.key, `say which service it hides, such as opens = ["tcp/22"]`, "door %s has no opens", name)
	}
	if _, has := t.index["users"]; at.knocks < 0 && !d.shape.cut && (!has || t.index["users"].table != nil && len(door.Users) == 0) {
		d.r.errorf(e.key, `say what opens it, such as knocks = ["udp/40213", "udp/7719", "udp/28816"], with ports of your own`, "door %s has no knocks", name)
	}
	d.policy.Doors = append(d.policy.Doors, door)
	d.doors = append(d.doors, at)
}

// maxName bounds a door's name: it becomes part of the names of chains and sets.
const maxName = 32

// nameHint is empty if a door may have the name.
func nameHint(name string) string {
	const hint = "use a lower case letter or digit, then up to 31 of a-z, 0-9, _ and -"
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || i > 0 && (c == '_' || c == '-')) {
			return hint
		}
	}
	if name == "" || len(name) > maxName {
		return hint
	}
	return ""
}

// kindName says what a value is, for people.
func kindName(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Integer:
		return "an integer"
	case unstable.Float:
		return "a floating point number"
	case unstable.Bool:
		return "a boolean"
	case unstable.Array:
		return "an array"
	case unstable.InlineTable, unstable.Table:
		return "a table"
	case unstable.ArrayTable:
		return "an array of tables"
	}
	return "a date or time"
}

// quote shows a string from the file in a message: escaped, and cut if long.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
