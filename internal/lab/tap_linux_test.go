package lab_test

import (
	"net/netip"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// A tap sees what comes and not what it sends, and as much of that as it asks for.
func TestTap(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	tap, err := lab.NewTap(p.Client, lab.ClientDevice)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	r, err := lab.NewResponder(p.Server, port.TCP, netip.AddrPortFrom(lab.Server4(), openPort))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	send := func(to uint16) {
		t.Helper()
		frame, err := lab.Packet{Src: lab.Forged4(1), SrcPort: 1234, Dst: lab.Server4(), DstPort: to, Proto: port.TCP, Flags: syn, Tag: 7}.Frame()
		if err == nil {
			err = tap.Write(frame)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	send(closedPort)
	if ip, err := tap.Next(time.Second); err != nil || len(ip) == 0 || ip[0]>>4 != 4 {
		t.Fatalf("the answer is % x, %v", ip, err)
	}
	if ip, err := tap.Next(0); err != nil || ip != nil {
		t.Fatalf("nothing more was to come: % x, %v", ip, err)
	}
	answers := func(want ...lab.Kind) {
		t.Helper()
		got, err := tap.Answers()
		if err != nil || len(got) != len(want) {
			t.Fatalf("answers: %+v, %v, want %v", got, err, want)
		}
		for i, a := range got {
			if a.Kind != want[i] || a.Tag != 7 {
				t.Errorf("answer %d: %+v, want a %s", i, a, want[i])
			}
		}
	}
	send(closedPort)
	send(openPort)
	answers(lab.Reset, lab.SynAck)
	if err := tap.OnlySynAcks(); err != nil {
		t.Fatal(err)
	}
	send(closedPort)
	send(openPort)
	answers(lab.SynAck)
	if _, err := lab.NewTap(p.Client, "none0"); err == nil {
		t.Error("tapped a device that is not there")
	}
}
