package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
)

var (
	service = port.Port{Proto: port.TCP, Number: 22}
	home    = netip.MustParseAddr("198.51.100.7")
)

// knocks gives UDP ports. Guessers of these tests know that there are few of them.
func knocks(numbers ...int) []port.Port {
	all := make([]port.Port, len(numbers))
	for i, n := range numbers {
		all[i] = port.Port{Proto: port.UDP, Number: uint16(2000 + n)}
	}
	return all
}

// compile makes a policy of one door for each sequence.
func compile(t testing.TB, perSource int, once, stay bool, sequences ...[]port.Port) *automaton.Program {
	t.Helper()
	p := &policy.Policy{
		Version: 1, Mode: policy.Guard, Refuse: policy.Drop,
		Knocking: policy.Knocking{StepTimeout: 10 * time.Second, Duplicates: policy.ResetDuplicates, IPv6Prefix: 128, PerSource: perSource, Sources: 65536},
	}
	if stay {
		p.Knocking.Duplicates = policy.IgnoreDuplicates
	}
	for i, s := range sequences {
		d := policy.Door{
			Name: fmt.Sprintf("d%d", i), Knocks: s, Once: once,
			Opens: []port.Range{{Proto: service.Proto, First: service.Number + uint16(i), Last: service.Number + uint16(i)}},
		}
		if !once {
			d.OpenFor = 30 * time.Second
		}
		p.Doors = append(p.Doors, d)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// sender is somebody at one address with a line of some speed, and what the
// reference interpreter makes of the packets.
type sender struct {
	in          *automaton.Interpreter
	now, gap    time.Duration
	ttl         uint8
	sent, heard int
	opened      bool
	furthest    int // the most knocks done
	last        automaton.Outcome
}

func newSender(g *automaton.Program, rate float64) *sender {
	return &sender{in: automaton.NewInterpreter(g), gap: time.Duration(float64(time.Second) / rate), ttl: 64}
}

func (s *sender) send(stream ...port.Port) {
	for _, to := range stream {
		p := automaton.Packet{Time: s.now, Src: home, To: to, TTL: s.ttl, Conn: automaton.New}
		if to.Proto == port.TCP {
			p.Flags = automaton.SYN
		}
		s.last = s.in.Packet(p)
		s.now += s.gap
		s.sent++
		if s.last.Reason != automaton.Limited {
			s.heard++
		}
		s.opened = s.opened || s.last.Reason == automaton.Opened || s.last.Reason == automaton.LetIn
		s.furthest = max(s.furthest, len(s.last.After))
	}
}

func (s *sender) wait(t time.Duration) { s.now += t }

// deBruijn is a cyclic sequence over n numbers that has every sequence of k of
// them once, with its first k-1 numbers again at the end: the Lyndon words whose
// length divides k, in order (Fredricksen and Maiorana).
func deBruijn(n, k int) []int {
	var all []int
	for word := []int{-1}; len(word) > 0; {
		word[len(word)-1]++
		if k%len(word) == 0 {
			all = append(all, word...)
		}
		period := len(word)
		for len(word) < k {
			word = append(word, word[len(word)-period])
		}
		for len(word) > 0 && word[len(word)-1] == n-1 {
			word = word[:len(word)-1]
		}
	}
	return append(all, all[:k-1]...)
}

func TestDeBruijn(t *testing.T) {
	for _, tt := range []struct{ n, k int }{{2, 3}, {3, 2}, {5, 3}, {7, 1}} {
		all := deBruijn(tt.n, tt.k)
		seen := map[string]bool{}
		for w := range slices.Values(slices.Collect(windows(all, tt.k))) {
			seen[fmt.Sprint(w)] = true
		}
		want := 1
		for range tt.k {
			want *= tt.n
		}
		if len(seen) != want || len(all) != want+tt.k-1 {
			t.Errorf("%d numbers, %d at a time: %d of %d, in %d: %s", tt.n, tt.k, len(seen), want, len(all), strings.Trim(fmt.Sprint(all), "[]"))
		}
	}
}

// windows gives every k numbers in a row.
func windows(all []int, k int) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		for i := 0; i+k <= len(all) && yield(all[i:i+k]); i++ {
		}
	}
}
