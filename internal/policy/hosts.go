package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/port"
)

// Hosts is a client's file: the hosts that somebody knocks at, in its order.
type Hosts []Remote

// Remote is a host as its clients know it.
type Remote struct {
	Name      string
	Names     []string     // further names that stand for it
	Addresses []netip.Addr // where it is
	Lookups   []string     // names that a resolver is to be asked for; mostly none
	Delay     time.Duration
	Doors     []Door // without From: that is the server's business
}

// MaxDelay bounds the time between two knocks.
const MaxDelay = time.Minute

// Find gives the host that a name or an address stands for.
func (h Hosts) Find(name string) (Remote, bool) {
	addr, err := netip.ParseAddr(name)
	for _, r := range h {
		isName := func(s string) bool { return strings.EqualFold(s, name) }
		if isName(r.Name) || slices.ContainsFunc(r.Names, isName) || err == nil && slices.Contains(r.Addresses, addr) {
			return r, true
		}
	}
	return Remote{}, false
}

// Door gives a door by its name.
func (r Remote) Door(name string) (Door, bool) {
	i := slices.IndexFunc(r.Doors, func(d Door) bool { return d.Name == name })
	if i < 0 {
		return Door{}, false
	}
	return r.Doors[i], true
}

// DoorOf gives the first door that opens a port.
func (r Remote) DoorOf(p port.Port) (Door, bool) {
	i := slices.IndexFunc(r.Doors, func(d Door) bool {
		return slices.ContainsFunc(d.Opens, func(s port.Range) bool { return s.Contains(p) })
	})
	if i < 0 {
		return Door{}, false
	}
	return r.Doors[i], true
}

// ParseHosts reads a hosts file as Parse reads a policy: strictly, and with all
// mistakes at once. If there is an error it gives no hosts.
func ParseHosts(file string, text []byte) (Hosts, Diagnostics) {
	if len(text) > MaxSize {
		return nil, tooLarge(file, len(text))
	}
	src := newSource(file, slices.Clone(text))
	d := &hostsDecoder{reader: reader{newReporter(src), newPlaces(src), hostsKeyHint}, named: map[string]int{}}
	root := readDocument(d.r)
	d.cut = d.r.hasErrors()
	d.fields("", root, []field{{"host", d.decodeHosts}})
	if d.r.hasErrors() {
		return nil, d.r.done()
	}
	return d.hosts, d.r.done()
}

// hostsKeyHint says what an unknown key was meant to be.
func hostsKeyHint(path, key string, known []string) string {
	if path == "" {
		return "a host is written [host.NAME]"
	}
	if near := nearest(key, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "the keys are " + strings.Join(known, ", ")
}

type hostsDecoder struct {
	reader
	hosts Hosts
	named map[string]int // offset of each name of a host, in lower case
	cut   bool           // TOML could not be read to the end
}

func (d *hostsDecoder) decodeHosts(path string, e *entry) {
	t := d.wantTable(e, "[host.NAME]")
	if t == nil {
		return
	}
	for _, e := range t.entries {
		d.name(e.name, e.key)
		if table := d.wantTable(e, "[host.NAME]"); table != nil {
			d.decodeHost(join(path, e.name), e, table)
		}
	}
}

// name checks a name of a host, and that no other host has it.
func (d *hostsDecoder) name(name string, at int) {
	if !isHostName(name) {
		d.r.errorf(at, "letters, digits, dots, - and _; a name with a dot is quoted: [host.\"www.example.com\"]", "%s is no name for a host", quote(name))
		return
	}
	lower := strings.ToLower(name)
	if first, ok := d.named[lower]; ok {
		d.r.errorf(at, "give each host names of its own", "%s is a name of a host on line %d already", quote(name), d.line(first))
		return
	}
	d.named[lower] = at
}

// isHostName takes what DNS, ssh and address literals need, and nothing that a
// program could take for an option or a path.
func isHostName(s string) bool {
	const longest = 253 // RFC 1035, section 2.3.4
	if s == "" || len(s) > longest || s[0] == '-' || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isBare(c) && c != '.' && c != ':' && c != '%' {
			return false
		}
	}
	return true
}

