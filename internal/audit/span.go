package audit

import (
	"fmt"
	"math"
)

// Span is a length of time in seconds. Those of Guess are far beyond what a
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
