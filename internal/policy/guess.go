package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"tirl/internal/port"
)

// Pattern is what makes a sequence easy to guess: it is one of few that somebody
// who knows how people choose would try first.
type Pattern struct {
	Text string // of the knocks: "they are all round numbers"; empty: none was found
	// Bits is the logarithm of about how many sequences of this length have the
	// pattern, First that of how many different first knocks those have.
	Bits, First float64
}

// enoughBits is when a pattern is no cause for a warning: where only a few ports
// reach a host, more knocks make up for it.
const enoughBits = 64

// Widths of a range of ports within which all knocks of a sequence lie.
const (
	closeTogether = 256  // guessable
	closeEnough   = 4096 // too close to be chance: the ports to choose from were fewer
)

// allPorts is the logarithm of how many ports there are.
var allPorts = math.Log2(math.MaxUint16)

// wellKnown are the sequences of manuals, guides and default files. The first
// ports of one, three at least, count as well, in any order.
func wellKnown() [][]uint16 {
	return [][]uint16{
		{7000, 8000, 9000},           // knockd.conf
		{12345, 54321, 24680, 13579}, // knockd.conf
		{2222, 3333, 4444},           // knockd(1)
		{12345, 23456, 34567, 45678}, // the nftables wiki and its copies
		{123, 234, 345, 456},         // the nftables wiki
		{1234, 2345, 3456, 4567},
		{1234, 5678, 9012},
		{1111, 2222, 3333, 4444}, // iptables guides
		{8881, 7777, 9991},       // the Arch wiki
		{10000, 20000, 30000, 40000},
		{10001, 10002, 10003, 10004},
		{100, 200, 300, 400}, // csf
		{1000, 2000, 3000, 4000},
		{5000, 6000, 7000, 8000},
		{1337, 31337, 7331},
	}
}

// Guessable gives the pattern of a sequence, if it makes it easy to guess.
func Guessable(knocks []port.Port) (Pattern, bool) {
	p := pattern(knocks, closeTogether)
	return p, p.Text != "" && p.Bits < enoughBits
}

// PatternOf finds the pattern of a sequence of two knocks or more that leaves
// the fewest sequences: docs/audit.md lists them. That none is found does not
// make a sequence random.
func PatternOf(knocks []port.Port) Pattern { return pattern(knocks, closeEnough) }

// pattern counts ports as close to one another that lie within a width.
func pattern(knocks []port.Port, width int) Pattern {
	if len(knocks) < 2 {
		return Pattern{}
	}
	ports := numbers(knocks)
	protos := map[port.Proto]bool{}
	for _, k := range knocks {
		protos[k.Proto] = true
	}
	var best Pattern
	consider := func(p Pattern) {
		if p.Text != "" && (best.Text == "" || p.Bits < best.Bits) {
			best = p
		}
	}
	for _, find := range []func([]uint16) Pattern{inGuides, isDate, isLiked, inSteps, inGrowth, inFewPorts, isMirrored, inSameDigits} {
		consider(find(ports))
	}
	consider(isClose(ports, width))
	if best.Text == "" {
		return best
	}
	each := math.Log2(float64(len(protos)))
	best.Bits += each * float64(len(ports))
	best.First += each
	return best
}

func inGuides(ports []uint16) Pattern {
	if len(ports) < 3 {
		return Pattern{}
	}
	sorted := slices.Sorted(slices.Values(ports))
	for _, known := range wellKnown() {
		if len(ports) <= len(known) && slices.Equal(slices.Sorted(slices.Values(known[:len(ports)])), sorted) {
			bits := math.Log2(float64(len(wellKnown())))
			return Pattern{"they are in every guide", bits + orders(len(ports)), bits + math.Log2(float64(len(ports)))}
		}
	}
	return Pattern{}
}

// orders is the logarithm of n factorial.
func orders(n int) float64 {
	lg, _ := math.Lgamma(float64(n + 1))
	return lg / math.Ln2
}

