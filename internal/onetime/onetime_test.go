package onetime

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// Whoever has confirmed c finds a host that has lost its pool twice since, and
// never holds more than four values.
func TestCandidatesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.IntRange(policy.MinPool, policy.MaxPool).Draw(t, "pool")
		c := rapid.Uint64Max(math.MaxUint64/2).Draw(t, "c")
		all := Candidates(c, pool)
		if len(all) > 4 || all[0] != c {
			t.Fatalf("candidates %d", all)
		}
		for lost := uint64(1); lost <= 2; lost++ {
			if first := (Block(c, pool) + lost) * uint64(pool); !slices.Contains(all, first) {
				t.Fatalf("%d is not among %d", first, all)
			}
		}
	})
}

// TestDerivation takes the values apart by the document's own words.
func TestDerivation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Secret
		copy(s[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
		i := rapid.Uint64().Draw(t, "number")
		lo := rapid.Uint16Range(1, 60000).Draw(t, "lo")
		p := Params{First: port.Port{Proto: port.TCP, Number: 1}, Length: rapid.IntRange(2, policy.MaxLength).Draw(t, "length"),
			Lo: lo, Hi: rapid.Uint16Range(lo, 65535).Draw(t, "hi")}
		sum := func(context string) []byte {
			h := hmac.New(sha256.New, s[:])
			fmt.Fprintf(h, "%s%s", context, binary.BigEndian.AppendUint64(nil, i))
			return h.Sum(nil)
		}
		at := func(m []byte, from int) uint16 {
			word := uint64(m[from])<<24 | uint64(m[from+1])<<16 | uint64(m[from+2])<<8 | uint64(m[from+3])
			return uint16(uint64(p.Lo) + word%uint64(p.Hi-p.Lo+1))
		}
		m := sum("tirl one-time token v1")
		if token, to := s.Token(i, p); hex.EncodeToString(token[:]) != hex.EncodeToString(m[:16]) || to != at(m, 16) || to < p.Lo || to > p.Hi {
			t.Fatalf("token %x to %d", token, to)
		}
		m = sum("tirl one-time sequence v1")
		knocks := s.Sequence(i, p)
		if len(knocks) != p.Length || knocks[0] != p.First {
			t.Fatalf("knocks %v", knocks)
		}
		for j, k := range knocks[1:] {
			if k != (port.Port{Proto: port.UDP, Number: at(m, 4*j)}) {
				t.Fatalf("knock %d is %s", j+2, k)
			}
		}
	})
}

func TestSecretIsNotPrinted(t *testing.T) {
	s := Secret{1, 2, 3}
	k := Key{Secret: s}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %x %q %d", s, s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", k, k, k)} {
		for _, secret := range []string{"010203", "1 2 3", "0x1, 0x2", s.Text()} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows the secret", text)
			}
		}
	}
}
