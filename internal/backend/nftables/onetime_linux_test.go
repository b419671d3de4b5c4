package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest"
	"tirl/internal/policy"
	made "tirl/internal/sample"
)

// userDoors has a user of each kind at a door for a time and at one for once, and a
// door without users.
const userDoors = `
[door.a]
opens    = ["tcp/22"]
open_for = "20s"
[door.a.users.alice]
one_time = "token"
[door.a.users.bob]
one_time = "sequence"
first    = "udp/4001"

[door.b]
opens    = ["tcp/2222"]
open_for = "once"
[door.b.users.carol]
one_time = "token"
[door.b.users.dave]
one_time = "sequence"
first    = "udp/4002"

[door.c]
opens    = ["tcp/2223"]
knocks   = ["udp/1001", "udp/5002", "udp/1003"]
open_for = "20s"
`

const filled = 8 // values of each user

// filledKernel is a kernel with values of all users of a policy.
func filledKernel(t *testing.T, src string) (*backendtest.Kernel, *automaton.Program, []automaton.Value) {
	t.Helper()
	k, g := kernel(t, src)
	values := made.Values(g, filled)
	if err := k.Fill(t.Context(), values); err != nil {
		t.Fatal(err)
	}
	return k, g, values
}

// valueOf is a user's value of a number.
func valueOf(t *testing.T, g *automaton.Program, values []automaton.Value, user string, number uint64) automaton.Value {
	t.Helper()
	for _, v := range values {
		if g.Users[v.User].Name == user && v.Number == number {
			return v
		}
	}
	t.Fatalf("%s has no value %d", user, number)
	return automaton.Value{}
}

// use sends a value.
func use(t *testing.T, k *backendtest.Kernel, src string, v automaton.Value) {
	t.Helper()
	if len(v.Knocks) > 0 {
		send(t, k, src, v.Knocks...)
		return
	}
	p := automaton.Packet{Src: netip.MustParseAddr(src), To: udp(9), TTL: 64, Data: string(v.Token[:])}
	if _, err := k.Send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func opens(t *testing.T, k *backendtest.Kernel, src string, to uint16) bool {
	t.Helper()
	return last(send(t, k, src, tcp(to))) == automaton.Accept
}

// TestOneTimeValues: each opens its user's door once, to the one who sent it, and
// nothing afterwards to anybody.
func TestOneTimeValues(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "mode = \"firewall\"\n"} {
		k, g, values := filledKernel(t, mode+userDoors)
		for i, src := range []string{"10.9.0.20", "2001:db8:9::20"} {
			stranger := strings.Replace(src, "20", "77", 1)
			if i == 1 {
				stranger = "2001:db8:77::1"
			}
			for _, c := range []struct {
				user string
				to   uint16
				once bool
			}{{"alice", 22, false}, {"bob", 22, false}, {"carol", 2222, true}, {"dave", 2222, true}} {
				from := fmt.Sprintf("%s%d", src, slices.IndexFunc(g.Users, func(u automaton.User) bool { return u.Name == c.user }))
				v := valueOf(t, g, values, c.user, uint64(i))
				if opens(t, k, from, c.to) {
					t.Errorf("%s: open before the knock of %s", from, c.user)
				}
				use(t, k, from, v)
				if !opens(t, k, from, c.to) {
					t.Errorf("%s: the value of %s opened nothing", from, c.user)
				}
				if opens(t, k, from, c.to) == c.once {
					t.Errorf("%s: once is %v, but at the second time it is not so", from, c.once)
				}
				for _, again := range []string{from, stranger} {
					use(t, k, again, v)
					if (c.once || again == stranger) && opens(t, k, again, c.to) {
						t.Errorf("%s: the value of %s opened again", again, c.user)
					}
				}
			}
		}
		spent, err := k.Spent(t.Context())
		if err != nil || len(spent) != 8 {
			t.Errorf("%d values are spent, want 8; %v", len(spent), err)
		}
	}
}

