package nftables

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// listing is what nft prints of a table, cut into its objects.
type listing struct {
	objects []object
}

// object is one set, map or chain of a listing.
type object struct {
	kind     string // "set", "map" or "chain"
	name     string
	body     []string // its lines, without elements
	elements []string // each as nft prints it, such as "10.0.0.2 timeout 30s expires 9s : 0:1"
}

// parseListing reads the output of nft list table. It knows the shape of a
// listing, not the grammar of rules: an object begins on a line of one tab and
// ends at a brace on another; its elements stand between braces.
func parseListing(text string) (*listing, error) {
	var l listing
	var open *object
	var elements []string // lines between braces
	inElements := false
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case inElements:
			elements = append(elements, trimmed)
		case open == nil && strings.HasPrefix(line, "\t") && strings.HasSuffix(trimmed, "{"):
			words := strings.Fields(trimmed)
			if len(words) != 3 {
				return nil, fmt.Errorf("line %d of the listing: %q is no object", i+1, trimmed)
			}
			l.objects = append(l.objects, object{kind: words[0], name: words[1]})
			open = &l.objects[len(l.objects)-1]
		case open == nil:
		case line == "\t}":
			open = nil
		case strings.HasPrefix(trimmed, "elements = {"):
			elements = []string{strings.TrimPrefix(trimmed, "elements = {")}
			inElements = true
		default:
			open.body = append(open.body, trimmed)
		}
		if inElements && strings.HasSuffix(trimmed, "}") {
			open.elements = splitElements(strings.TrimSuffix(strings.Join(elements, " "), "}"))
			inElements = false
		}
	}
	if open != nil {
		return nil, fmt.Errorf("the listing ends inside %s %s", open.kind, open.name)
	}
	return &l, nil
}

// print writes a listing again, without what packets and administrators put into
// sets.
func (l *listing) print() string {
	var w writer
	w.line("table %s {", table)
	for i := range l.objects {
		o := &l.objects[i]
		w.line("\t%s %s {", o.kind, o.name)
		for _, line := range o.body {
			w.line("\t\t%s", line)
		}
		if len(o.elements) > 0 && !o.dynamic() && o.name != blockedSet {
			w.line("\t\telements = { %s }", strings.Join(o.elements, ", "))
		}
		w.line("\t}")
	}
	w.line("}")
	return w.String()
}

// splitElements cuts a list of elements at its commas. No element of ours holds
// a comma of its own.
func splitElements(s string) []string {
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

// find gives the named object, or nil.
func (l *listing) find(name string) *object {
	if l == nil {
		return nil
	}
	for i := range l.objects {
		if l.objects[i].name == name {
			return &l.objects[i]
		}
	}
	return nil
}

// element is one entry of a dynamic set: its key, its value, how long it has.
type element struct {
	key   []string
	value string // "" in a set
	left  time.Duration
}

// parseElement reads KEY[ . KEY...] [limit ...] [timeout T] [expires T][ : VALUE].
func parseElement(s string) (element, error) {
	e := element{left: -1}
	head, value, isMap := strings.Cut(s, " : ")
	if isMap {
		e.value = strings.TrimSpace(value)
	}
	words := strings.Fields(head)
	i := 0
	for ; i < len(words); i++ {
		switch words[i] {
		case ".":
			continue
		case "timeout", "expires", "limit":
		default:
			e.key = append(e.key, words[i])
			continue
		}
		break
	}
	for ; i+1 < len(words); i++ {
		if words[i] != "expires" {
			continue
		}
		left, err := parseSpan(words[i+1])
		if err != nil {
			return element{}, fmt.Errorf("element %q: %w", s, err)
		}
		e.left = left
	}
	if len(e.key) == 0 {
		return element{}, fmt.Errorf("element %q has no key", s)
	}
	return e, nil
}

// source reads the address that a key begins with, and the TTL if it has one.
func (e element) source(withTTL bool) (netip.Addr, uint8, error) {
	addr, err := parseSource(e.key[0])
	if err != nil || !withTTL {
		return addr, 0, err
	}
	if len(e.key) < 2 {
		return addr, 0, fmt.Errorf("the key %v has no TTL", e.key)
	}
	ttl, err := strconv.ParseUint(e.key[1], 10, 8)
	if err != nil {
		return addr, 0, fmt.Errorf("read the TTL: %w", err)
	}
	return addr, uint8(ttl), nil
}

// parseSource reads an address, or the upper half of one as a number, which is
// how nft prints a raw payload.
func parseSource(s string) (netip.Addr, error) {
	hex, isNumber := strings.CutPrefix(s, "0x")
	if !isNumber {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("read a source: %w", err)
		}
		return addr, nil
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read a source: %w", err)
	}
	var b [16]byte
	for i := range 8 {
		b[i] = byte(n >> (56 - 8*i))
	}
	return netip.AddrFrom16(b), nil
}
