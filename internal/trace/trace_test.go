package trace

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
)

func parse(t *testing.T, text string) *Trace {
	t.Helper()
	tr, err := Parse("x", text)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func sameAddr() cmp.Option { return cmp.Comparer(func(a, b netip.Addr) bool { return a == b }) }

// TestParse reads lines and writes them in the one form that String has.
func TestParse(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"comments", "# a\n\n   # b\n\t\n", ""},
		{"the first source is the default", "udp/1", "udp/1\n"},
		{"it may be named", "udp/1 from 192.0.2.7", "udp/1\n"},
		{"the source stays", "udp/1 from 10.0.0.1\nudp/2\nudp/3 from 10.0.0.1\n", "udp/1 from 10.0.0.1\nudp/2\nudp/3\n"},
		{"another source", "udp/1 from 10.0.0.1\nudp/2 from 2001:DB8::7", "udp/1 from 10.0.0.1\nudp/2 from 2001:db8::7\n"},
		{"times", "udp/1\n+1.5s udp/2\n@10s udp/3\n+100ms udp/4", "udp/1\n+1.5s udp/2\n+8.5s udp/3\nudp/4\n"},
		{"at once", "udp/1\n+0s udp/2\n@0s udp/3", "udp/1\n+0s udp/2\n+0s udp/3\n"},
		{"the first is late", "+1s udp/1", "+1s udp/1\n"},
		{"the first is at its time", "@0s udp/1", "udp/1\n"},
		{"wait", "wait 3s\nudp/1\nwait 1s\nwait 1s\nudp/2\nwait 1m", "+3.1s udp/1\n+2.1s udp/2\nwait 1m\n"},
		{"only a wait", "wait 2h", "wait 2h\n"},
		{"a sweep", "udp/1-100\nudp/100-1 gap 5ms\ntcp/7-7", "udp/1-100\nudp/100-1 gap 5ms\ntcp/7\n"},
		{"a sweep at once", "udp/1-3 gap 0s", "udp/1-3 gap 0s\n"},
		{"the default gap", "udp/1-3 gap 1ms", "udp/1-3\n"},
		{"what is usual is left out", "tcp/22 flags syn ttl 64 state new to host", "tcp/22\n"},
		{"any order", "tcp/22 via eth0 to anycast state invalid flags urg,fin ttl 1 sport 9 from ::1",
			"tcp/22 from ::1 sport 9 ttl 1 flags fin,urg state invalid to anycast via eth0\n"},
		{"headers", "udp/1 with record,nop as fragments\nudp/1 from ::1 as atomic with hop\nudp/1 as whole",
			"udp/1 with nop,record as fragments\nudp/1 from ::1 with hop as atomic\nudp/1\n"},
		{"no flags", "tcp/22 flags none", "tcp/22 flags none\n"},
		{"flags of an established flow", "tcp/22 state established\ntcp/22 flags ack state established\ntcp/22 flags syn state established",
			"tcp/22 state established\ntcp/22 state established\ntcp/22 flags syn state established\n"},
		{"icmp", "icmp\nicmp type 8\nicmp type 0\nicmpv6 type 135 from fe80::1\nicmpv6 type 128", "icmp\nicmp\nicmp type 0\nicmpv6 from fe80::1 type 135\nicmpv6\n"},
		{"protocols", "proto/0\nproto/47\nproto/255", "proto/0\nproto/47\nproto/255\n"},
		{"comment after a packet", "udp/1 # from 10.0.0.1\nudp/2 #x", "udp/1\nudp/2\n"},
		{"carriage returns", "udp/1\r\nudp/2\r\n", "udp/1\nudp/2\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, parse(t, test.in).String()); diff != "" {
				t.Errorf("%q (-want +got):\n%s", test.in, diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"ucp/1", `x:1:1: expected tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait, or a time, not "ucp/1"`},
		{"udp/1\n  22", `x:2:3: expected tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait, or a time, not "22"`},
		{"udp", `x:1:1: expected tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait, or a time, not "udp"`},
		{"udp/0", `x:1:1: expected udp/PORT or udp/PORT-PORT with ports from 1 to 65535, not "udp/0"`},
		{"tcp/65536", `x:1:1: expected tcp/PORT or tcp/PORT-PORT with ports from 1 to 65535, not "tcp/65536"`},
		{"tcp/1-", `x:1:1: expected tcp/PORT or tcp/PORT-PORT with ports from 1 to 65535, not "tcp/1-"`},
		{"tcp/022", `x:1:1: expected tcp/PORT or tcp/PORT-PORT with ports from 1 to 65535, not "tcp/022"`},
		{"udp/1 form 10.0.0.1", `x:1:7: expected from, sport, ttl, flags, type, state, to, via, with, as, data or gap, or the end of the line, not "form"`},
		{"udp/1 from", `x:1:11: expected something after from`},
		{"udp/1 from host", `x:1:12: expected an address such as 192.0.2.7 or 2001:db8::7 after from, not "host"`},
		{"udp/1 from ::ffff:10.0.0.1", `x:1:12: expected the address as 10.0.0.1`},
		{"udp/1 from fe80::1%eth0", `x:1:12: expected the address as fe80::1`},
		{"udp/1 ttl 0", `x:1:11: expected a number from 1 to 255, not "0"`},
		{"udp/1 ttl 256", `x:1:11: expected a number from 1 to 255, not "256"`},
		{"udp/1 ttl 3 ttl 4", `x:1:13: ttl stands here twice`},
		{"udp/1 flags syn", `x:1:7: only tcp has flags`},
		{"tcp/1 flags syn+ack", `x:1:13: expected flags such as syn or syn,ack (fin, syn, rst, psh, ack, urg, ece, cwr, none), not "syn+ack"`},
		{"tcp/1 type 8", `x:1:7: only icmp and icmpv6 have types`},
		{"icmp sport 5", `x:1:6: only tcp and udp have ports`},
		{"udp/1 gap 1s", `x:1:7: only a sweep, such as udp/1-100, has a gap`},
		{"udp/1 state old", `x:1:13: expected new, established, related, invalid or untracked, not "old"`},
		{"udp/1 to me", `x:1:10: expected host, broadcast, multicast, anycast or elsewhere, not "me"`},
		{"udp/1 from ::1 to broadcast", `x:1:16: IPv6 has no broadcast`},
		{"udp/1 with hop", `x:1:7: IPv4 has no extension headers`},
		{"udp/1 with nap", `x:1:12: expected headers such as record or hop,routing (priority, nop, record, timestamp, alert, hop, routing, destination), not "nap"`},
		{"udp/1 from ::1 with nop", `x:1:16: IPv6 has extension headers, not options`},
		{"udp/1 as atomic", `x:1:7: an atomic fragment is one of IPv6`},
		{"udp/1 as bits", `x:1:10: expected whole, fragments, reversed, tiny, atomic, first, later or overlapping, not "bits"`},
		{"tcp/1 from ::1 as tiny", `x:1:16: tiny fragments of TCP are invalid in IPv6 (RFC 8200, section 4.5)`},
		{"udp/1 via a/b", `x:1:11: expected the name of an interface after via, of at most 15 characters, not "a/b"`},
		{"icmp from ::1", `x:1:1: expected icmpv6 from the IPv6 address ::1`},
		{"icmpv6", `x:1:1: expected icmp from the IPv4 address 192.0.2.7`},
		{"proto/6", `x:1:1: expected tcp/PORT for protocol 6`},
		{"proto/58", `x:1:1: expected icmpv6 for protocol 58`},
		{"proto/256", `x:1:1: expected proto/N with N from 0 to 255, not "proto/256"`},
		{"+1 udp/1", `x:1:1: expected a time such as 1.5s, 100ms or 1m30s, not "1"`},
		{"+ udp/1", `x:1:1: expected a time such as 1.5s, 100ms or 1m30s, not ""`},
		{"+-1s udp/1", `x:1:1: expected a time such as 1.5s, 100ms or 1m30s, not "-1s"`},
		{"+1s", `x:1:4: expected tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait after the time`},
		{"+1s # udp/1", `x:1:4: expected tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait after the time`},
		{"udp/1\n@10s udp/1\n@9s udp/2", `x:3:1: expected a time from 10s on, which is that of the packet before, not 9s`},
		{"wait", `x:1:5: expected a time after wait, such as 3s`},
		{"wait 3", `x:1:6: expected a time such as 1.5s, 100ms or 1m30s, not "3"`},
		{"wait 3s udp/1", `x:1:9: expected from, sport, ttl, flags, type, state, to, via, with, as, data or gap, or the end of the line, not "udp/1"`},
		{"wait 999999h", `x:1:6: expected a time of at most 87600h`},
		{"wait 87600h\nwait 1s", `x:2:6: expected a trace of at most 87600h`},
		{strings.Repeat("udp/1-65535\n", 17), `x:17:1: expected at most 1048576 packets in a trace`},
		{"ärger\nudp/1 ä", "x:1:1: expected tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait, or a time, not \"ärger\"\n" +
			`x:2:7: expected from, sport, ttl, flags, type, state, to, via, with, as, data or gap, or the end of the line, not "ä"`},
		{"udp/1 from ä b", "x:1:12: expected an address such as 192.0.2.7 or 2001:db8::7 after from, not \"ä\""},
	} {
		if _, err := Parse("x", test.in); err == nil || err.Error() != test.want {
			t.Errorf("%.60q:\n got %v\nwant %s", test.in, err, test.want)
		}
	}
	if _, err := Parse("x", strings.Repeat("?\n", 100)); strings.Count(err.Error(), "\n") != maxErrors-1 {
		t.Errorf("a hundred errors give %v", err)
	}
}

