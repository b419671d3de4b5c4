package verify

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/verify/ruleset"
)

// Simulator carries out a ruleset packet by packet, with real times, as the kernel
// does. It forgets nothing for lack of room. It is what a counterexample is tried
// on, and what ties the verifier's reading of a ruleset to the kernel's: all
// vectors pass it.
type Simulator struct {
	rs     *ruleset.Ruleset
	at     time.Duration
	sets   []map[string]*entryOf
	hashes map[string]map[string]*tokens
	global map[ruleset.Limit]*tokens
	values map[int]map[string]uint32 // what was loaded into sets that packets do not change

	p    automaton.Packet
	reg  uint32
	set  bool // the packet's register was written
	line int
	bad  error
}

// entryOf is an element that packets have put in.
type entryOf struct {
	value uint32
	ends  time.Duration // 0: never
	marks []time.Duration
	ttl   uint8
	limit *tokens
}

// maxMarks is how many marks a list of the recent match keeps of a source
// (ip_pkt_list_tot).
const maxMarks = 20

// Judgement is what a ruleset made of a packet.
type Judgement struct {
	Verdict string // as automaton.Verdict, or what it is instead
	Line    int    // of the rule that decided; 0: a policy of a chain
}

// NewSimulator starts with all dynamic sets empty.
func NewSimulator(rs *ruleset.Ruleset) *Simulator {
	s := &Simulator{rs: rs, hashes: make(map[string]map[string]*tokens), global: make(map[ruleset.Limit]*tokens)}
	for range rs.Sets {
		s.sets = append(s.sets, make(map[string]*entryOf))
	}
	return s
}

// Packet gives what becomes of a packet. Packets come in the order of their time.
func (s *Simulator) Packet(p automaton.Packet) (Judgement, error) {
	if !p.Cut.Comes() {
		// Fragments are put together before any rule is asked.
		return Judgement{Verdict: automaton.Dropped.String()}, nil
	}
	s.p, s.at, s.reg, s.set, s.line, s.bad = p, p.Time, 0, false, 0, nil
	v := ruleset.Accept
	for _, h := range s.rs.Hooks {
		if h.Families&s.family() == 0 || h.Stage == ruleset.Input && p.Dest == automaton.ToElsewhere {
			continue
		}
		var done bool
		if v, done = s.chain(h.Chain, 0); !done {
			v, s.line = h.Policy, 0
		}
		if s.bad != nil {
			return Judgement{}, s.bad
		}
		if v != ruleset.Accept {
			break
		}
	}
	return Judgement{s.name(v), s.line}, nil
}

func (s *Simulator) name(v ruleset.Verdict) string {
	switch {
	case v == ruleset.Accept && s.set && s.reg != 0:
		return "accept, with meta priority left behind"
	case v == ruleset.Accept:
		return automaton.Accept.String()
	case v == ruleset.Drop:
		return automaton.Dropped.String()
	case v == ruleset.RejectReset && s.p.To.Proto == port.TCP, v == ruleset.RejectPort && s.p.To.Proto == port.UDP:
		return automaton.Rejected.String()
	}
	return "another answer"
}

func (s *Simulator) family() ruleset.Family {
	if s.p.Src.Is4() {
		return ruleset.IPv4
	}
	return ruleset.IPv6
}

func (s *Simulator) fail(line int, what string) bool {
	if s.bad == nil {
		s.bad = &ruleset.UnknownError{Line: line, What: what}
	}
	return false
}

// chain runs a chain. False: it came to the end, or returned.
func (s *Simulator) chain(c, depth int) (ruleset.Verdict, bool) {
	if depth > 64 {
		s.fail(0, "chains that call each other")
		return 0, true
	}
	for i := range s.rs.Chains[c].Rules {
		r := &s.rs.Chains[c].Rules[i]
		v, to, ends := s.rule(r)
		if !ends {
			continue
		}
		switch v {
		case ruleset.Return:
			return 0, false
		case ruleset.Goto:
			return s.chain(to, depth+1)
		case ruleset.Jump:
			if v, done := s.chain(to, depth+1); done {
				return v, true
			}
			continue
		}
		s.line = r.Line
		return v, true
	}
	return 0, false
}

// rule carries out one rule, and says whether it ends with a verdict.
func (s *Simulator) rule(r *ruleset.Rule) (v ruleset.Verdict, to int, ends bool) {
	for _, st := range r.Statements {
		if s.bad != nil {
			return ruleset.Drop, 0, true
		}
		switch st := st.(type) {
		case ruleset.Do:
			return st.Verdict, st.Chain, true
		case ruleset.VerdictMap:
			if e, ok := s.element(r.Line, st.Set, st.Key); ok {
				return e.Then, e.Chain, true
			}
		default:
			if !s.statement(r.Line, st) {
				return 0, 0, false
			}
		}
	}
	return 0, 0, false
}

