package diagram

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// The picture that newcomers see first stays small.
func TestReferenceIsSmall(t *testing.T) {
	got := Text(compile(t, reference()), TextOptions{})
	if n := strings.Count(got, "\n"); n > 10 {
		t.Errorf("%d lines, want at most 10:\n%s", n, got)
	}
	if n := strings.Count(got, backToStart); n != 1 {
		t.Errorf("the rule for wrong packets stands there %d times, want once", n)
	}
}

func TestTextFitsTheTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := compile(t, randomPolicy(t))
		opt := TextOptions{
			Width:     rapid.IntRange(1, 120).Draw(t, "width"),
			ASCII:     rapid.Bool().Draw(t, "ascii"),
			MaxPlaces: rapid.IntRange(0, 30).Draw(t, "places"),
			Mark:      randomMarks(t, g),
		}
		for _, l := range strings.SplitAfter(Text(g, opt), "\n") {
			l = strings.TrimSuffix(l, "\n")
			if n := utf8.RuneCountInString(l); n > opt.Width {
				t.Fatalf("%d columns of %d: %q", n, opt.Width, l)
			}
			for _, r := range l {
				if r < ' ' || r == 0x7f || r == utf8.RuneError || opt.ASCII && r >= utf8.RuneSelf {
					t.Fatalf("%U in %q", r, l)
				}
			}
		}
	})
}

// With room enough nothing is missing, for one door and for several.
func TestTextIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := compile(t, randomPolicy(t))
		marks := randomMarks(t, g)
		width := rapid.IntRange(110, 400).Draw(t, "width")
		got := Text(g, TextOptions{Width: width, MaxPlaces: len(g.Places), Mark: marks})
		for _, d := range g.Doors {
			for _, k := range d.Knocks {
				if !strings.Contains(got, k.String()) {
					t.Fatalf("no knock %s of door %q in\n%s", k, d.Name, got)
				}
			}
		}
		for s, who := range marks {
			if !strings.Contains(got, who) {
				t.Fatalf("%s at %d is not in\n%s", who, s, got)
			}
		}
	})
}

func TestTextLeavesDoorsOut(t *testing.T) {
	g := compile(t, many())
	end := g.Doors[37].End
	tests := []struct {
		name          string
		opt           TextOptions
		want, without []string
	}{
		{"usual", TextOptions{}, []string{"admin00", "... and 32 doors more", "tirl render --format svg"}, []string{"admin08"}},
		{"one place", TextOptions{MaxPlaces: 1}, []string{"admin00", "... and 39 doors more"}, []string{"admin01"}},
		{"all", TextOptions{MaxPlaces: 1000}, []string{"admin00", "admin39"}, []string{"more"}},
		{"all but one", TextOptions{MaxPlaces: 98}, []string{"admin38", "... and 1 door more"}, []string{"admin39"}},
		{"marked", TextOptions{Mark: map[automaton.State]string{end: "192.0.2.7"}}, []string{"admin37 ● 192.0.2.7"}, []string{"admin36"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Text(g, tt.opt)
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %q in\n%s", w, got)
				}
			}
			for _, w := range tt.without {
				if strings.Contains(got, w) {
					t.Errorf("%q in\n%s", w, got)
				}
			}
		})
	}
}