func (d *hostsDecoder) decodeHost(path string, e *entry, t *table) {
	h := Remote{Name: e.name}
	resolve, addresses := false, false
	var lookups []value
	d.fields(path, t, []field{
		{"names", func(_ string, e *entry) {
			d.words(e, `["www.example.com"]`, func(v value) {
				d.name(v.text, v.at)
				h.Names = append(h.Names, v.text)
			})
		}},
		{"addresses", func(_ string, e *entry) {
			addresses = true
			if d.words(e, `["192.0.2.7", "2001:db8::7"]`, func(v value) { d.address(v, &h, &lookups) }) && len(e.value.elems) == 0 {
				d.r.errorf(e.value.at, "", "addresses is empty")
			}
		}},
		{"resolve", d.boolean(&resolve)},
		{"delay", func(_ string, e *entry) { h.Delay, _ = d.duration(e, "", MaxDelay) }},
		{"door", func(path string, e *entry) { h.Doors = d.decodeDoors(path, e) }},
	})
	for _, v := range lookups {
		if !resolve {
			d.r.errorf(v.at, "write the address, or add resolve = true", "%s is no address, and whoever answers for its name would be handed the knocks", quote(v.text))
		}
		h.Lookups = append(h.Lookups, v.text)
	}
	switch {
	case resolve && len(lookups) == 0:
		h.Lookups = []string{h.Name}
	case !resolve && !addresses && !d.cut:
		d.r.errorf(e.key, `say where it is, such as addresses = ["192.0.2.7", "2001:db8::7"]`, "host %s has no addresses", quote(h.Name))
	}
	d.hosts = append(d.hosts, h)
}

// address reads an address, or a name to look one up.
func (d *hostsDecoder) address(v value, h *Remote, lookups *[]value) {
	a, err := netip.ParseAddr(v.text)
	switch {
	case err != nil && strings.Contains(v.text, "/"):
		d.r.errorf(v.at, "one address, without a prefix length", "%s is a network", quote(v.text))
	case err != nil && (!isHostName(v.text) || strings.Contains(v.text, ":")):
		d.r.errorf(v.at, `write an address such as "192.0.2.7" or "2001:db8::7"`, "%s is no address", quote(v.text))
	case err != nil:
		*lookups = append(*lookups, v)
	case a.Is4In6():
		d.r.errorf(v.at, fmt.Sprintf("write %q", a.Unmap()), "%s is an IPv4 address written as an IPv6 one", quote(v.text))
	case a.IsUnspecified() || a.IsMulticast():
		d.r.errorf(v.at, "", "%s is the address of no host", quote(v.text))
	case !d.again(v, slices.Contains(h.Addresses, a)):
		h.Addresses = append(h.Addresses, a)
	}
}

func (d *hostsDecoder) decodeDoors(path string, e *entry) (doors []Door) {
	t := d.wantTable(e, "["+path+".NAME]")
	if t == nil {
		return nil
	}
	for _, e := range t.entries {
		if hint := nameHint(e.name); hint != "" {
			d.r.errorf(e.key, hint, "%s is no name for a door", quote(e.name))
		}
		full := join(path, e.name)
		if t := d.wantTable(e, "["+full+"]"); t != nil {
			doors = append(doors, d.decodeDoor(full, e, t))
		}
	}
	return doors
}

func (d *hostsDecoder) decodeDoor(path string, e *entry, t *table) Door {
	door := Door{Name: e.name, OpenFor: defaultOpenFor}
	opens, knocks := false, -1
	keys, complete := d.credential()
	d.fields(path, t, append([]field{
		{"opens", func(path string, e *entry) {
			opens = true
			for _, s := range d.services(path, e) {
				door.Opens = append(door.Opens, s.ports)
			}
		}},
		{"knocks", func(path string, e *entry) {
			knocks = e.key
			door.Knocks, _, _ = d.knocks(path, e)
		}},
		{"open_for", func(_ string, e *entry) { d.openFor(e, &door) }},
	}, keys...))
	complete(&door, e.key)
	if !opens && !d.cut {
		d.r.errorf(e.key, `say which service it hides, such as opens = ["tcp/22"]`, "door %s has no opens", quote(e.name))
	}
	oneTime := slices.ContainsFunc(keys, func(f field) bool { return t.find(f.name) != nil })
	switch {
	case oneTime && knocks >= 0:
		d.r.errorf(knocks, "write another door for them", "door %s is opened by values that work once, not by knocks", quote(e.name))
	case !oneTime && knocks < 0 && !d.cut:
		d.r.errorf(e.key, "ask the host's administrator for them: tirl export "+e.name, "door %s has no knocks", quote(e.name))
	}
	return door
}