// isDate knows a year, a month and a day, a part to a port: 2024, 11, 25 or 20,
// 24, 11, 25 or 2511, 2024.
func isDate(ports []uint16) Pattern {
	small := 0
	for _, p := range ports {
		dayAndMonth := isDay(p/100, p%100) || isDay(p%100, p/100)
		switch {
		case 1 <= p && p <= 31:
			small++
		case isYear(p), dayAndMonth:
		default:
			return Pattern{}
		}
	}
	if len(ports) > 4 || small == 0 && !slices.ContainsFunc(ports, func(p uint16) bool { return !isYear(p) }) {
		return Pattern{} // years alone are liked numbers
	}
	const days, notations = 200 * 366, 16
	return Pattern{"they look like a date", math.Log2(days * notations), math.Log2(31 + 366)}
}

func isDay(day, month uint16) bool { return 1 <= day && day <= 31 && 1 <= month && month <= 12 }

func isYear(p uint16) bool { return 1900 <= p && p < 2100 }

// inSteps knows ports that are evenly spaced, in whatever order.
func inSteps(ports []uint16) Pattern {
	if len(ports) < 3 {
		return Pattern{}
	}
	// Small steps are tried first.
	bits := func(step int) float64 { return allPorts + math.Log2(math.Abs(float64(2*step))+1) }
	if step, ok := constantStep(ports); ok {
		return Pattern{stepText(step), bits(step), allPorts}
	}
	if step, ok := constantStep(slices.Sorted(slices.Values(ports))); ok {
		return Pattern{fmt.Sprintf("they are %d apart, in another order", step), bits(step) + orders(len(ports)), allPorts}
	}
	return Pattern{}
}

// inGrowth knows ports each of which is a multiple of the one before by one same
// number, or the sum of the two before it.
func inGrowth(ports []uint16) Pattern {
	if len(ports) < 3 {
		return Pattern{}
	}
	factor := int(ports[1]) / max(1, int(ports[0]))
	multiples, sums := factor > 1, true
	for i := 1; i < len(ports); i++ {
		multiples = multiples && int(ports[i]) == factor*int(ports[i-1])
		sums = sums && (i < 2 || int(ports[i]) == int(ports[i-1])+int(ports[i-2]))
	}
	switch {
	case multiples:
		return Pattern{fmt.Sprintf("each is %d times the one before", factor), allPorts + 4, allPorts}
	case sums:
		return Pattern{"each is the sum of the two before", 2 * allPorts, allPorts}
	}
	return Pattern{}
}

// inFewPorts knows sequences that use the same ports again and again.
func inFewPorts(ports []uint16) Pattern {
	seen := map[uint16]int{}
	most := ports[0]
	for _, p := range ports {
		if seen[p]++; seen[p] > seen[most] {
			most = p
		}
	}
	n, different := len(ports), len(seen)
	bits := float64(different)*allPorts + float64(n)*math.Log2(float64(different))
	switch {
	case 2*seen[most] > n:
		return Pattern{fmt.Sprintf("%d of %d are port %d", seen[most], n, most), bits, allPorts}
	case 2*different <= n:
		return Pattern{fmt.Sprintf("they are %d ports again and again", different), bits, allPorts}
	}
	return Pattern{}
}

func isMirrored(ports []uint16) Pattern {
	backwards := slices.Clone(ports)
	slices.Reverse(backwards)
	if len(ports) < 3 || !slices.Equal(ports, backwards) {
		return Pattern{}
	}
	return Pattern{"they are the same backwards", float64((len(ports)+1)/2) * allPorts, allPorts}
}

// isClose knows ports that lie within a narrow range of one another.
func isClose(ports []uint16, most int) Pattern {
	width := int(slices.Max(ports)-slices.Min(ports)) + 1
	if width > most {
		return Pattern{}
	}
	return Pattern{fmt.Sprintf("they are all within %d of one another", width), allPorts + float64(len(ports))*math.Log2(float64(width)), allPorts}
}

// inSameDigits knows ports that have the same digits in other orders.
func inSameDigits(ports []uint16) Pattern {
	if len(ports) < 3 {
		return Pattern{}
	}
	digits := func(p uint16) string {
		s := []byte(strconv.Itoa(int(p)))
		slices.Sort(s)
		return string(s)
	}
	for _, p := range ports[1:] {
		if digits(p) != digits(ports[0]) {
			return Pattern{}
		}
	}
	return Pattern{"they have the same digits", allPorts + float64(len(ports)-1)*orders(5), allPorts}
}
