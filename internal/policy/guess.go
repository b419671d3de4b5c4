package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/port"
)

// closeTogether is the width of a range of ports within which all knocks of a
// sequence are counted as guessable.
const closeTogether = 256

// wellKnown are the sequences of manuals, guides and default files. The first
// ports of one, three at least, count as well.
func wellKnown() [][]uint16 {
	return [][]uint16{
		{7000, 8000, 9000},           // knockd.conf
		{9000, 8000, 7000},           // knockd.conf
		{12345, 54321, 24680, 13579}, // knockd.conf
		{2222, 3333, 4444},           // knockd(1)
		{12345, 23456, 34567, 45678}, // the nftables wiki and its copies
		{123, 234, 345, 456},         // the nftables wiki
		{1234, 2345, 3456, 4567},
		{1111, 2222, 3333, 4444}, // iptables guides
		{8881, 7777, 9991},       // the Arch wiki
		{10001, 10002, 10003, 10004},
		{1000, 2000, 3000, 4000},
		{5000, 6000, 7000, 8000},
	}
}

// guessable says what makes a sequence of two knocks or more easy to guess, or
// nothing. The first of these that holds:
//
//   - the ports are the beginning of a sequence that guides and default files
//     have (at least three of its ports);
//   - each of three ports or more is above the one before by one same number;
//   - more than half of the knocks are one port;
//   - three or more knocks are the same backwards;
//   - each port is a digit repeated (5555), or digits in a row up or down
//     (2345, 9876);
//   - each port is a multiple of 100;
//   - each port is below 1024;
//   - each port could be a year from 1900 to 2099;
//   - all ports lie within 256 of one another.
func guessable(knocks []port.Port) string {
	if len(knocks) < 2 {
		return ""
	}
	ports := make([]uint16, len(knocks))
	for i, k := range knocks {
		ports[i] = k.Number
	}
	all := func(is func(uint16) bool) bool {
		return !slices.ContainsFunc(ports, func(p uint16) bool { return !is(p) })
	}
	step, isConstant := constantStep(knocks)
	backwards := slices.Clone(ports)
	slices.Reverse(backwards)
	port, times := commonest(ports)
	switch {
	case isWellKnown(ports):
		return "they are in every guide"
	case isConstant && len(ports) > 2:
		return stepText(step)
	case 2*times > len(ports):
		return fmt.Sprintf("%d of %d are port %d", times, len(ports), port)
	case len(ports) > 2 && slices.Equal(ports, backwards):
		return "they are the same backwards"
	case all(isDigitPattern):
		return "their digits repeat or count"
	case all(func(p uint16) bool { return p%100 == 0 }):
		return "they are all round numbers"
	case all(func(p uint16) bool { return p < 1024 }):
		return "they are all below 1024, where scanners look first"
	case all(func(p uint16) bool { return 1900 <= p && p < 2100 }):
		return "they look like years"
	case slices.Max(ports)-slices.Min(ports) < closeTogether:
		return fmt.Sprintf("they are all within %d of one another", closeTogether)
	}
	return ""
}

func isWellKnown(ports []uint16) bool {
	return len(ports) > 2 && slices.ContainsFunc(wellKnown(), func(known []uint16) bool {
		return len(ports) <= len(known) && slices.Equal(known[:len(ports)], ports)
	})
}

func commonest(ports []uint16) (port uint16, times int) {
	seen := map[uint16]int{}
	for _, p := range ports {
		if seen[p]++; seen[p] > times {
			port, times = p, seen[p]
		}
	}
	return port, times
}

func isDigitPattern(p uint16) bool {
	s := strconv.Itoa(int(p))
	return len(s) > 2 && (strings.Count(s, s[:1]) == len(s) ||
		strings.Contains("0123456789", s) || strings.Contains("9876543210", s))
}
