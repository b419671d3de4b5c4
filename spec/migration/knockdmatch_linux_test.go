package migration

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/knockd"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// matching has doors that share ports and beginnings, with and without flags.
const matching = `[a]
sequence = 7001,7002:udp,7003
tcpflags = syn
[b]
sequence = 7001,7002:udp,7004
tcpflags = syn,!ack
[c]
sequence = 7002:udp,7003,7002:udp,7003
[d]
sequence = 7004,7004,7001
[short]
sequence = 7003,7001
seq_timeout = 2
[end]
sequence = 9999:udp
`

// TestKnockdMatches sends random packets of few sources to few ports, and compares
// the doors that knockd opens with those that its algorithm, as it is written down
// in internal/knockd, opens.
func TestKnockdMatches(t *testing.T) {
	t.Parallel()
	pair := labtest.Pair(t, lab.PairOptions{})
	inject, err := lab.NewInjector(pair)
	if err != nil {
		t.Fatal(err)
	}
	defer inject.Close()
	d := start(t, pair.Server, matching)
	config, found := knockd.Parse("knockd.conf", []byte(matching))
	if config == nil {
		t.Fatal(found)
	}
	m := knockd.NewMatcher(config, lab.Server4(), lab.Server6())
	r := rand.New(rand.NewPCG(11, 3))
	opened := 0
	for round := range 30 {
		away(50 * time.Millisecond)
		var packets []knockd.Packet
		for range 8 {
			packets = append(packets, attempt(r, config.Doors[r.IntN(len(config.Doors)-1)])...)
		}
		packets = append(packets, knockd.Packet{Src: lab.Forged4(100), To: port.Port{Proto: port.UDP, Number: 9999}})
		var want []string
		frames := make([]lab.Packet, len(packets))
		for i, p := range packets {
			p.Second, p.Dst = time.Now().Unix(), lab.Server4()
			if p.Src.Is6() {
				p.Dst = lab.Server6()
			}
			frames[i] = lab.Packet{Src: p.Src, Dst: p.Dst, Proto: p.To.Proto, SrcPort: uint16(20000 + i), DstPort: p.To.Number, Flags: p.Flags}
			for _, door := range m.Packet(p) {
				want = append(want, fmt.Sprintf("%s %s", p.Src, config.Doors[door].Name))
			}
		}
		if err := inject.Send(t.Context(), frames...); err != nil {
			t.Fatal(err)
		}
		got := openings(d.until(func(line string) bool { _, door, _ := opening(line); return door == "end" }))
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: knockd opens %q, and should open %q, after %v", round, got, want, packets)
		}
		opened += len(got) - 1
		if r.IntN(8) == 0 {
			time.Sleep(time.Second) // for attempts to end
		}
	}
	t.Logf("%d doors opened", opened)
	if opened < 60 {
		t.Error("the comparison says little")
	}
}

// away waits until a second has a while to go: knockd counts whole ones.
func away(margin time.Duration) {
	if left := time.Until(time.Now().Truncate(time.Second).Add(time.Second)); left < 2*margin {
		time.Sleep(left + margin)
	}
}

// attempt is a door's sequence from one source, now and then with something else
// in it.
func attempt(r *rand.Rand, d *knockd.Door) (packets []knockd.Packet) {
	source := random(r).Src
	for _, to := range d.Ports() {
		if r.IntN(7) == 0 {
			packets = append(packets, random(r))
		}
		p := knockd.Packet{Src: source, To: to}
		if to.Proto == port.TCP {
			p.Flags = automaton.SYN
		}
		packets = append(packets, p)
	}
	return packets
}

// random is a packet that has a fair chance to get somewhere.
func random(r *rand.Rand) knockd.Packet {
	sources := []netip.Addr{lab.Forged4(0), lab.Forged4(1), lab.Forged6(0)}
	to := []port.Port{{Proto: port.TCP, Number: 7001}, {Proto: port.UDP, Number: 7002}, {Proto: port.TCP, Number: 7003}, {Proto: port.TCP, Number: 7004},
		{Proto: port.UDP, Number: 7001}, {Proto: port.TCP, Number: 80}}
	weights := []int{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5}
	p := knockd.Packet{Src: sources[r.IntN(4)%3], To: to[weights[r.IntN(len(weights))]]}
	if p.To.Proto == port.TCP {
		p.Flags = []uint8{automaton.SYN, automaton.SYN, automaton.SYN, automaton.SYN, automaton.SYN | automaton.ACK, automaton.ACK}[r.IntN(6)]
	}
	return p
}
