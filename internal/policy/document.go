package policy

import (
	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is a TOML text as tables of entries, with the byte offset of each
// key and value. The library's parser reads the syntax. That no key is defined
// twice is checked here, since the library's own check looks through all keys
// for each key, and stops at the first mistake.
type document struct {
	r       *reporter
	root    *table
	current *table // that the last header names
}

// origin says what defined a table, and with that what may add to it.
type origin int

const (
	implied  origin = iota // a step on the way of a longer header
	header                 // [its own]: a second one is an error
	dotted                 // a dotted key: only other dotted keys may add
	inline                 // { }: closed
	elements               // [[ ]]: an array of tables
)

// table has its entries in the order of the text.
type table struct {
	origin  origin
	entries []*entry
	index   map[string]*entry
}

// entry is a key and what it stands for: a value or a table.
type entry struct {
	name  string
	key   int // offset of the key
	value value
	table *table // instead of a value; for an inline table beside it
}

// value is a TOML value.
type value struct {
	kind  unstable.Kind
	at    int     // offset; below 0 where the parser does not tell
	text  string  // a string's content, or another scalar as it is written
	elems []value // of an array
}

func (t *table) find(name string) *entry { return t.index[name] }

func (t *table) add(e *entry) *entry {
	if t.index == nil {
		t.index = map[string]*entry{}
	}
	t.index[e.name] = e
	t.entries = append(t.entries, e)
	return e
}

// readDocument reads the whole text and reports syntax errors and double
// definitions.
func readDocument(r *reporter) *table {
	d := document{r: r, root: &table{origin: header}}
	d.current = d.root
	expressions(r, false, func(p *unstable.Parser, offset int) {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			d.header(e, offset)
		case unstable.KeyValue:
			d.keyValue(d.current, e, offset)
		}
	}, d.detach)
	return d.root
}

// header enters a [table] or [[table]].
func (d *document) header(e *unstable.Node, offset int) {
	t := d.root
	it := e.Key()
	for it.Next() {
		name, at := string(it.Node().Data), offset+int(it.Node().Raw.Offset)
		known := t.find(name)
		if !it.IsLast() {
			switch {
			case known == nil:
				known = t.add(&entry{name: name, key: at, table: &table{origin: implied}})
			case known.table == nil || known.table.origin == inline:
				d.twice(name, at, known)
				d.detach()
				return
			}
			t = known.table
			continue
		}
		want := header
		if e.Kind == unstable.ArrayTable {
			want = elements
		}
		switch {
		case known == nil:
			known = t.add(&entry{name: name, key: at, table: &table{origin: want}})
		case want == elements && known.table != nil && known.table.origin == elements:
			// Another element. What arrays of tables hold is never read.
			d.detach()
			return
		case want == header && known.table != nil && known.table.origin == implied:
			known.table.origin = header
			known.key = at
		default:
			d.twice(name, at, known)
			d.detach()
			return
		}
		d.current = known.table
	}
}

// detach lets the keys below a header that was refused be read, but not be
// counted for anything.
func (d *document) detach() { d.current = &table{origin: header} }

// keyValue enters key = value, where key may be dotted, into a table.
func (d *document) keyValue(t *table, e *unstable.Node, offset int) {
	it := e.Key()
	for it.Next() {
		key := it.Node()
		name, at := string(key.Data), offset+int(key.Raw.Offset)
		known := t.find(name)
		if it.IsLast() {
			if known != nil {
				d.twice(name, at, known)
				return
			}
			added := t.add(&entry{name: name, key: at})
			added.value = d.value(e.Value(), offset, offset+int(key.Raw.Offset+key.Raw.Length))
			if e.Value().Kind == unstable.InlineTable {
				added.table = d.inline(e.Value(), offset)
			}
			return
		}
		switch {
		case known == nil:
			known = t.add(&entry{name: name, key: at, table: &table{origin: dotted}})
		case known.table == nil || known.table.origin != dotted:
			d.twice(name, at, known)
			return
		}
		t = known.table
	}
}

func (d *document) inline(v *unstable.Node, offset int) *table {
	t := &table{origin: inline}
	for it := v.Children(); it.Next(); {
		d.keyValue(t, it.Node(), offset)
	}
	return t
}

// value converts a value that stands after an offset, with nothing but blanks,
// commas, comments and an equals sign between.
func (d *document) value(n *unstable.Node, offset, after int) value {
	v := value{kind: n.Kind}
	switch n.Kind {
	case unstable.Array:
		v.at = skip(d.r.src.text, after)
		after = v.at + 1
		for it := n.Children(); it.Next(); {
			child := it.Node()
			elem := value{kind: child.Kind, at: -1}
			switch {
			case child.Kind == unstable.InlineTable:
				elem.at, after = offset+int(child.Raw.Offset), -1
				d.inline(child, offset)
			case child.Kind == unstable.Array:
				// Where an array ends the parser does not tell, so what comes
				// after it has no position, unless the parser gives it one.
				elem, after = d.nested(child, offset, after), -1
			default:
				elem = d.value(child, offset, after)
				after = offset + int(child.Raw.Offset+child.Raw.Length)
			}
			v.elems = append(v.elems, elem)
		}
	default:
		v.at = offset + int(n.Raw.Offset)
		if n.Kind != unstable.InlineTable {
			v.text = string(n.Data)
		}
	}
	return v
}

// nested is for an array in an array, which no key of a policy takes: only its
// position matters, and that no inline table in it has a key twice.
func (d *document) nested(n *unstable.Node, offset, after int) value {
	v := value{kind: unstable.Array, at: -1}
	if after >= 0 {
		v.at = skip(d.r.src.text, after)
	}
	for it := n.Children(); it.Next(); {
		switch child := it.Node(); child.Kind {
		case unstable.InlineTable:
			d.inline(child, offset)
		case unstable.Array:
			d.nested(child, offset, -1)
		}
	}
	return v
}

// skip gives the offset of the next byte that is not a blank, a comma, an
// equals sign or part of a comment.
func skip(text []byte, at int) int {
	for at < len(text) {
		switch text[at] {
		case ' ', '\t', '\r', '\n', ',', '=':
			at++
		case '#':
			at = nextLine(text, at)
		default:
			return at
		}
	}
	return at
}

func (d *document) twice(name string, at int, known *entry) {
	pos := d.r.src.position(known.key)
	d.r.errorf(at, "give it once, or give one of them another name", "%s is defined already, on line %d", quote(name), pos.Line)
}