func (s *Simulator) statement(line int, st ruleset.Statement) bool {
	switch st := st.(type) {
	case ruleset.Note:
		return true
	case ruleset.Match:
		return s.match(line, st) != st.Not
	case ruleset.SetRegister:
		s.reg, s.set = st.Value, true
		return true
	case ruleset.Lookup:
		return s.lookup(line, st)
	case ruleset.Load:
		return s.load(line, st)
	case ruleset.Write:
		return s.write(line, st)
	case ruleset.HashLimit:
		return s.hashLimit(line, st)
	case ruleset.GlobalLimit:
		b := s.global[st.Limit]
		if b == nil {
			b = newTokens(st.Limit, s.at)
			s.global[st.Limit] = b
		}
		return b.ask(s.at)
	}
	return s.fail(line, "a statement of this kind")
}

func in(ranges []ruleset.Range, v uint32) bool {
	return slices.ContainsFunc(ranges, func(r ruleset.Range) bool { return r.First <= v && v <= r.Last })
}

func (s *Simulator) match(line int, m ruleset.Match) bool {
	p := s.p
	switch m.Attr {
	case ruleset.NFProto:
		return in(m.Ranges, s.nfproto())
	case ruleset.Iface:
		return slices.ContainsFunc(m.Names, func(n string) bool { return matchesName(n, p.Iface) })
	case ruleset.Src:
		return slices.ContainsFunc(m.Prefixes, func(n netip.Prefix) bool { return n.Contains(p.Src) })
	case ruleset.Conn:
		for _, o := range connOrder() {
			if o.value == p.Conn {
				return m.Conns&o.bit != 0
			}
		}
	case ruleset.Dest:
		for _, o := range destOrder() {
			if o.value == p.Dest {
				return m.Dests&o.bit != 0
			}
		}
	case ruleset.Proto:
		return in(m.Ranges, uint32(p.To.Proto))
	case ruleset.DPort:
		return hasPorts(p.To.Proto) && in(m.Ranges, uint32(p.To.Number))
	case ruleset.SPort:
		return hasPorts(p.To.Proto) && in(m.Ranges, uint32(p.SrcPort))
	case ruleset.TCPFlags:
		return p.Flags&m.Mask == m.Value
	case ruleset.ICMPType:
		return in(m.Ranges, uint32(p.ICMP))
	case ruleset.UDPLength:
		return p.To.Proto == port.UDP && in(m.Ranges, uint32(8+len(p.Data)))
	case ruleset.Register:
		if !s.set {
			return s.fail(line, "meta priority is read before it is written")
		}
		return in(m.Ranges, s.reg)
	}
	return s.fail(line, "a match of this kind")
}

func (s *Simulator) nfproto() uint32 {
	if s.p.Src.Is4() {
		return 4
	}
	return 6
}

// number gives a field of a key as a number, for all kinds but FieldSrc.
func (s *Simulator) number(line int, f ruleset.Field) (uint32, bool) {
	switch f.Kind {
	case ruleset.FieldTTL:
		return uint32(s.p.TTL), true
	case ruleset.FieldProto:
		return uint32(s.p.To.Proto), true
	case ruleset.FieldDPort:
		return uint32(s.p.To.Number), hasPorts(s.p.To.Proto)
	case ruleset.FieldRegister:
		if !s.set {
			return 0, s.fail(line, "meta priority is read before it is written")
		}
		return s.reg, true
	case ruleset.FieldNFProto:
		return s.nfproto(), true
	case ruleset.FieldConst:
		return f.Const, true
	case ruleset.FieldData:
		return 0, false // of a set into which nothing was loaded
	}
	return 0, s.fail(line, "a key with "+f.Name+" in it")
}

// key gives the key of a dynamic set. False: the packet has no such fields.
func (s *Simulator) key(line int, fields []ruleset.Field) (string, bool) {
	b := make([]byte, 0, 32)
	for _, f := range fields {
		if f.Kind == ruleset.FieldData {
			if s.p.To.Proto != port.UDP || len(s.p.Data) < policy.TokenBytes {
				return "", false
			}
			b = append(b, s.p.Data[:policy.TokenBytes]...)
		} else if f.Kind == ruleset.FieldSrc {
			if f.Family&s.family() == 0 {
				return "", false
			}
			net, err := s.p.Src.Prefix(f.Bits)
			if err != nil {
				return "", s.fail(line, err.Error())
			}
			b = append(b, net.Addr().AsSlice()...)
		} else {
			n, ok := s.number(line, f)
			if !ok {
				return "", false
			}
			b = binary.BigEndian.AppendUint32(b, n)
		}
	}
	return string(b), true
}