func TestParseArgs(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"udp/12345", "udp/23456", "tcp/22"}, "udp/12345\nudp/23456\ntcp/22\n"},
		{[]string{"udp/1 from 10.0.0.1", "+3s udp/2"}, "udp/1 from 10.0.0.1\n+3s udp/2\n"},
		{[]string{"udp/1", "from", "10.0.0.1", "ttl", "9", "+3s", "udp/2", "wait", "1s", "icmp", "via", "icmp"},
			"udp/1 from 10.0.0.1 ttl 9\n+3s udp/2\n+1.1s icmp via icmp\n"},
		{[]string{"udp/1 # a comment", "udp/2"}, "udp/1\nudp/2\n"},
		{nil, ""},
	} {
		tr, err := ParseArgs(test.args)
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
		} else if got := tr.String(); got != test.want {
			t.Errorf("%q gives %q, want %q", test.args, got, test.want)
		}
	}
	_, err := ParseArgs([]string{"udp/1", "from 10.0.0.1 form", "udp/2"})
	if want := `argument 2, column 15: expected tcp/PORT, udp/PORT, icmp, icmpv6, proto/N or wait, or a time, not "form"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPackets(t *testing.T) {
	tr := parse(t, "udp/5-3 gap 10ms\ntcp/1\nudp/65534-65535")
	var got []string
	for p := range tr.Packets() {
		got = append(got, p.Time.String()+" "+p.To.String())
	}
	want := []string{"0s udp/5", "10ms udp/4", "20ms udp/3", "120ms tcp/1", "220ms udp/65534", "221ms udp/65535"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if tr.End != 221*time.Millisecond || tr.Steps[0].Len() != 3 {
		t.Errorf("end %s, first step of %d packets", tr.End, tr.Steps[0].Len())
	}
	for range tr.Packets() {
		break // stops early without harm
	}
}

func TestLine(t *testing.T) {
	p := slices.Collect(parse(t, "+9s tcp/22 flags ack ttl 3").Packets())[0]
	if got, want := Line(p), "tcp/22 from 192.0.2.7 ttl 3 flags ack"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestRoundTripOfPackets writes random packets and reads them back.
func TestRoundTripOfPackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := automatontest.Program(t, automatontest.Options{})
		packets := automatontest.Trace(t, g, automatontest.Options{})
		text := New(packets).String()
		tr, err := Parse("x", text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff(packets, slices.Collect(tr.Packets()), sameAddr()); diff != "" {
			t.Fatalf("%s(-want +got):\n%s", text, diff)
		}
	})
}

// FuzzParse holds Parse to what it promises: no panic, positions within the text,
// packets in the order of their time, and a String that reads as the same trace.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"# c\nudp/1 from 192.0.2.7\n+1.5s tcp/22\n@10s udp/5 from 2001:db8::7\n",
		"tcp/22 flags syn,ack ttl 63 state untracked to multicast via lo sport 9\n",
		"icmp type 8\nicmpv6 type 135 from ::1\nproto/47\nudp/9-1 gap 3ms\nwait 3s\n",
		"+1h udp/1 \r\n@2h udp/3 #", "udp/1-65535\n", "wait 87600h\nudp/1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := Parse("x", text)
		if err != nil {
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
				checkPosition(t, text, e.(*Error))
			}
			return
		}
		var last automaton.Packet
		n := 0
		for p := range tr.Packets() {
			if p.Time < last.Time || p.Time > tr.End || tr.End > MaxTime {
				t.Fatalf("%s comes after %s, the end is %s", p.Time, last.Time, tr.End)
			}
			last, n = p, n+1
		}
		if n > MaxPackets {
			t.Fatalf("%d packets", n)
		}
		again, err := Parse("x", tr.String())
		if err != nil {
			t.Fatalf("%q: %v", tr.String(), err)
		}
		if diff := cmp.Diff(tr, again, sameAddr(), cmpopts.IgnoreFields(Step{}, "Line")); diff != "" {
			t.Fatalf("%q (-first +again):\n%s", tr.String(), diff)
		}
	})
}

func checkPosition(t *testing.T, text string, e *Error) {
	lines := strings.Split(text, "\n")
	if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > len([]rune(lines[e.Line-1]))+1 || e.Text == "" {
		t.Fatalf("%v is not in %q", e, text)
	}
}

// FuzzParseArgs: what arguments say, lines say too.
func FuzzParseArgs(f *testing.F) {
	f.Add("udp/1\x00from 10.0.0.1 ttl 9\x00+3s\x00udp/2 # c")
	f.Add("wait\x001s\x00tcp/22 with nop as tiny\x00")
	f.Fuzz(func(t *testing.T, args string) {
		tr, err := ParseArgs(strings.Split(args, "\x00"))
		if err != nil {
			return
		}
		if again, err := Parse("x", tr.String()); err != nil || again.String() != tr.String() {
			t.Fatalf("%q: %v", tr.String(), err)
		}
	})
}
