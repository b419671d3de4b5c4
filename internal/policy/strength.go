package policy

import (
	"fmt"
	"math"
)

// Strength says what it takes to open a door by guessing.
type Strength struct {
	Door  string
	Bits  float64 // log2 of the number of sequences of the door's length
	One   Span    // expected time from one address
	Many  Span    // expected time from ManyAddresses addresses at once
	Named bool    // the door has a from: nobody else can try at all
}

// ManyAddresses is the size of the botnet in Strength.Many.
const ManyAddresses = 10000

// Strengths gives the strength of each door, in the order of the file.
//
// A door of n knocks is one of S = (65535 p)^n sequences, p being the number of
// protocols that its knocks use. Somebody who guesses blindly needs S/2 tries on
// average, a try costs n packets, and each address is heard per_source times a
// second: from a addresses that takes S/2 * n / (per_source * a) seconds. Who can
// see the knocks needs no guess, and ports that a person chose are fewer than all
// ports; both are not in the figures.
func (p *Policy) Strengths() []Strength {
	all := make([]Strength, len(p.Doors))
	for i := range p.Doors {
		door := &p.Doors[i]
		packets := math.Exp2(door.bits()-1) * float64(len(door.Knocks))
		one := packets / float64(max(1, p.Knocking.PerSource))
		all[i] = Strength{
			Door:  door.Name,
			Bits:  door.bits(),
			One:   Span(one),
			Many:  Span(one / ManyAddresses),
			Named: len(door.From) > 0,
		}
	}
	return all
}

func (d *Door) bits() float64 {
	protos := map[uint8]bool{}
	for _, k := range d.Knocks {
		protos[uint8(k.Proto)] = true
	}
	return float64(len(d.Knocks)) * math.Log2(65535*float64(len(protos)))
}

// Span is a length of time in seconds. Those of Strength are far beyond what a
// time.Duration holds.
type Span float64

// String gives two significant digits and one unit, such as "4 days" or
// "1.2 million years".
func (s Span) String() string {
	const year = 365.25 * 86400
	units := []struct {
		seconds float64
		name    string
	}{
		{year, "year"}, {30.4375 * 86400, "month"}, {86400, "day"},
		{3600, "hour"}, {60, "minute"}, {1, "second"},
	}
	switch n := float64(s); {
	case math.IsNaN(n) || n < 1:
		return "less than a second"
	case n/year >= 1000:
		return largeYears(n / year)
	}
	for _, u := range units {
		if n := twoDigits(float64(s) / u.seconds); n >= 1 {
			if n == 1 {
				return "1 " + u.name
			}
			return fmt.Sprintf("%g %ss", n, u.name)
		}
	}
	return "less than a second"
}

// largeYears is for a thousand years and more.
func largeYears(years float64) string {
	if years >= 1e15 {
		return fmt.Sprintf("10^%d years", int(math.Floor(math.Log10(years))))
	}
	for _, u := range []struct {
		years float64
		name  string
	}{{1e12, "trillion"}, {1e9, "billion"}, {1e6, "million"}} {
		if n := twoDigits(years / u.years); n >= 1 {
			return fmt.Sprintf("%g %s years", n, u.name)
		}
	}
	return fmt.Sprintf("%.0f years", twoDigits(years))
}

// twoDigits rounds to two significant digits.
func twoDigits(n float64) float64 {
	if n <= 0 || math.IsInf(n, 0) {
		return n
	}
	scale := math.Pow(10, math.Floor(math.Log10(n))-1)
	if scale < 1 {
		return math.Round(n/scale) / math.Round(1/scale)
	}
	return math.Round(n/scale) * scale
}
