package lab_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// A flood keeps to its rate, and to its number; what the server has room for it receives.
func TestFlood(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	f, err := lab.NewFlood(t.Context(), p)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frame, err := lab.Packet{Src: lab.Forged4(1), SrcPort: 1234, Dst: lab.Server4(), DstPort: 9, Proto: port.UDP}.Frame()
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	frames := func(n int) []byte {
		if n != next {
			t.Fatalf("frame %d, want %d", n, next)
		}
		next++
		return frame
	}
	if s, err := f.Send(t.Context(), frames, 0, 100); err != nil || s.Packets < 100 || s.Packets > 300 {
		t.Errorf("%+v, %v; want 100 packets", s, err)
	}
	before, err := p.Received()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	s, err := f.Send(ctx, frames, 1000, 0)
	if most := int(s.Took.Seconds()*1000) + 1; err != nil || s.Packets > most || s.Packets < most/2 {
		t.Errorf("%d packets in %v, %v; want 1000 a second", s.Packets, s.Took, err)
	}
	time.Sleep(20 * time.Millisecond)
	after, err := p.Received()
	if n := int(after - before); err != nil || n < s.Packets*9/10 {
		t.Errorf("%d of %d packets were received, %v", n, s.Packets, err)
	}
}