// TestPoolOutlivesAPolicy: a change of policy, a snapshot and its restoration leave
// live what is live and spent what is spent, and hold no value themselves.
func TestPoolOutlivesAPolicy(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k, g, values := filledKernel(t, userDoors)
	b := k.Backend.(*Backend)
	use(t, k, "10.9.0.20", valueOf(t, g, values, "alice", 0))
	use(t, k, "10.9.0.20", valueOf(t, g, values, "bob", 0))
	s, err := b.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := b.Loaded(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		known := tokenText(v.Token)
		if len(v.Knocks) > 0 {
			known = handle(automaton.PathPlace(v.Serial, 2))
		}
		if strings.Contains(s.Part(snapshotPart)+loaded.Text+loaded.Listing, known) {
			t.Fatalf("value %d of %s stands in a snapshot or a listing", v.Number, g.Users[v.User].Name)
		}
	}
	mark, _, err := b.Marker(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Another policy with the same users, whose ends are elsewhere.
	changed := strings.Replace(userDoors, "[door.c]", "[door.c2]\nopens=[\"tcp/99\"]\nknocks=[\"udp/901\",\"udp/1905\",\"udp/777\"]\n[door.c]", 1)
	for i, step := range []func() error{
		func() error { return b.Load(ctx, compileText(t, "changed", "mode = \"firewall\"\n"+changed)) },
		func() error { return b.Restore(ctx, s, time.Second) },
		func() error { return b.Load(ctx, g) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if m, ok, err := b.Marker(ctx); m != mark || !ok || err != nil {
			t.Fatalf("step %d: the mark is %d, %v, %v", i, m, ok, err)
		}
		for j, user := range []string{"alice", "bob"} {
			fresh := fmt.Sprintf("10.9.0.%d", 30+2*i+j)
			use(t, k, fresh, valueOf(t, g, values, user, 0))
			if opens(t, k, fresh, 22) {
				t.Errorf("step %d: a spent value of %s opens", i, user)
			}
			use(t, k, fresh, valueOf(t, g, values, user, uint64(1+i)))
			if !opens(t, k, fresh, 22) {
				t.Errorf("step %d: a live value of %s does not open", i, user)
			}
		}
	}
	// Without users there is no pool, and it does not come back.
	if err := b.Load(ctx, compileText(t, "static", twoDoors)); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := b.Marker(ctx); ok || err != nil {
		t.Errorf("the pool is there without users: %v, %v", ok, err)
	}
	if err := b.Restore(ctx, s, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := b.Marker(ctx); ok || err != nil {
		t.Errorf("the pool came back: %v, %v", ok, err)
	}
	use(t, k, "10.9.0.90", valueOf(t, g, values, "alice", 7))
	if opens(t, k, "10.9.0.90", 22) {
		t.Error("a value came back with a snapshot")
	}
	if err := b.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Marker(ctx); !errors.Is(err, backend.ErrNotLoaded) {
		t.Errorf("the mark of nothing: %v", err)
	}
}

// TestPoolDrops: what is dropped is gone, live, spent or not there, and with it all
// that was noted; what is not dropped stays.
func TestPoolDrops(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k, g, values := filledKernel(t, userDoors)
	b := k.Backend.(*Backend)
	mark, _, err := b.Marker(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var drop, keep []automaton.Value
	for _, v := range values {
		if v.Number < 4 {
			drop = append(drop, v)
		} else {
			keep = append(keep, v)
		}
	}
	for i, user := range []string{"alice", "bob", "carol", "dave"} {
		use(t, k, fmt.Sprintf("10.9.0.2%d", i), valueOf(t, g, values, user, 1))
		use(t, k, fmt.Sprintf("2001:db8:9::2%d", i), valueOf(t, g, values, user, 2))
	}
	for range 2 { // the second time nothing is there
		if err := b.Drop(ctx, g, drop); err != nil {
			t.Fatal(err)
		}
	}
	if spent, err := b.Spent(ctx); len(spent) != 0 || err != nil {
		t.Errorf("spent are %v, %v", spent, err)
	}
	want := poolOf(g, keep)
	if diff := cmp.Diff(want, inKernel(t, b)); diff != "" {
		t.Errorf("the pool (-want +got):\n%s", diff)
	}
	for _, u := range g.Users {
		if u.Name == "alice" || u.Name == "dave" {
			if err := b.Purge(ctx, u.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	keep = slices.DeleteFunc(keep, func(v automaton.Value) bool {
		return g.Users[v.User].Name == "alice" || g.Users[v.User].Name == "dave"
	})
	if diff := cmp.Diff(poolOf(g, keep), inKernel(t, b)); diff != "" {
		t.Errorf("the pool after a purge (-want +got):\n%s", diff)
	}
	if err := b.LoadValues(ctx, g, keep[:1]); !errors.Is(err, backend.ErrNotWritten) || strings.Contains(fmt.Sprint(err), "0x") {
		t.Errorf("a value was loaded twice, or its error tells it: %v", err)
	}
	if err := b.Begin(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(poolOf(g, nil), inKernel(t, b)); diff != "" {
		t.Errorf("a pool that begins (-want +got):\n%s", diff)
	}
	if m, ok, err := b.Marker(ctx); m == mark || !ok || err != nil {
		t.Errorf("the mark is %d, after %d: %v, %v", m, mark, ok, err)
	}
}

// poolOf is what members reads of live values.
func poolOf(g *automaton.Program, values []automaton.Value) members {
	all := members{tokenSet: {}, holderMap: {}, pathMap: {}, lastSet: {}, endsMap: {}}
	for _, e := range slices.Concat(entriesOf(g, values)...) {
		all[e.set][e.key] = e.data
	}
	return all
}

func inKernel(t *testing.T, b *Backend) members {
	t.Helper()
	m, err := b.members(t.Context(), []string{tokenSet, holderMap, pathMap, lastSet, endsMap})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPoolDropsWhilePacketsSpend: values vanish between reading what is spent and
// taking them out.
func TestPoolDropsWhilePacketsSpend(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k, g, values := filledKernel(t, userDoors)
	b := k.Backend.(*Backend)
	spends := &meddler{Runner: k.Pair.Server, before: "delete element", do: func(n int) {
		if n < 2 {
			for _, user := range []string{"alice", "bob"} {
				use(t, k, "10.9.0.20", valueOf(t, g, values, user, uint64(n)))
			}
		}
	}}
	if err := New(spends).Drop(ctx, g, values); err != nil {
		t.Fatal(err)
	}
	if spends.times < 3 {
		t.Errorf("no transaction failed: %d were tried", spends.times)
	}
	if diff := cmp.Diff(poolOf(g, nil), inKernel(t, b)); diff != "" {
		t.Errorf("the pool (-want +got):\n%s", diff)
	}
	if spent, err := b.Spent(ctx); len(spent) != 0 || err != nil {
		t.Errorf("spent are %v, %v", spent, err)
	}
}

// TestForget: the values of a user who is revoked open nothing, and are spent all
// the same; those of others open.
func TestForget(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k, g, values := filledKernel(t, userDoors)
	b := k.Backend.(*Backend)
	for _, u := range g.Users {
		if u.Name == "bob" || u.Name == "carol" {
			for range 2 {
				if err := b.Forget(ctx, u.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i, c := range []struct {
		user string
		to   uint16
		want bool
	}{{"alice", 22, true}, {"bob", 22, false}, {"carol", 2222, false}, {"dave", 2222, true}} {
		src := fmt.Sprintf("10.9.0.2%d", i)
		use(t, k, src, valueOf(t, g, values, c.user, 0))
		if got := opens(t, k, src, c.to); got != c.want {
			t.Errorf("%s: opens is %v, want %v", c.user, got, c.want)
		}
	}
	if spent, err := k.Spent(ctx); len(spent) != 4 || err != nil {
		t.Errorf("%d values are spent, want 4; %v", len(spent), err)
	}
}

// TestBlockedValues: while all doors are blocked a token is spent and opens nothing,
// and of a sequence no knock is heard.
func TestBlockedValues(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k, g, values := filledKernel(t, userDoors)
	b := k.Backend.(*Backend)
	send(t, k, "10.9.0.30", valueOf(t, g, values, "bob", 1).Knocks[:3]...)
	if err := b.Block(ctx); err != nil {
		t.Fatal(err)
	}
	use(t, k, "10.9.0.20", valueOf(t, g, values, "alice", 0))
	use(t, k, "10.9.0.21", valueOf(t, g, values, "bob", 0))
	if err := b.Unblock(ctx); err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{"10.9.0.20", "10.9.0.21", "10.9.0.30"} {
		if opens(t, k, src, 22) {
			t.Errorf("%s came in", src)
		}
	}
	spent, err := k.Spent(ctx)
	if err != nil || len(spent) != 1 || values[spent[0]].Token != valueOf(t, g, values, "alice", 0).Token {
		t.Errorf("spent are %v, %v", spent, err)
	}
	if l, err := b.Loaded(ctx); err != nil || len(l.Places)+len(l.Grants) != 0 {
		t.Errorf("left are %v, %v, %v", l.Places, l.Grants, err)
	}
}

// TestRevokeOnAPath takes a source from the path of a value.
func TestRevokeOnAPath(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k, g, values := filledKernel(t, userDoors)
	b := k.Backend.(*Backend)
	bob := valueOf(t, g, values, "bob", 0)
	for _, c := range []struct{ knocks, door, want int }{{1, 0, 1}, {3, 0, 1}, {1, 1, 0}, {3, 2, 0}, {3, -1, 1}} {
		send(t, k, "10.9.0.20", udp(9), udp(9))
		send(t, k, "10.9.0.20", bob.Knocks[:c.knocks]...)
		way, _, err := k.Place(ctx, netip.MustParseAddr("10.9.0.20"), 64)
		if err != nil || !slices.Equal(way, bob.Knocks[:c.knocks]) {
			t.Fatalf("it stands at %v, %v", way, err)
		}
		if n, err := b.Revoke(ctx, g, c.door, netip.MustParseAddr("10.9.0.20")); n != c.want || err != nil {
			t.Errorf("%d knocks, door %d: %d places were taken, want %d; %v", c.knocks, c.door, n, c.want, err)
		}
	}
}

// TestUsersOfAShortDoor: a door for one, opened by one knock or by a user.
func TestUsersOfAShortDoor(t *testing.T) {
	t.Parallel()
	k, g, values := filledKernel(t, `
[door.a]
opens    = ["tcp/22"]
knocks   = ["udp/5001"]
from     = ["10.9.0.0/24"]
open_for = "once"
[door.a.users.alice]
one_time = "token"
`)
	for i, step := range []func(){
		func() { use(t, k, "10.9.0.20", valueOf(t, g, values, "alice", 0)) },
		func() { send(t, k, "10.9.0.20", udp(5001)) }, // stays
		func() { use(t, k, "10.9.0.20", valueOf(t, g, values, "alice", 1)) },
	} {
		step()
		if way, _, err := k.Place(t.Context(), netip.MustParseAddr("10.9.0.20"), 64); err != nil || len(way) != 1 {
			t.Errorf("step %d: it stands at %v, %v", i, way, err)
		}
	}
	if !opens(t, k, "10.9.0.20", 22) || opens(t, k, "10.9.0.20", 22) {
		t.Error("not open once")
	}
	use(t, k, "2001:db8:9::20", valueOf(t, g, values, "alice", 2))
	if opens(t, k, "2001:db8:9::20", 22) {
		t.Error("open to somebody whom the door is not for")
	}
}

// meddler does something before it runs a program with such input, and counts.
type meddler struct {
	Runner interface {
		Run(ctx context.Context, stdin, name string, args ...string) (string, error)
	}
	before string
	do     func(n int)
	times  int
}

func (m *meddler) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if strings.Contains(stdin, m.before) {
		m.do(m.times)
		m.times++
	}
	return m.Runner.Run(ctx, stdin, name, args...)
}

// TestRulesWithoutUsers: who has none loads nothing of all this.
func TestRulesWithoutUsers(t *testing.T) {
	for _, file := range policies(t) {
		g := compile(t, file)
		if len(g.Users) > 0 {
			continue
		}
		text := render(g)
		for _, name := range []string{tokenSet, userMap, lastSet, pathMap, string(policy.Token)} {
			if strings.Contains(text, " "+name+" {") || strings.Contains(text, "@"+name+" ") {
				t.Errorf("%s: there is a %s", file, name)
			}
		}
	}
}

// old is an nft that does not know something.
type old struct {
	Runner interface {
		Run(ctx context.Context, stdin, name string, args ...string) (string, error)
	}
	lacks string
}

func (o old) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if strings.Contains(stdin, o.lacks) {
		stdin = "no such thing\n"
	}
	return o.Runner.Run(ctx, stdin, name, args...)
}

// TestMissingFeature: where nft or the kernel cannot do it, the error says what it
// is, and nothing of the probe is left.
func TestMissingFeature(t *testing.T) {
	t.Parallel()
	n := server(t)
	g := compileText(t, "users", userDoors)
	for _, c := range []struct{ lacks, want string }{
		{"typeof @th,64,128\n", "sets keyed by what a datagram carries"},
		{"typeof @th,64,128 : meta priority", "maps keyed by what a datagram carries"},
		{"limit rate 1/hour burst 1 packets", "limits in the elements of sets"},
	} {
		err := New(old{n, c.lacks}).Load(t.Context(), g)
		if err == nil || !strings.Contains(err.Error(), "one-time knocks need "+c.want) {
			t.Errorf("without %q: %v", c.lacks, err)
		}
		if static := compileText(t, "static", twoDoors); New(old{n, c.lacks}).Load(t.Context(), static) != nil {
			t.Errorf("without %q rules without users are not loaded", c.lacks)
		}
		if err := New(n).Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := New(old{n, "chain judged"}).Load(t.Context(), g); err == nil || strings.Contains(err.Error(), "one-time") {
		t.Errorf("another error: %v", err)
	}
	if rules := ruleset(t, n); rules != "" {
		t.Errorf("left is %s", rules)
	}
}
