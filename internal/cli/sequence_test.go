package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"

	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/sequence"
)

// Whatever gen is asked for, on whatever host, check has nothing against what it
// draws, but that knocks are at ports of the host's own connections where there
// are no others; and that is said.
func TestDrawnIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cmd := &cobra.Command{}
		var f sequenceFlags
		f.add(cmd)
		args := []string{"--proto", rapid.SampledFrom(protos()).Draw(t, "protocol")}
		wide := true
		if rapid.Bool().Draw(t, "ports") {
			first := rapid.Uint16Range(1, 65000).Draw(t, "first")
			n := rapid.SampledFrom([]int{20, 100, 256, 300, 1000, 20000}).Draw(t, "number")
			wide = n == 20000 && int(first)+n <= 65535
			args = append(args, "--ports", fmt.Sprintf("%d-%d", first, min(65535, int(first)+n-1)))
		}
		if rapid.Bool().Draw(t, "how many") {
			args = append(args, "--knocks", fmt.Sprint(rapid.IntRange(sequence.MinKnocks, sequence.MaxKnocks).Draw(t, "knocks")))
		}
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		plan, err := f.plan(cmd)
		if err != nil {
			t.Fatal(err)
		}
		h := policy.Host{EphemeralFirst: 32768, EphemeralLast: 60999}
		if rapid.Bool().Draw(t, "wide ephemeral") {
			h.EphemeralFirst, h.EphemeralLast = 1024, 65535
		}
		if rapid.Bool().Draw(t, "reserved") {
			h.Reserved = []port.Span{{First: 40000, Last: 49999}}
		}
		for _, n := range rapid.SliceOfN(rapid.Uint16Range(1, 65535), 0, 5).Draw(t, "listeners") {
			h.Listeners = append(h.Listeners, policy.Listener{Service: port.Port{Proto: port.UDP, Number: n}})
		}
		const before = "public = ['tcp/80', 'udp/2000-2999']\n[door.old]\nopens = ['tcp/22', 'tcp/8000-8010']\nknocks = ['udp/27719', 'udp/8816', 'udp/15302', 'udp/61111']\n"
		p, ds := policy.Parse("", []byte(before))
		if p == nil {
			t.Fatal(ds)
		}
		suit(&plan, p, h)
		var seed [32]byte
		binary.LittleEndian.PutUint64(seed[:], rapid.Uint64().Draw(t, "seed"))
		s, err := sequence.Draw(rand.NewChaCha8(seed), plan)
		if errors.Is(err, sequence.ErrTooFew) && !wide {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if s.Ephemeral {
			h.EphemeralFirst, h.EphemeralLast = 0, 0
		}
		text := before + "[door.new]\nopens = ['tcp/22']\n" + knocksLine(s.Knocks) + "\n"
		p, ds = policy.Parse("policy.toml", []byte(text))
		if p != nil {
			ds = append(ds, p.Audit(h)...)
		}
		for _, d := range ds {
			// Neither what listens without being public nor the other door is a matter of
			// the sequence.
			if d.Pos.Line != 4 && (!strings.Contains(d.Text, "listens on") || strings.Contains(d.Text, "knock without knowing")) {
				t.Fatalf("%v, of\n%s", d, text)
			}
		}
	})
}
