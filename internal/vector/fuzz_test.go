package vector

import (
	"slices"
	"testing"
	"time"

	"tirl/internal/automaton"
)

// FuzzParse holds Parse to what it promises: no panic, and a vector that can be
// replayed, and written so that it reads as what the interpreter does.
func FuzzParse(f *testing.F) {
	f.Add(file("backends: nftables\nkernel: no\n\nWhy.\n", sound))
	f.Add(file("Why.\n", "udp/1111-1120 from ::1 with hop as atomic => accept, ssh 1, open twin, web\nwait 1s\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Parse("f", text)
		if err != nil {
			return
		}
		var packets []automaton.Packet
		for _, s := range v.Steps {
			if packets = slices.Concat(packets, s.Packets); len(packets) > 1000 {
				return
			}
		}
		v.Replay(func(at time.Duration) time.Duration { return at })
		again, err := Write("Why.", v.Backends, v.Source, packets)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		w, err := Parse("f", again)
		if err != nil {
			t.Fatalf("%v in\n%s", err, again)
		}
		if problems := w.Replay(func(at time.Duration) time.Duration { return at }); problems != nil {
			t.Fatalf("%v in\n%s", problems, again)
		}
	})
}
