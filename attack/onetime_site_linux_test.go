package attack

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/sample"
	"tirl/internal/tool"
)

// Doors that only values open, which work once. Each user has a door of his own, so
// that what opens shows whose value it was.
const (
	userDoors = `
public = ["tcp/80", "udp/53"]
trust  = ["198.19.0.0/16", "2001:db8:a:f000::/52"]
[door.token]
opens    = ["tcp/22"]
[door.token.users.alice]
one_time = "token"
[door.path]
opens    = ["tcp/2222"]
[door.path.users.bob]
one_time = "sequence"
first    = "udp/40213"
[door.hidden]
opens    = ["udp/5000"]
[door.hidden.users.carol]
one_time = "token"
`
	tokenService, pathService = 22, 2222
)

// userSite is a site with live values of every user of its policy.
type userSite struct {
	*site
	pool   backend.Pool
	values []automaton.Value
}

// users makes a site with n values of each user.
func users(t testing.TB, source string, n int, tune ...func(*automaton.Program)) *userSite {
	t.Helper()
	labtest.Require(t)
	return usersBy(t, kinds.All()[0], source, n, tune...)
}

func usersBy(t testing.TB, v kinds.Kind, source string, n int, tune ...func(*automaton.Program)) *userSite {
	t.Helper()
	s := &userSite{site: newSite(t, v, source, tune...)}
	s.pool = s.doors.(backend.Pool)
	if err := s.pool.Begin(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.load(sample.Values(s.g, n))
	return s
}

func (s *userSite) load(values []automaton.Value) {
	s.Helper()
	if err := s.pool.LoadValues(s.Context(), s.g, values); err != nil {
		s.Fatal(err)
	}
	s.values = append(s.values, values...)
}

// refill takes out what is spent, as the next refill does.
func (s *userSite) refill() {
	s.Helper()
	var drop []automaton.Value
	for _, i := range s.spent() {
		drop = append(drop, s.values[i])
	}
	if err := s.pool.Drop(s.Context(), s.g, drop); err != nil {
		s.Fatal(err)
	}
}

// of lists a user's values.
func (s *userSite) of(name string) []automaton.Value {
	return slices.DeleteFunc(slices.Clone(s.values), func(v automaton.Value) bool { return s.g.Users[v.User].Name != name })
}

// spent lists the values that are spent, as indexes.
func (s *userSite) spent() []int {
	s.Helper()
	all, err := s.pool.Spent(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var spent []int
	for _, one := range all {
		i := slices.IndexFunc(s.values, func(v automaton.Value) bool {
			if v.Knocks == nil {
				return one.Place == 0 && one.Token == v.Token
			}
			return one.Place == automaton.PathPlace(v.Serial, len(v.Knocks)-1)
		})
		if i < 0 {
			s.Fatal("a value is spent that never was")
		}
		spent = append(spent, i)
	}
	slices.Sort(spent)
	return spent
}

// isSpent says whether one value is.
func (s *userSite) isSpent(v automaton.Value) bool {
	s.Helper()
	return slices.ContainsFunc(s.spent(), func(i int) bool { return s.values[i].User == v.User && s.values[i].Number == v.Number })
}

// service is the TCP port that a value's door opens.
func (s *userSite) service(v automaton.Value) uint16 {
	return s.g.Classes[s.g.Doors[s.g.Users[v.User].Door].Class].Services[0].First
}

// datagram is one of a source with some content.
func (s *userSite) datagram(src netip.Addr, to uint16, content []byte) lab.Packet {
	p := s.packet(src, udp(to))
	p.Payload, p.Untagged = content, true
	return p
}

// packets are those by which a value is used.
func (s *userSite) packets(src netip.Addr, v automaton.Value) []lab.Packet {
	if v.Knocks == nil {
		return []lab.Packet{s.datagram(src, 9, v.Token[:])}
	}
	var all []lab.Packet
	for _, k := range v.Knocks {
		all = append(all, s.packet(src, k))
	}
	return all
}

func (s *userSite) use(src netip.Addr, v automaton.Value) {
	s.Helper()
	s.put(s.packets(src, v)...)
}

// opensFor says whether a value's door is open to a source.
func (s *userSite) opensFor(src netip.Addr, v automaton.Value) bool {
	s.Helper()
	return s.getsIn(src, s.service(v))
}

// shut takes from a source what it has been let in by.
func (s *userSite) shut(src netip.Addr) {
	s.Helper()
	if _, err := s.doors.(backend.Operator).Revoke(s.Context(), s.g, -1, src); err != nil {
		s.Fatal(err)
	}
}

// eachKind makes an attack on a value of each kind, over both families.
func (s *userSite) eachKind(attack func(kind policy.OneTime, values []automaton.Value, family int)) {
	for family := range families(0) {
		for _, name := range []string{"alice", "bob"} {
			values := s.of(name)
			half := len(values) / 2
			attack(s.g.Users[values[0].User].Kind, values[family*half:(family+1)*half], family)
		}
	}
}

// altered is nftables whose rules somebody has changed before they are loaded.
func altered(old, replacement string) kinds.Kind {
	v := kinds.All()[0]
	mk := v.Make
	v.Make = func(r tool.Runner) backend.Backend { return mk(altering{r, old, replacement}) }
	return v
}

type altering struct {
	tool.Runner
	old, replacement string
}

func (a altering) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	return a.Runner.Run(ctx, strings.ReplaceAll(stdin, a.old, a.replacement), name, args...)
}
