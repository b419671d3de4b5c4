package verify

import (
	"encoding/binary"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// Load puts values of users into the sets of the pool, as the host does. The simulator is
// of a ruleset that has no such sets: then nothing happens.
func (s *Simulator) Load(g *automaton.Program, values []automaton.Value) {
	if s.values == nil {
		s.values = make(map[int]map[string]uint32)
	}
	sets := make(map[string]int)
	for i, set := range s.rs.Sets {
		sets[set.Name[strings.LastIndexByte(set.Name, ' ')+1:]] = i
	}
	put := func(name, key string, value uint32) {
		set, ok := sets[name]
		switch {
		case !ok:
		case s.rs.Sets[set].Dynamic:
			s.sets[set][key] = &entryOf{}
		default:
			if s.values[set] == nil {
				s.values[set] = make(map[string]uint32)
			}
			s.values[set][key] = value
		}
	}
	number := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	step := func(at uint32, k port.Port) string {
		return number(at) + number(uint32(k.Proto)) + number(uint32(k.Number))
	}
	for _, v := range values {
		id := g.Users[v.User].ID
		if v.Knocks == nil {
			put("token", string(v.Token[:]), 0)
			put("holder", string(v.Token[:]), id)
			continue
		}
		at, last := id, len(v.Knocks)-1
		for depth := 2; depth <= last; depth++ {
			next := automaton.PathPlace(v.Serial, depth)
			put("path", step(at, v.Knocks[depth-1]), next)
			at = next
		}
		put("last", step(at, v.Knocks[last]), 0)
		put("ends", number(at), id)
	}
}
