package host

import (
	"net/netip"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tirl/internal/port"
)

func TestSockets(t *testing.T) {
	got, err := Sockets(machine())
	if err != nil {
		t.Fatal(err)
	}
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	want := []Listening{
		{port.Port{Proto: port.TCP, Number: 22}, any4, "sshd"},
		{port.Port{Proto: port.TCP, Number: 631}, netip.MustParseAddr("127.0.0.1"), ""},
		{port.Port{Proto: port.TCP, Number: 22}, any6, "sshd"},
		{port.Port{Proto: port.TCP, Number: 631}, netip.MustParseAddr("::1"), ""},
		{port.Port{Proto: port.TCP, Number: 632}, netip.MustParseAddr("127.0.0.1"), ""},
		{port.Port{Proto: port.UDP, Number: 5353}, any4, "avahi-daemon"},
		{port.Port{Proto: port.UDP, Number: 51820}, any4, ""},
		{port.Port{Proto: port.UDP, Number: 40001}, any4, ""},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	for i, l := range got {
		if want := i == 1 || i == 3 || i == 4; l.Loopback() != want {
			t.Errorf("%v: loopback %v", l, !want)
		}
	}
	if _, err := Sockets(fstest.MapFS{"proc/net/tcp": file(header + "x")}); err == nil {
		t.Error("a broken table: no error")
	}
}

func TestConnections(t *testing.T) {
	n, err := Connections(machine())
	if err != nil || n != 1 {
		t.Errorf("%d connections, %v; want 1", n, err)
	}
	if _, err := Connections(fstest.MapFS{"proc/net/tcp": file(header + "x")}); err == nil {
		t.Error("a broken table: no error")
	}
}
