package audit

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// table gives the rows of the table of docs/audit.md that begins with a header.
func table(t *testing.T, header string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "| "+header+" |")
	if !ok {
		t.Fatalf("docs/audit.md has no table of %s", header)
	}
	for _, line := range strings.Split(rest, "\n")[2:] {
		if !strings.HasPrefix(line, "|") {
			return rows
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// random are ports without a pattern.
func random() []port.Port {
	return numbered(40213, 7719, 28816, 15302, 61111, 52908)
}

func numbered(all ...uint16) []port.Port {
	out := make([]port.Port, len(all))
	for i, n := range all {
		out[i] = port.Port{Proto: port.UDP, Number: n}
	}
	return out
}

// house is a policy of some doors, with the defaults of a policy file.
func house(doors ...policy.Door) *policy.Policy {
	for i := range doors {
		doors[i].Name = string(rune('a' + i))
		if len(doors[i].Opens) == 0 {
			doors[i].Opens = []port.Range{{Proto: port.TCP, First: 22, Last: 22}}
		}
	}
	return &policy.Policy{Doors: doors, Knocking: policy.Knocking{Duplicates: policy.IgnoreDuplicates, PerSource: 20}}
}

func TestDocTimes(t *testing.T) {
	var want [][]string
	for k := 1; k <= 6; k++ {
		d := Of(house(policy.Door{Knocks: random()[:k]})).Doors[0]
		want = append(want, []string{strconv.Itoa(k), fmt.Sprintf("%.0f", d.Bits), d.One.String(), d.Many.String(), d.Unlimited.String()})
	}
	got := table(t, "knocks")
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("docs/audit.md has\n%q\nnot\n%q", got, want)
	}
}

func TestDocPatterns(t *testing.T) {
	rows := table(t, "pattern")
	for _, row := range rows {
		var ports []uint16
		for _, s := range strings.Split(row[1], ", ") {
			n, err := strconv.ParseUint(s, 10, 16)
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, uint16(n))
		}
		p, ok := policy.Guessable(numbered(ports...))
		if got := fmt.Sprintf("%.0f", p.Bits); !ok || got != row[2] {
			t.Errorf("%s: %s is %q with %s bits, not %s", row[0], row[1], p.Text, got, row[2])
		}
	}
	if len(rows) < 16 {
		t.Errorf("only %d patterns", len(rows))
	}
}

// The limit changes nothing from 23 addresses on.
func TestDocAddresses(t *testing.T) {
	d := target(65535, 4, false, true)
	for _, tt := range []struct {
		addresses float64
		limited   bool
	}{{22, true}, {23, false}} {
		g := Guesser{Rate: LineRate, PerSource: 20, Buckets: tt.addresses}
		if got := d.Time(g) > d.Time(Guesser{Rate: LineRate}); got != tt.limited {
			t.Errorf("%g addresses are limited: %v", tt.addresses, got)
		}
	}
}

func TestOf(t *testing.T) {
	prefix := netip.MustParsePrefix
	services := func(first, last uint16) []port.Range {
		return []port.Range{{Proto: port.TCP, First: first, Last: last}}
	}
	p := house(
		policy.Door{Knocks: random()[:3]},
		policy.Door{Knocks: numbered(40213, 7719, 28817), Opens: services(20, 30)},
		policy.Door{Knocks: numbered(40213, 8816, 28817, 5), Opens: services(24, 24), Once: true},
		policy.Door{Knocks: numbered(7000, 8000, 9000), From: []netip.Prefix{prefix("203.0.113.0/24"), prefix("2001:db8::/63"), prefix("2001:db9::5/128")}},
		policy.Door{Knocks: numbered(40001, 47000, 44000, 40001+4095), From: []netip.Prefix{prefix("10.0.0.0/8")}},
	)
	r := Of(p)
	var shared []string
	for _, d := range r.Doors {
		shared = append(shared, fmt.Sprintf("%s%d:%.0f", d.Shared.Door, d.Shared.Knocks, d.Shared.Bits))
	}
	if got := strings.Join(shared, " "); got != "b2:16 a2:16 b1:48 0:0 0:0" && got != "b2:16 a2:16 a1:48 0:0 0:0" {
		t.Errorf("shared beginnings: %s", got)
	}
	if n := r.Doors[3].Addresses; n != 256+2+1 || r.Doors[4].Addresses != ManyAddresses || r.Doors[0].Addresses != ManyAddresses {
		t.Errorf("addresses: %g", n)
	}
	if d := r.Doors[3]; d.Pattern.Text == "" || d.One > 1 || math.Round(d.Bits) != 48 {
		t.Errorf("a sequence of every guide: %+v", d)
	}
	if d := r.Doors[4]; d.Pattern.Text != "" {
		t.Errorf("no pattern: %+v", d)
	}
	var groups []string
	for _, s := range r.Services {
		groups = append(groups, fmt.Sprintf("%v %v %.0f", s.Ports, s.Doors, s.Bits))
		least := r.Doors[0].One
		if ratio := float64(s.One / least); s.Doors[0] == "a" && math.Abs(ratio-2./3) > 0.01 {
			t.Errorf("two doors alike are guessed in %.2f of the time of one", ratio)
		}
	}
	if got := strings.Join(groups, "; "); got != "[tcp/22] [a b] 47; [tcp/24] [b c] 48" {
		t.Errorf("services: %s", got)
	}
	p.Knocking.MatchTTL = true
	if ttl := Of(p); ttl.Buckets != bucketsByTTL || ttl.Doors[0].One >= r.Doors[0].One {
		t.Errorf("with match_ttl: %g buckets, %s", ttl.Buckets, ttl.Doors[0].One)
	}
	p.Knocking.MatchTTL, p.Knocking.Duplicates = false, policy.ResetDuplicates
	if reset := Of(p); math.Abs(float64(reset.Doors[0].One/r.Doors[0].One)-1.5) > 0.01 {
		t.Errorf("without repetitions that stay: %s, with: %s", reset.Doors[0].One, r.Doors[0].One)
	}
}
