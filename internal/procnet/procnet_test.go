package procnet

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/port"
)

// Tables as a small-endian machine prints them.
const (
	table4 = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 0100090A:0016 0200090A:D431 01 00000000:00000000 02:000A0000 00000000     0        0 103 2 0 20 4 30 10 -1
   2: 0100090A:0016 0200090A:D432 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0
`
	table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 104 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000100090A:0016 0000000000000000FFFF00000200090A:D433 01 00000000:00000000 02:000A0000 00000000     0        0 105 2 0 20 4 30 10 -1
   2: B80D0120000009000000000001000000:0016 B80D0120000009000000000002000000:D434 08 00000000:00000000 00:00000000 00000000     0        0 106 1 0
`
)

func endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestRead(t *testing.T) {
	got, err := Read(fstest.MapFS{
		"proc/net/tcp":  {Data: []byte(table4)},
		"proc/net/tcp6": {Data: []byte(table6)},
	}, OfProcess, port.TCP)
	if err != nil {
		t.Fatal(err)
	}
	want := []Socket{
		{port.TCP, endpoint("0.0.0.0:22"), endpoint("0.0.0.0:0"), Listen, 101},
		{port.TCP, endpoint("10.9.0.1:22"), endpoint("10.9.0.2:54321"), Established, 103},
		{port.TCP, endpoint("10.9.0.1:22"), endpoint("10.9.0.2:54322"), TimeWait, 0},
		{port.TCP, endpoint("[::]:22"), endpoint("[::]:0"), Listen, 104},
		{port.TCP, endpoint("10.9.0.1:22"), endpoint("10.9.0.2:54323"), Established, 105},
		{port.TCP, endpoint("[2001:db8:9::1]:22"), endpoint("[2001:db8:9::2]:54324"), CloseWait, 106},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestReadErrors(t *testing.T) {
	if _, err := Read(fstest.MapFS{}, OfProcess, port.TCP); err == nil {
		t.Error("no tables: no error")
	}
	got, err := Read(fstest.MapFS{
		"proc/net/tcp":  {Data: []byte(table4 + "   3: 0100090A:0016 0A\n")},
		"proc/net/tcp6": {Data: []byte(table6)},
	}, OfProcess, port.TCP)
	if err == nil || len(got) != 6 {
		t.Errorf("got %d sockets and %v", len(got), err)
	}
	for _, bad := range []string{"0100090A", "0100090A:10000", "01:16", "0100007G:16", ":", "0100090A:", "0100090A00:16"} {
		if _, err := parseEndpoint(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestReadThisHost finds a connection of its own on the loopback device.
func TestReadThisHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, dir := range []string{OfProcess, OfThread} {
		got, err := Read(os.DirFS("/"), dir, port.TCP)
		if err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(got, func(s Socket) bool {
			return s.State == Established && s.Local.String() == c.LocalAddr().String() && s.Remote.String() == l.Addr().String() && s.Inode != 0
		})
		if !found {
			t.Errorf("%s does not list %s", dir, c.LocalAddr())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(table4)
	f.Add(table6)
	f.Fuzz(func(t *testing.T, s string) {
		found, _ := Parse(s, port.TCP)
		for _, got := range found {
			if !got.Local.Addr().IsValid() || got.Remote.Addr().Is4In6() {
				t.Errorf("%q gives %v", s, got)
			}
		}
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add("socket:[101]")
	f.Add("pipe:[1]")
	f.Add("socket:[")
	f.Fuzz(func(t *testing.T, s string) { ParseLink(s) })
}
