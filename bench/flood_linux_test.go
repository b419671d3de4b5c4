package bench

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

func assaultNamed(t *testing.T, name string) assault {
	t.Helper()
	all := assaults()
	i := slices.IndexFunc(all, func(a assault) bool { return a.name == name })
	if i < 0 {
		t.Fatalf("no assault %q", name)
	}
	return all[i]
}

// A slow flood of a known first knock keeps nobody out but where lists are short; full
// tables keep out who begins, and not who need not knock.
func TestSiege(t *testing.T) {
	labtest.Require(t)
	const tries = 8
	all := gates()
	of := func(name string) gate {
		return all[slices.IndexFunc(all, func(g gate) bool { return g.name == name })]
	}
	everybody := map[client]int{knocks: tries, granted: tries, trusted: tries}
	tight := withTirl(guard, trusting+"[knocking]\nsources = 256\nstep_timeout = \"1m\"\n", kinds.All()[0], 0)
	for _, c := range []struct {
		name, assault string
		gate          gate
		rate          int
		in            map[client]int
	}{
		{"no gate", knownFlood, unguarded(), 1000, map[client]int{knocks: tries}},
		{"guard, no flood", knownFlood, of(guard), none, everybody},
		{"guard", knownFlood, of(guard), 1000, everybody},
		{"firewall", knownFlood, of(firewall), 1000, everybody},
		{"full tables", knownFlood, tight, 1000, map[client]int{granted: tries, trusted: tries}},
		{"lists of 100", knownFlood, of(reference), 3000, nil},
		{"strangers", spoofedFlood, of(guard), 1000, everybody},
		{"one's own address", ownFlood, of(guard), 20_000, nil},
		{"at another distance", ownFlood, aloof(), 1000, map[client]int{knocks: tries}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			results, err := runSieges(t.Context(), []siege{{c.gate, assaultNamed(t, c.assault), c.rate, tries}})
			if err != nil || results[0].failed != "" {
				t.Fatal(err, results[0].failed)
			}
			r := results[0]
			for kind, v := range r.visits {
				if v.tries != tries || v.in != c.in[kind] {
					t.Errorf("%s: %d of %d got in, want %d", kind, v.in, v.tries, c.in[kind])
				}
			}
			if c.rate > 0 && (r.sent == 0 || r.taken == 0) {
				t.Errorf("%.0f packets a second were sent, %.0f %% of them received", r.sent, 100*r.taken)
			}
		})
	}
}

func TestAges(t *testing.T) {
	known, ports := assaultNamed(t, knownFlood), assaultNamed(t, portsFlood)
	room := gate{room: 60_000, contender: contender{name: "a"}}
	process := gate{daemon: true, age: 4 * time.Second}
	for _, c := range []struct {
		siege siege
		rate  int
		lasts time.Duration
	}{
		{siege{room, known, none, 1}, 0, 0},
		{siege{room, ports, 9000, 1}, 0, 0},
		{siege{room, known, 1000, 1}, 0, 0},
		{siege{room, known, 5000, 1}, 5000, 11 * time.Second},
		{siege{room, known, 100_000, 1}, 6300, 11 * time.Second},
		{siege{room, known, full, 1}, 6300, 11 * time.Second},
		{siege{gate{}, known, full, 1}, 0, 0},
		{siege{process, known, 1000, 1}, 1000, 4 * time.Second},
		{siege{process, ports, 1000, 1}, 0, 0},
	} {
		if rate, lasts := c.siege.ages(); rate != c.rate || lasts != c.lasts {
			t.Errorf("%s at %d: %d a second for %v, want %d for %v", c.siege.assault.name, c.siege.rate, rate, lasts, c.rate, c.lasts)
		}
	}
}

