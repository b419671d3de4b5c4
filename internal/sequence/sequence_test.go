package sequence

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tirl/internal/port"
)

func random(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

func anything([]port.Port, bool) error { return nil }

func none(uint16) bool { return false }

func udpOnly() []port.Proto { return []port.Proto{port.UDP} }

func both() []port.Proto { return []port.Proto{port.UDP, port.TCP} }

func TestDrawProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Plan{Judge: anything, Ephemeral: none, Protos: rapid.SampledFrom([][]port.Proto{udpOnly(), {port.TCP}, both()}).Draw(t, "protocols")}
		if rapid.Bool().Draw(t, "how many") {
			p.Knocks = rapid.IntRange(MinKnocks, MaxKnocks).Draw(t, "knocks")
		}
		if rapid.Bool().Draw(t, "ports") {
			p.First = rapid.Uint16Min(1).Draw(t, "first")
			p.Last = rapid.Uint16Range(p.First, uint16(min(math.MaxUint16, int(p.First)+5000))).Draw(t, "last")
		}
		if rapid.Bool().Draw(t, "ephemeral") {
			p.Ephemeral = func(n uint16) bool { return 32768 <= n && n <= 60999 }
		}
		for range rapid.IntRange(0, 4).Draw(t, "services") {
			first := rapid.Uint16Min(1).Draw(t, "service")
			p.Avoid = append(p.Avoid, port.Range{Proto: rapid.SampledFrom(both()).Draw(t, "protocol"), First: first, Last: first | 0xff})
		}
		s, err := Draw(random(rapid.Uint64().Draw(t, "seed")), p)
		if err != nil {
			if !errors.Is(err, ErrTooFew) || len(p.pool(true)) > 300 {
				t.Fatalf("%d ports: %v", len(p.pool(true)), err)
			}
			return
		}
		if p.Knocks > 0 && len(s.Knocks) != p.Knocks {
			t.Fatalf("%d knocks, want %d", len(s.Knocks), p.Knocks)
		}
		if p.Knocks == 0 && s.Bits <= EnoughBits && len(s.Knocks) < MaxKnocks {
			t.Fatalf("%d knocks of %g bits", len(s.Knocks), s.Bits)
		}
		if !p.hasAll(s.Knocks) {
			t.Fatalf("a protocol is missing: %v", s.Knocks)
		}
		outside := len(p.pool(false))
		for i, k := range s.Knocks {
			switch {
			case slices.Contains(s.Knocks[:i], k):
				t.Fatalf("%v has %v twice", s.Knocks, k)
			case slices.ContainsFunc(p.Avoid, func(r port.Range) bool { return r.Contains(k) }):
				t.Fatalf("%v is a service", k)
			case p.Last > 0 && (k.Number < p.First || p.Last < k.Number), p.Last == 0 && k.Number < lowest:
				t.Fatalf("%v is not one of the ports", k)
			case outside >= spare && p.Ephemeral(k.Number):
				t.Fatalf("%v is ephemeral", k)
			case p.Ephemeral(k.Number) && !s.Ephemeral:
				t.Fatalf("%v is ephemeral, and that is not said", k)
			}
		}
	})
}

// Each sequence that passes comes as often as any other, and the bits say how
// many those are.
func TestDrawIsFair(t *testing.T) {
	p := Plan{
		Knocks: 3, Protos: both(), First: 1, Last: 3, Avoid: []port.Range{{Proto: port.TCP, First: 2, Last: 3}},
		Ephemeral: none,
		Judge: func(knocks []port.Port, _ bool) error {
			if knocks[0].Proto == port.TCP {
				return errors.New("begins with TCP")
			}
			return nil
		},
	}
	// Of udp/1, udp/2, udp/3 and tcp/1 there are 24 arrangements of three; 6 lack
	// TCP, and 6 begin with it.
	const n, kinds = 6000, 12
	source := random(1)
	counts := map[[3]port.Port]int{}
	sum := 0.0
	for range n {
		s, err := Draw(source, p)
		if err != nil {
			t.Fatal(err)
		}
		counts[[3]port.Port(s.Knocks)]++
		sum += s.Bits
	}
	if len(counts) != kinds {
		t.Fatalf("%d sequences, want %d", len(counts), kinds)
	}
	chi := 0.0
	for _, c := range counts {
		d := float64(c) - n/kinds
		chi += d * d / (n / kinds)
	}
	// 11 degrees of freedom: 31.3 is exceeded once in a thousand times, and the
	// source of the numbers is always the same here.
	if chi > 31.3 {
		t.Errorf("chi-squared %g: %v", chi, counts)
	}
	if bits := sum / n; math.Abs(bits-math.Log2(kinds)) > 0.1 {
		t.Errorf("%g bits, want %g", bits, math.Log2(kinds))
	}
}

func TestDrawFails(t *testing.T) {
	refuse := func([]port.Port, bool) error { return errors.New("no good") }
	for _, c := range []struct {
		plan Plan
		want string
	}{
		{Plan{Protos: udpOnly(), First: 7, Last: 8, Judge: anything, Ephemeral: none}, "too few ports: 2, for 16 different knocks"},
		{Plan{Protos: udpOnly(), First: 7, Last: 8, Avoid: []port.Range{{Proto: port.UDP, First: 1, Last: 9}}, Judge: anything, Ephemeral: none}, "too few ports"},
		{Plan{Protos: udpOnly(), Judge: refuse, Ephemeral: none}, "too few ports: of most sequences of 16, no good"},
		{Plan{Protos: both(), Knocks: 3, First: 7, Last: 9, Avoid: []port.Range{{Proto: port.TCP, First: 1, Last: 99}}, Judge: anything, Ephemeral: none}, "too few ports: 3, for 3 knocks of both protocols"},
	} {
		if _, err := Draw(random(1), c.plan); !errors.Is(err, ErrTooFew) || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.plan, err, c.want)
		}
	}
	if _, err := Draw(errReader{}, Plan{Protos: udpOnly(), Judge: anything, Ephemeral: none}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without random numbers: %v", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
