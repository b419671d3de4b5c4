package cli

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend"
	"tirl/internal/policy"
)

// program compiles a policy of doors that share their first knock.
func compileDoors(t *testing.T, openFor string, names ...string) *automaton.Program {
	t.Helper()
	var b strings.Builder
	for i, name := range names {
		fmt.Fprintf(&b, "[door.%s]\nopens = [\"tcp/22\"]\nopen_for = %q\nknocks = [\"udp/1234\", \"udp/%d\", \"udp/99\"]\n",
			name, openFor, 2000+i)
	}
	p, found := policy.Parse("policy.toml", []byte(b.String()))
	if p == nil {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestProgress(t *testing.T) {
	two := compileDoors(t, "30s", "ann", "bob")
	five := compileDoors(t, "30s", "ann", "bob", "cy", "di", "eve")
	once := compileDoors(t, "once", "ann")
	users := automatontest.Compile(t, "[door.ann]\nopens = [\"tcp/22\"]\nopen_for = \"once\"\n[door.ann.users.al]\none_time = \"sequence\"\nfirst = \"udp/1234\"\n")
	for _, c := range []struct {
		g     *automaton.Program
		state automaton.State
		want  string
	}{
		{users, automaton.State(users.Users[0].ID), "1 knock of a one-time sequence"},
		{users, automaton.State(automaton.PathPlace(7, 5)), "5 knocks of a one-time sequence"},
		{users, users.Doors[0].End, "ann, may connect once"},
		{two, 1, "ann 1/3 or bob 1/3"},
		{two, 2, "ann 2/3"},
		{two, two.Doors[1].End, "bob 3/3"},
		{once, once.Doors[0].End, "ann 3/3, may connect once"},
		{five, 1, "1 knock of one of 5 doors"},
		{two, 99, "at place 99 of an unknown policy"},
		{nil, 1, "at place 1 of an unknown policy"},
	} {
		got := sources([]backend.Place{{Source: netip.MustParseAddr("192.0.2.7"), State: c.state}}, c.g)
		if text := got[0].progress(c.g); text != c.want {
			t.Errorf("place %d: %q, want %q", c.state, text, c.want)
		}
	}
}

func TestGrants(t *testing.T) {
	g := compileDoors(t, "30s", "ann", "bob")
	held := []backend.Grant{
		{Source: netip.MustParseAddr("2001:db8::1"), Class: g.Classes[0].ID, Left: -1},
		{Source: netip.MustParseAddr("192.0.2.7"), Class: 1, Left: time.Second},
	}
	got := grants(held, g)
	if got[0].name() != "a door of an unknown policy" || got[1].name() != "tcp/22 (ann or bob)" || left(got[1].left) != "" {
		t.Errorf("got %+v", got)
	}
	if many := grants(held[:1], compileDoors(t, "30s", "ann", "bob", "cy", "di")); many[0].name() != "tcp/22 (one of 4 doors)" {
		t.Errorf("of many doors: %s", many[0].name())
	}
}

func TestSourcesInOrder(t *testing.T) {
	got := sources([]backend.Place{
		{Source: netip.MustParseAddr("2001:db8::1")},
		{Source: netip.MustParseAddr("192.0.2.10"), TTL: 64},
		{Source: netip.MustParseAddr("192.0.2.10"), TTL: 63},
		{Source: netip.MustParseAddr("192.0.2.9")},
	}, nil)
	var names []string
	for _, s := range got {
		names = append(names, s.name())
	}
	want := "192.0.2.9, 192.0.2.10 (TTL 63), 192.0.2.10 (TTL 64), 2001:db8::1"
	if text := strings.Join(names, ", "); text != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

func TestLeft(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1:                      "",
		0:                       "0 s left",
		1:                       "1 s left",
		6500 * time.Millisecond: "7 s left",
		599 * time.Second:       "599 s left",
		time.Hour:               "60 min left",
		23*time.Hour + 1:        "24 h left",
	} {
		if got := left(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine([]string{"apply", "-c", "my policy.toml", "it's", "", "--backend=iptables"})
	if want := `apply -c 'my policy.toml' 'it'\''s' '' --backend=iptables`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