// element finds an element of a set that packets do not change.
func (s *Simulator) element(line, set int, key []ruleset.Field) (*ruleset.Element, bool) {
	if s.values[set] != nil {
		if k, ok := s.key(line, key); ok {
			if value, ok := s.values[set][k]; ok {
				return &ruleset.Element{Value: value}, true
			}
		}
		return nil, false
	}
	numbers := make([]uint32, len(key))
	for i, f := range key {
		if f.Kind == ruleset.FieldSrc {
			continue
		}
		n, ok := s.number(line, f)
		if !ok {
			return nil, false
		}
		numbers[i] = n
	}
next:
	for i := range s.rs.Sets[set].Elements {
		e := &s.rs.Sets[set].Elements[i]
		for j, f := range key {
			r := e.Key[j]
			if f.Kind == ruleset.FieldSrc {
				if !r.Prefix.Contains(s.p.Src) {
					continue next
				}
			} else if numbers[j] < r.First || numbers[j] > r.Last {
				continue next
			}
		}
		return e, true
	}
	return nil, false
}

// foreignKey says whether the key has a source address of the other family, which
// ends the rule.
func (s *Simulator) foreignKey(key []ruleset.Field) bool {
	return slices.ContainsFunc(key, func(f ruleset.Field) bool {
		return f.Kind == ruleset.FieldSrc && f.Family&s.family() == 0
	})
}

// live gives an element whose time has not run out.
func (s *Simulator) live(set int, key string) *entryOf {
	e := s.sets[set][key]
	if e != nil && e.ends != 0 && s.at >= e.ends {
		delete(s.sets[set], key)
		return nil
	}
	return e
}

func (s *Simulator) lookup(line int, l ruleset.Lookup) bool {
	if s.foreignKey(l.Key) {
		return false
	}
	if !s.rs.Sets[l.Set].Dynamic {
		_, ok := s.element(line, l.Set, l.Key)
		return ok != l.Not
	}
	key, ok := s.key(line, l.Key)
	if !ok {
		return false
	}
	e := s.live(l.Set, key)
	found := e != nil
	if found && l.SameTTL && e.ttl != s.p.TTL {
		found = false
	}
	if found && (l.Within > 0 || l.Hits > 0) {
		hits := 0
		for _, t := range e.marks {
			if l.Within == 0 || s.at < t+l.Within {
				hits++
			}
		}
		found = hits >= max(l.Hits, 1)
	}
	if found && !l.Not && e.limit != nil {
		found = e.limit.ask(s.at) // net/netfilter/nft_lookup.c, nft_lookup_eval
	}
	if found && l.Touch {
		e.mark(s.at, s.p.TTL)
	}
	return found != l.Not
}

func (e *entryOf) mark(at time.Duration, ttl uint8) {
	e.ttl = ttl
	if e.marks = append(e.marks, at); len(e.marks) > maxMarks {
		e.marks = e.marks[1:]
	}
}

func (s *Simulator) load(line int, l ruleset.Load) bool {
	if s.foreignKey(l.Key) {
		return false
	}
	if !s.rs.Sets[l.Set].Dynamic {
		e, ok := s.element(line, l.Set, l.Key)
		if ok {
			s.reg, s.set = e.Value, true
		}
		return ok
	}
	key, ok := s.key(line, l.Key)
	if !ok {
		return false
	}
	e := s.live(l.Set, key)
	if e == nil {
		return false
	}
	s.reg, s.set = e.value, true
	return true
}

func (s *Simulator) write(line int, w ruleset.Write) bool {
	key, ok := s.key(line, w.Key)
	if !ok {
		return false
	}
	e := s.live(w.Set, key)
	switch w.Op {
	case ruleset.Delete:
		delete(s.sets[w.Set], key)
		return true
	case ruleset.Remove:
		delete(s.sets[w.Set], key)
		return (e != nil) != w.Not
	case ruleset.Mark:
		if e == nil {
			e = &entryOf{}
			s.sets[w.Set][key] = e
		}
		e.mark(s.at, s.p.TTL)
		return true
	}
	made := e == nil
	if made {
		e = &entryOf{}
		if w.Value != nil {
			if e.value, ok = s.number(line, *w.Value); !ok {
				return false
			}
		}
		if w.Limit != nil {
			e.limit = newTokens(*w.Limit, s.at)
		}
		s.sets[w.Set][key] = e
	}
	if w.Timeout > 0 && (made || w.Op == ruleset.Update) {
		e.ends = s.at + w.Timeout
	}
	return w.Limit == nil || e.limit != nil && e.limit.ask(s.at)
}

func (s *Simulator) hashLimit(line int, h ruleset.HashLimit) bool {
	key, ok := s.key(line, h.Key)
	if !ok {
		return false
	}
	if s.hashes[h.Name] == nil {
		s.hashes[h.Name] = make(map[string]*tokens)
	}
	b := s.hashes[h.Name][key]
	if b == nil {
		b = newTokens(h.Limit, s.at)
		s.hashes[h.Name][key] = b
	}
	return b.ask(s.at)
}
