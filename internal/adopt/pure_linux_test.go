package adopt

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vishvananda/netlink/nl"

	"tirl/internal/port"
	"tirl/internal/procnet"
)

func TestOpen(t *testing.T) {
	socket := func(local, remote string, state procnet.State) procnet.Socket {
		return procnet.Socket{Proto: port.TCP, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote), State: state}
	}
	got := open([]procnet.Socket{
		socket("[::]:22", "[::]:0", procnet.Listen),
		socket("10.9.0.1:22", "10.9.0.2:1", procnet.Established),
		socket("10.9.0.1:22", "10.9.0.2:1", procnet.Established), // listed twice
		socket("10.9.0.1:22", "10.9.0.2:2", procnet.TimeWait),
		socket("10.9.0.1:22", "10.9.0.2:3", procnet.SynRecv),
		socket("10.9.0.1:22", "10.9.0.2:4", procnet.CloseWait),
		socket("10.9.0.1:40000", "10.9.0.2:443", procnet.Established),
		socket("127.0.0.1:22", "127.0.0.1:5", procnet.Established),
		socket("[::1]:22", "[::1]:5", procnet.Established),
		socket("10.9.0.1:22", "10.9.0.1:6", procnet.Established),
		socket("[2001:db8::1]:22", "[2001:db8::2]:7", procnet.FinWait2),
	})
	var names []string
	for _, f := range got {
		names = append(names, f.from.String()+" "+f.to.String())
	}
	want := []string{
		"10.9.0.2:1 10.9.0.1:22", "10.9.0.2:4 10.9.0.1:22", "10.9.0.1:40000 10.9.0.2:443",
		"[2001:db8::2]:7 [2001:db8::1]:22",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
}

func TestTimeout(t *testing.T) {
	for text, want := range map[string]uint32{"86400\n": 86400, "0": defaultTimeout, "x": defaultTimeout, "-1": defaultTimeout} {
		got := timeout(fstest.MapFS{"proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established": {Data: []byte(text)}})
		if got != want {
			t.Errorf("%q: got %d", text, got)
		}
	}
	if got := timeout(fstest.MapFS{}); got != defaultTimeout {
		t.Errorf("no file: got %d", got)
	}
}

func TestBrief(t *testing.T) {
	var errs []error
	if brief(errs) != nil {
		t.Error("no errors: an error")
	}
	for range 9 {
		errs = append(errs, errors.New("broken"))
	}
	if got := brief(errs).Error(); strings.Count(got, "broken") != tellErrors || !strings.Contains(got, "and 6 connections more") {
		t.Errorf("got %q", got)
	}
}

func FuzzParseStatus(f *testing.F) {
	good := append([]byte{2, 0, 0, 0}, nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(seenReply)).Serialize()...)
	f.Add(good)
	f.Add(good[:7])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { parseStatus(b) })
	if status, err := parseStatus(good); err != nil || status != seenReply {
		f.Errorf("got %d, %v", status, err)
	}
}
