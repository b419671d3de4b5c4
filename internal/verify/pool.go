package verify

import (
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// Users' values are data that come and go while the rules stay, so that no proof can
// go through those of a host. Values of a kind have one shape, and differ by numbers that
// rules only compare: what holds of a few samples holds of all. The sets that hold
// values are filled with samples, in each condition that a value can be in.

// condition is what the kernel's sets say of a value. Values change from one to another;
// a proof begins every packet with all of them, and sees that the packet that completes a
// live value leaves it gone, and that no other packet changes any.
type condition uint8

const (
	isLive      condition = iota
	isGone                // spent: noted, and taken out
	isDoubled             // noted, but not taken out yet: another CPU is about to
	isContended           // another CPU notes it right after this one has looked
	isCrowded             // there is no room to note it
	conditions
)

// poolRole is what a set of the pool holds.
type poolRole uint8

const (
	noRole     poolRole = iota
	liveTokens          // token
	noteTokens          // spent_token
	livePaths           // last
	notePaths           // spent_path
)

// Classes of what a datagram carries: nothing of a token's length, something of
// that length that is no token, and then each sample token in each condition.
const (
	shortData = iota
	otherData
	firstToken
)

// pool is what stands for the values of all users.
type pool struct {
	tokens    []int // users whose token is a sample: one for each door
	paths     []samplePath
	condition map[uint32]condition // of sequences, by the place before the last knock
	roles     map[int]poolRole     // by set
	plain     *ruleset.Ruleset     // the rules without samples
}

// samplePath is a sequence of a user in one condition.
type samplePath struct {
	user   int
	is     condition
	knocks []port.Port
	serial uint32
}

func (p *pool) classes() int { return firstToken + len(p.tokens)*int(conditions) }

// class is that of a sample token in a condition.
func class(token int, is condition) int { return firstToken + token*int(conditions) + int(is) }

// carriers gives the classes of data with sample tokens in some conditions.
func (p *pool) carriers(in ...condition) bitset {
	b := newBitset(p.classes())
	for i := range p.tokens {
		for _, is := range in {
			b.add(class(i, is))
		}
	}
	return b
}

// has says whether a set holds values.
func (p *pool) has(set int) bool { return p.roles[set] != noRole }

// withSamples gives a ruleset whose pool holds samples.
func withSamples(g *automaton.Program, rs *ruleset.Ruleset) (*ruleset.Ruleset, *pool, error) {
	p := &pool{condition: make(map[uint32]condition), roles: make(map[int]poolRole), plain: rs}
	doors := make(map[int]bool)
	for i, u := range g.Users {
		if u.Kind == policy.Token && !doors[u.Door] {
			doors[u.Door] = true
			p.tokens = append(p.tokens, i)
		}
	}
	p.samplePaths(g)
	out := *rs
	out.Sets = slices.Clone(rs.Sets)
	if len(g.Users) == 0 {
		return &out, p, nil
	}
	for i := range out.Sets {
		p.fill(g, i, &out.Sets[i])
	}
	return &out, p, p.alike(g, rs)
}

// number is a range of one number.
func number32(n uint32) ruleset.Range { return ruleset.Range{First: n, Last: n} }

func portFields(k port.Port) []ruleset.Range {
	return []ruleset.Range{number32(uint32(k.Proto)), number32(uint32(k.Number))}
}

// fill puts samples into a set of the pool, which is known by its name.
func (p *pool) fill(g *automaton.Program, set int, s *ruleset.Set) {
	name := s.Name[strings.LastIndexByte(s.Name, ' ')+1:]
	var elements []ruleset.Element
	add := func(value uint32, key ...ruleset.Range) {
		elements = append(elements, ruleset.Element{Key: key, Value: value})
	}
	token := func(is ...condition) {
		for i, user := range p.tokens {
			for _, c := range is {
				add(g.Users[user].ID, number32(uint32(class(i, c))))
			}
		}
	}
	path := func(each func(s samplePath, id, last uint32)) {
		for _, s := range p.paths {
			each(s, g.Users[s.user].ID, automaton.PathPlace(s.serial, len(s.knocks)-1))
		}
	}
	switch name {
	case "token":
		p.roles[set] = liveTokens
		token(isLive, isDoubled, isContended, isCrowded)
	case "holder":
		token(isLive, isGone, isDoubled, isContended, isCrowded)
	case "spent_token":
		p.roles[set] = noteTokens
		token(isGone, isDoubled)
	case "last":
		p.roles[set] = livePaths
		path(func(s samplePath, _, last uint32) {
			if s.is != isGone {
				add(0, append([]ruleset.Range{number32(last)}, portFields(s.knocks[len(s.knocks)-1])...)...)
			}
		})
	case "spent_path":
		p.roles[set] = notePaths
		path(func(s samplePath, _, last uint32) {
			if s.is == isGone || s.is == isDoubled {
				add(0, number32(last))
			}
		})
	case "path":
		path(func(s samplePath, at, _ uint32) {
			for depth := 2; depth < len(s.knocks); depth++ {
				next := automaton.PathPlace(s.serial, depth)
				add(next, append([]ruleset.Range{number32(at)}, portFields(s.knocks[depth-1])...)...)
				at = next
			}
		})
	case "ends":
		path(func(_ samplePath, id, last uint32) { add(id, number32(last)) })
	default:
		return
	}
	s.Elements = elements
}

// samplePaths gives every user of sequences one in each condition, at ports that
// nothing else has to do with, and one at ports that others have to do with too.
func (p *pool) samplePaths(g *automaton.Program) {
	free := freePorts(g)
	others := otherFirsts(g)
	for user, u := range g.Users {
		if u.Kind != policy.Sequence {
			continue
		}
		add := func(is condition, knocks []port.Port) {
			s := samplePath{user, is, knocks, uint32(len(p.paths))}
			p.paths = append(p.paths, s)
			p.condition[automaton.PathPlace(s.serial, u.Length-1)] = is
		}
		for is := range conditions {
			knocks := []port.Port{u.First, free[is]}
			add(is, append(knocks, free[conditions:int(conditions)+u.Length-2]...))
		}
		odd := []port.Port{u.First, free[len(free)-1]}
		for _, k := range others {
			if k.Proto == port.UDP && k != u.First {
				odd[1] = k
				break
			}
		}
		for len(odd) < u.Length {
			next := u.First
			if next.Proto != port.UDP || len(odd) == 4 {
				next = odd[1]
			}
			odd = append(odd, next)
		}
		add(isLive, odd)
	}
}

// freePorts are UDP ports that the policy does not name.
func freePorts(g *automaton.Program) []port.Port {
	taken := map[port.Port]bool{}
	for _, d := range g.Doors {
		for _, k := range d.Knocks {
			taken[k] = true
		}
	}
	for _, u := range g.Users {
		taken[u.First] = true
	}
	services := append(slices.Clone(g.Public), g.Hidden()...)
	var free []port.Port
	for n := uint16(65000); len(free) < int(conditions)+policy.MaxLength && n > 1024; n-- {
		k := port.Port{Proto: port.UDP, Number: n}
		if !taken[k] && !slices.ContainsFunc(services, func(r port.Range) bool { return r.Contains(k) }) {
			free = append(free, k)
		}
	}
	return free
}

// otherFirsts are the first knocks of doors and users.
func otherFirsts(g *automaton.Program) []port.Port {
	var all []port.Port
	for _, d := range g.Doors {
		if len(d.Knocks) > 0 {
			all = append(all, d.Knocks[0])
		}
	}
	for _, u := range g.Users {
		if u.Kind == policy.Sequence {
			all = append(all, u.First)
		}
	}
	return all
}

// alike sees that users whose tokens are no samples are in the same sets as the one
// that stands for them, with the same values: what holds of one holds of the other.
func (p *pool) alike(g *automaton.Program, rs *ruleset.Ruleset) error {
	type mention struct{ set, field, value int }
	ids := make(map[uint32][]mention)
	for _, u := range g.Users {
		ids[u.ID] = nil
	}
	for set, s := range rs.Sets {
		for _, e := range s.Elements {
			for field, r := range e.Key {
				if _, ok := ids[r.First]; ok && !r.Prefix.IsValid() {
					ids[r.First] = append(ids[r.First], mention{set, field, int(e.Value)})
				}
			}
		}
	}
	for _, sample := range p.tokens {
		for i, u := range g.Users {
			same := u.Kind == policy.Token && u.Door == g.Users[sample].Door
			if same && !slices.Equal(ids[u.ID], ids[g.Users[sample].ID]) {
				return &ruleset.UnknownError{What: "user " + g.Doors[u.Door].Name + "/" + g.Users[i].Name + " and " + g.Users[sample].Name + " are not in the same sets"}
			}
		}
	}
	return nil
}