func TestTextOfOddPolicies(t *testing.T) {
	tests := []struct {
		name string
		p    *policy.Policy
		opt  TextOptions
		want string
	}{
		{"no door", guard(), TextOptions{}, "(start)\nThere is no door.\n"},
		{"one knock", guard(timed("a", tcp(22), time.Minute, 7)), TextOptions{}, `╭───────╮ udp/7 ╔══════════════╗
│ start ├──────▶║ a            ║
╰───────╯       ║ opens tcp/22 ║
                ║ for 1m       ║
                ╚══════════════╝
`},
		{"a user", guard(policy.Door{Name: "a", Opens: tcp(22), Once: true, Users: []policy.User{{Name: "al", Kind: policy.Token}}}), TextOptions{}, `╭───────╮ a user ╭─────╮ tcp/22 ╔════════════╗
│ start ├───────▶│ end ╞═══════▶║ a          ║
╰───────╯        ╰──┬──╯        ║ opens once ║`},
		{"users of two doors", guard(
			policy.Door{Name: "a", Opens: tcp(22), OpenFor: time.Minute, Users: []policy.User{{Name: "al", Kind: policy.Token}}},
			policy.Door{Name: "b", Opens: tcp(23), OpenFor: time.Minute, Knocks: udp(7, 8, 1), Users: []policy.User{{Name: "bo", Kind: policy.Sequence, First: port.Port{Proto: port.UDP, Number: 9}}}}), TextOptions{}, `(start)
 ├─udp/7─▶(2)─udp/8─▶(3)─udp/1─▶[b: tcp/23 for 1m]
 ╰─a user─▶[a: tcp/22 for 1m]`},
		{"terminal command", guard(timed("a\x1b[2J\u202eb\n日é", tcp(22), time.Minute, 7, 8)), TextOptions{Width: 30}, "║ a?[2J?b??é   ║"},
		{"no UTF-8", guard(timed("é", tcp(22), time.Minute, 7)), TextOptions{ASCII: true}, "># ? "},
		{"long name", guard(once(strings.Repeat("n", 99), tcp(22), 7, 8)), TextOptions{}, "║ nnnnnnnnnnnnnnnnnnnnnnn… ║"},
		{"no room for boxes", guard(once("ssh", tcp(22), 10007, 10008)), TextOptions{Width: 22}, `(start)
 ╰─udp/10007─▶(1)─…
    …─udp/10008─▶(2)─…
    …═tcp/22═▶[ssh on…
`},
		{"marks side by side", guard(timed("a", tcp(22), time.Minute, 7, 8, 9)),
			TextOptions{Mark: map[automaton.State]string{0: "192.0.2.1", 1: "2001:db8::1234:5678", 2: "192.0.2.3"}},
			`         2001:db8::1234:5678
192.0.2.1         │       192.0.2.3
    ▼             ▼           ▼
╭───────╮ udp/7 ╭───╮ udp/8 ╭───╮`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Text(compile(t, tt.p), tt.opt); !strings.Contains(got, tt.want) {
				t.Errorf("got\n%s\nwithout\n%s", got, tt.want)
			}
		})
	}
}

func TestLegendSaysWhatThePolicySays(t *testing.T) {
	tcpKnock := guard(timed("a", tcp(22), time.Minute, 7))
	tcpKnock.Doors[0].Knocks[0].Proto = 6
	closed := reference()
	closed.Public.Services = nil
	tests := []struct {
		p    *policy.Policy
		want string
	}{
		{reference(), "A repeated knock is a wrong one."},
		{reference(), "No time limit"},
		{reference(), "every new packet, public services aside."},
		{closed, "every new packet."},
		{guard(timed("a", tcp(22), time.Minute, 7)), "A repeated knock changes nothing."},
		{guard(timed("a", tcp(22), time.Minute, 7)), "within 10s"},
		{guard(timed("a", tcp(22), time.Minute, 7)), "new packets of udp and those to tcp/22."},
		{guard(timed("a", tcp(22, 80, 443, 993), time.Minute, 7)), "new packets of udp and those to a door's services."},
		{tcpKnock, "new packets of tcp. The rest does not count."},
		{mixed(), "new packets of tcp and udp."},
	}
	for _, tt := range tests {
		got := strings.ReplaceAll(Text(compile(t, tt.p), TextOptions{Width: 400}), "\n", " ")
		if !strings.Contains(got, tt.want) {
			t.Errorf("no %q in %s", tt.want, got)
		}
	}
}

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"30s": 30 * time.Second, "1m": time.Minute, "10m": 10 * time.Minute, "1m30s": 90 * time.Second,
		"1h": time.Hour, "1h30m": 90 * time.Minute, "20h": 20 * time.Hour, "500ms": 500 * time.Millisecond,
	} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %s, want %s", d, got, want)
		}
	}
}

// Boxes are laid out to fit: they are never cut at the edge.
func TestBoxesFit(t *testing.T) {
	for width := len(backToStart); width < 120; width++ {
		for n := 1; n <= 16; n++ {
			knocks := make([]uint16, n)
			for i := range knocks {
				knocks[i] = uint16(9990 + i)
			}
			for _, d := range []policy.Door{once("ssh", tcp(22), knocks...), timed("ssh", tcp(22), time.Minute, knocks...)} {
				got := Text(compile(t, guard(d)), TextOptions{Width: width})
				if !strings.Contains(got, "╔") {
					continue
				}
				right := strings.Count(got, "╮") + strings.Count(got, "╯")
				if left := strings.Count(got, "╭") + strings.Count(got, "╰"); left != right || strings.Contains(got, "…") {
					t.Fatalf("%d knocks in %d columns:\n%s", n, width, got)
				}
			}
		}
	}
}
