package events

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tirl/internal/port"
)

var at = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

const line4 = "6,339,5140900,-;tirl opened: IN=eth0 OUT= MAC=02:00:00:00:09:01:02:00:00:00:09:02:08:00 " +
	"SRC=192.0.2.7 DST=192.0.2.1 LEN=40 TOS=0x00 PREC=0x00 TTL=64 ID=0 DF PROTO=TCP SPT=40000 DPT=22 WINDOW=65535 RES=0x00 SYN URGP=0 \n SUBSYSTEM=x\n"

const line6 = "6,340,5140901,-;tirl accepted: IN=eth0 OUT= MAC= SRC=2001:0db8:0009:0000:0000:0000:0000:0020 DST=2001:0db8:0009:0000:0000:0000:0000:0001 " +
	"LEN=52 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=10003 DPT=51820 LEN=12 \n"

func TestParseRecord(t *testing.T) {
	for _, c := range []struct {
		record string
		want   string // "" if it is no event
	}{
		{line4, "2026-11-23T10:00:05Z opened 192.0.2.7 tcp/22"},
		{line6, "2026-11-23T10:00:05Z accepted 2001:db8:9::20 udp/51820"},
		{"6,1,5000000,-;tirl wrong: IN=eth0 SRC=192.0.2.7 PROTO=47", "2026-11-23T10:00:05Z wrong 192.0.2.7"},
		// An ICMP error quotes another packet.
		{"6,1,5000000,-;tirl wrong: IN=eth0 SRC=192.0.2.7 PROTO=ICMP TYPE=3 CODE=1 [SRC=192.0.2.1 DST=192.0.2.7 PROTO=UDP SPT=9 DPT=9 ]", "2026-11-23T10:00:05Z wrong 192.0.2.7"},
		// A program wrote it, to /dev/kmsg.
		{strings.Replace(line4, "6,", "14,", 1), ""},
		{strings.Replace(line4, "opened", "broke in", 1), ""},
		{strings.Replace(line4, "tirl ", "UFW ", 1), ""},
		{strings.Replace(line4, "SRC=192.0.2.7", "SRC=somebody", 1), ""},
		{strings.Replace(line4, "SRC=192.0.2.7", "SRC=fe80::1%\x1b[2J", 1), ""},
		{"6,339,-;tirl opened: SRC=192.0.2.7", ""},
		{"tirl opened: SRC=192.0.2.7", ""},
		{"", ""},
	} {
		e, ok := parseRecord(c.record, at)
		if got := e.String(); ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.record, got, ok, c.want)
		}
	}
}

func ipv4(proto byte, options int, transport ...byte) []byte {
	b := make([]byte, 20+options)
	b[0], b[9] = 0x45+byte(options/4), proto
	copy(b[12:], []byte{192, 0, 2, 7})
	return append(b, transport...)
}

func ipv6(next byte, transport ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	copy(b[8:], netip.MustParseAddr("2001:db8::7").AsSlice())
	return append(b, transport...)
}

func TestParsePacket(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	fragment := ipv4(17, 0, 1, 2, 0, 22)
	fragment[7] = 1
	for _, c := range []struct {
		name  string
		bytes []byte
		src   netip.Addr
		to    port.Port
	}{
		{"header only", ipv4(17, 0), v4, port.Port{Proto: port.UDP}},
		{"ports", ipv4(6, 0, 1, 2, 0, 22), v4, port.Port{Proto: port.TCP, Number: 22}},
		{"options", ipv4(6, 8, 1, 2, 0, 22), v4, port.Port{Proto: port.TCP, Number: 22}},
		{"options, cut off", ipv4(6, 8, 1, 2, 0, 22)[:24], v4, port.Port{Proto: port.TCP}},
		{"a later fragment", fragment, v4, port.Port{Proto: port.UDP}},
		{"another protocol", ipv4(47, 0, 1, 2, 0, 22), v4, port.Port{}},
		{"IPv6 header only", ipv6(17), v6, port.Port{Proto: port.UDP}},
		{"IPv6 ports", ipv6(6, 1, 2, 0, 22), v6, port.Port{Proto: port.TCP, Number: 22}},
		{"IPv6 extension", ipv6(0, 1, 2, 0, 22), v6, port.Port{}},
	} {
		src, to, ok := parsePacket(c.bytes)
		if !ok || src != c.src || to != c.to {
			t.Errorf("%s: %v, %v, %v", c.name, src, to, ok)
		}
	}
	for _, b := range [][]byte{nil, {0x45}, ipv4(6, 0)[:19], ipv6(6)[:39], {0x50, 1, 2}} {
		if src, to, ok := parsePacket(b); ok {
			t.Errorf("%x: %v, %v", b, src, to)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(line4)
	f.Add(line6)
	f.Fuzz(func(t *testing.T, record string) {
		e, ok := parseRecord(record, at)
		if !ok {
			return
		}
		if !e.Source.IsValid() || e.Kind == "" || strings.ContainsAny(e.String(), "\n\x1b") {
			t.Fatalf("%q gives %q", record, e.String())
		}
		if again, ok := parseRecord(record, at); !ok || !cmp.Equal(e, again, cmpopts.EquateComparable(netip.Addr{})) {
			t.Fatalf("%q is read in two ways", record)
		}
	})
}

func FuzzParsePacket(f *testing.F) {
	f.Add(ipv4(6, 8, 1, 2, 0, 22))
	f.Add(ipv6(17, 1, 2, 0, 22))
	f.Fuzz(func(t *testing.T, b []byte) {
		src, to, ok := parsePacket(b)
		if ok && (!src.IsValid() || to.Number != 0 && to.Proto != port.TCP && to.Proto != port.UDP) {
			t.Fatalf("%x: %v, %v", b, src, to)
		}
	})
}
