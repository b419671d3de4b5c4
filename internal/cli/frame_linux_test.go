package cli

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tirl/internal/apply"
	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/term"
)

// framed is a watch of a policy with two doors.
func framed(t testing.TB, places []backend.Place, held []backend.Grant) (*frame, sample) {
	t.Helper()
	p, ds := policy.Parse("policy.toml", []byte(`
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/4001", "udp/5002", "udp/6003"]
[door.web]
opens  = ["tcp/80"]
knocks = ["udp/4001", "udp/5002", "udp/7004", "udp/8005"]
open_for = "1m"
`))
	if p == nil {
		t.Fatal(ds)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range held {
		held[i].Class = g.Classes[g.Doors[i%2].Class].ID
	}
	v := &view{
		Status:  &apply.Status{Backend: "nftables", Loaded: &backend.Loaded{PolicyHash: p.Hash(), Rules: 7}},
		program: g, file: "policy.toml", change: fileSame,
		sources: sources(places, g), grants: grants(held, g),
	}
	s := sample{view: v, counters: &backend.Counters{}, at: time.Unix(1000, 0)}
	return &frame{utf8: true, width: 80, height: 24}, s
}

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 51, byte(100 + n/256), byte(n)})
}

func TestFrame(t *testing.T) {
	f, s := framed(t,
		[]backend.Place{{Source: addr(7), State: 1, Left: 3 * time.Second}, {Source: addr(8), State: 2, Left: 9 * time.Second}, {Source: addr(9), State: 2, Left: 1500 * time.Millisecond}},
		[]backend.Grant{{Source: addr(1), Left: 30 * time.Second}, {Source: addr(200), Left: 25 * time.Second}})
	s.at = s.at.Add(-4 * time.Second)
	f.add(s)
	s.at = s.at.Add(4 * time.Second)
	s.counters = &backend.Counters{Opened: 2, Accepted: 1, Wrong: 400}
	f.add(s)
	got := strings.Join(f.lines(s.at.Add(2*time.Second)), "\n")
	want := `active: nftables, guard mode, 2 doors, 7 rules
policy: ` + short(s.view.Loaded.PolicyHash) + `, nobody has recorded since when
file:   policy.toml, as loaded

a second: opened 0.5   let in 0.2   wrong 100   limited 0

knocking: 2
  198.51.100.8  ██░░  ssh 2/3 or web 2/4  7 s left
  198.51.100.7  █░░░  ssh 1/3 or web 1/4  1 s left

let in: 2
  198.51.100.1    ██████████  tcp/22 (ssh)  28 s left
  198.51.100.200  ████░░░░░░  tcp/80 (web)  23 s left

q ends`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// Plain, and low.
	f.utf8, f.height = false, 8
	got = strings.Join(f.lines(s.at), "\n")
	want = `active: nftables, guard mode, 2 doors, 7 rules
a second: opened 0.5   let in 0.2   wrong 100   limited 0
knocking: 3
  198.51.100.8  ##..  ssh 2/3 or web 2/4  9 s left
  and 2 more
let in: 2
  198.51.100.1    ##########  tcp/22 (ssh)  30 s left
  198.51.100.200  #####.....  tcp/80 (web)  25 s left`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// Counters that begin anew give no rates.
	s.counters, s.at = &backend.Counters{}, s.at.Add(time.Second)
	f.add(s)
	if got := f.rates(); got != "a second: ..." {
		t.Errorf("after a load: %q", got)
	}
	f.add(sample{err: fmt.Errorf("list\nit"), at: s.at})
	if got := f.lines(s.at)[0]; got != "error: list it" {
		t.Errorf("an error shows as %q", got)
	}
}

// However many there are, and however small the screen is, no line is too many,
// all are counted, and who is not shown is said to be there.
func TestFrameFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var places []backend.Place
		var held []backend.Grant
		for i := range rapid.IntRange(0, 60).Draw(rt, "knocking") {
			places = append(places, backend.Place{Source: addr(i), State: automaton.State(rapid.IntRange(1, 4).Draw(rt, "place")), Left: time.Minute})
		}
		for i := range rapid.IntRange(0, 60).Draw(rt, "let in") {
			held = append(held, backend.Grant{Source: addr(i), Left: time.Minute})
		}
		f, s := framed(t, places, held)
		f.height = rapid.IntRange(6, 50).Draw(rt, "height")
		f.add(s)
		lines := f.lines(s.at)
		text := strings.Join(lines, "\n")
		if len(lines) > f.height {
			rt.Fatalf("%d lines in %d:\n%s", len(lines), f.height, text)
		}
		shown, more := 0, 0
		for _, l := range lines {
			var n int
			if _, err := fmt.Sscanf(l, "  and %d more", &n); err == nil {
				more += n
			} else if strings.HasPrefix(l, "  198.") {
				shown++
			}
		}
		if !strings.Contains(text, fmt.Sprintf("knocking: %d\n", len(places))) || !strings.Contains(text, fmt.Sprintf("let in: %d", len(held))) {
			rt.Fatalf("not all are counted:\n%s", text)
		}
		if f.height >= 8 && shown+more != len(places)+len(held) {
			rt.Fatalf("%d shown and %d more, want %d:\n%s", shown, more, len(places)+len(held), text)
		}
		if f.height >= 20 && min(len(places), 2)+min(len(held), 2) > shown {
			rt.Fatalf("only %d shown:\n%s", shown, text)
		}
	})
}

func TestFrameColours(t *testing.T) {
	f, s := framed(t, []backend.Place{{Source: addr(7), State: 1, Left: time.Second}}, nil)
	f.style = term.StyleOf(nil, term.Always, nil)
	s.view.Drifted, s.view.Loaded.Blocked = true, true
	f.add(s)
	coloured := f.lines(s.at)
	f.style = term.Style{}
	for i, plain := range f.lines(s.at) {
		if got := controls.ReplaceAllString(coloured[i], ""); got != plain {
			t.Errorf("line %d without colour is %q, want %q", i, got, plain)
		}
	}
}