// What is measured becomes tables, plots and goals.
func TestSieges(t *testing.T) {
	a := assaultNamed(t, knownFlood)
	a.rates = []int{1000, 5000, full}
	slow := gate{contender: contender{name: "slow"}, daemon: true, few: 10}
	mine := gate{contender: contender{name: guard}, tirl: true, few: 100}
	gates := []gate{unguarded(), mine, slow}
	s := &sieges{&Env{Budget: floodTime, Log: t.Logf}, time.Now(), make(map[siegeKey]result)}
	put := func(g gate, rate int, taken float64, in ...int) {
		r := result{outcome: outcome{sent: float64(max(rate, 0)) + 0.5, taken: taken, visits: make(map[client]visits)}}
		for i, n := range in {
			r.visits[[]client{knocks, granted, trusted}[i]] = visits{100, n}
		}
		s.results[s.key(a, g, rate)] = r
	}
	for _, rate := range a.rates {
		put(unguarded(), rate, map[bool]float64{true: 0.5, false: 1}[rate == full], map[bool]int{true: 60, false: 100}[rate == full])
		put(mine, rate, 1, map[bool]int{true: 3, false: 100}[rate == full], 100, 98)
	}
	put(slow, 1000, 1, 0)
	s.results[s.key(a, slow, 5000)] = result{failed: "it broke"}
	if s.hopeless(a, slow, 5000) || s.hopeless(a, slow, full) || s.hopeless(a, mine, full) {
		t.Error("hopeless too soon")
	}
	put(slow, 5000, 1, 0)
	if !s.hopeless(a, slow, full) {
		t.Error("not hopeless after two failures")
	}
	if n := s.tries(a, slow); n != 10 {
		t.Errorf("%d tries", n)
	}
	got := s.table(a, gates).Markdown()
	_, got, _ = strings.Cut(got, "\n\n")
	want := "| gate | no flood | 1,000/s | 5,000/s | full speed |\n| --- | ---: | ---: | ---: | ---: |\n" +
		"| no rules | - | 100 | 100 | 60 |\n| tirl guard | - | 100 | 100 | 3 |\n| slow | - | 0 | 0 | - |\n" +
		"| tirl guard: open doors | - | 100 | 100 | 100 |\n| tirl guard: `trust` | - | 98 | 98 | 98 |\n" +
		"| no rules: packets received, % | - | 100 | 100 | 50 |\n| tirl guard: packets received, % | - | 100 | 100 | 100 |"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	plots := s.plots(a, gates)
	if len(plots) != 2 || len(plots[0].Lines) != 3 || len(plots[1].Lines) != 2 || plots[0].Lines[1].Points[2] != [2]float64{0.5, 3} {
		t.Errorf("%+v", plots)
	}
	// At full speed the queue of a server without rules was full, which is not the guard's fault.
	met := map[string]bool{}
	for _, g := range s.goals(a) {
		met[g.Text] = g.Met()
	}
	for text, want := range map[string]bool{"get in up to": true, "open doors": true, "`trust`": false} {
		for name, is := range met {
			if strings.HasPrefix(name, guard+",") && strings.Contains(name, text) && is != want {
				t.Errorf("%s: met is %v", name, is)
			}
		}
	}
}

// Frames that are made out of one differ in what they are to differ in, and are right.
func TestVary(t *testing.T) {
	next, err := vary(lab.Packet{Src: lab.Crowd4(), SrcPort: 1, Dst: lab.Server4(), Proto: port.UDP}, 300, []uint16{7, 8})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 700 {
		frame := next(n)
		var sum uint32
		for at := frameIP; at < frameUDP; at += 2 {
			sum += uint32(binary.BigEndian.Uint16(frame[at:]))
		}
		if sum = sum>>16 + sum&0xffff; sum != 0xffff {
			t.Fatalf("frame %d: the checksum is wrong", n)
		}
		source, to := binary.BigEndian.Uint32(frame[frameSource:]), binary.BigEndian.Uint16(frame[frameDstPort:])
		if source != 100<<24+64<<16+uint32(n%300) || to != uint16(7+n%2) {
			t.Fatalf("frame %d is from %#x to port %d", n, source, to)
		}
	}
	if all := allPorts(); len(all) != 65535 || slices.Min(all) != 1 || len(slices.Compact(slices.Sorted(slices.Values(all)))) != 65535 {
		t.Error("not every port once")
	}
}
