package policy

import (
	"strconv"
	"strings"
)

// places remembers where a policy's keys are written.
type places struct {
	src  *sourceText
	keys map[string]place
}

type place struct {
	at    int   // offset of the value; of a table, its name
	elems []int // offsets of an array's elements
}

func newPlaces(src *sourceText) *places {
	return &places{src: src, keys: map[string]place{}}
}

func (ps *places) add(path string, e *entry) {
	at := place{at: e.value.at}
	if e.table != nil {
		at.at = e.key
	}
	for _, v := range e.value.elems {
		at.elems = append(at.elems, v.at)
	}
	ps.keys[path] = at
}

// Position finds the value that a key path such as "knocking.step_timeout" or
// "door.ssh.knocks[2]" names; of a key that the file does not have, the nearest
// table above it. It gives the zero Position if there is none, and for a policy
// that Parse did not make.
func (p *Policy) Position(path string) Position {
	if p.places == nil {
		return Position{}
	}
	for path != "" {
		key, index := cutIndex(path)
		if at, ok := p.places.keys[key]; ok {
			if 0 <= index && index < len(at.elems) {
				return p.places.src.position(at.elems[index])
			}
			return p.places.src.position(at.at)
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return Position{}
}

// Has says whether the file gives a key, by its path such as "boot.on_failure".
// A policy that Parse did not make has none.
func (p *Policy) Has(path string) bool {
	if p.places == nil {
		return false
	}
	_, ok := p.places.keys[path]
	return ok
}

// cutIndex splits knocks[2]; without an index it gives -1.
func cutIndex(path string) (key string, index int) {
	if !strings.HasSuffix(path, "]") {
		return path, -1
	}
	open := strings.LastIndexByte(path, '[')
	if open < 0 {
		return path, -1
	}
	n, err := strconv.Atoi(path[open+1 : len(path)-1])
	if err != nil {
		return path, -1
	}
	return path[:open], n
}

// Diagnose makes a diagnostic at the value that a key path names, as Position
// finds it: for those who know a policy's problems but not its file.
func (p *Policy) Diagnose(path string, severity Severity, text, hint string) Diagnostic {
	if p.places == nil {
		return Diagnostic{Severity: severity, Text: text, Hint: hint}
	}
	return p.places.src.diagnostic(p.Position(path), severity, text, hint)
}
