package nftables

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sample = `table inet tirl {
	map started4 {
		typeof ip saddr : meta priority
		size 65536
		flags dynamic,timeout
		elements = { 10.9.0.2 timeout 10s expires 9s488ms : 0:1, 10.9.0.3 timeout 10s expires 1s : 0:1a,
			     10.9.0.4 timeout 10s expires 2ms : 0:3 }
	}
	set service {
		typeof meta l4proto . th dport
		flags interval
		elements = { udp . 7,
			     tcp . 22 }
	}
	chain about {
		return comment "policy abc"
	}

	chain input {
		type filter hook input priority filter; policy accept;
		icmpv6 type { 130, 131 } accept comment "neighbour discovery"
	}
}
`

func TestParseListing(t *testing.T) {
	l, err := parseListing(sample)
	if err != nil {
		t.Fatal(err)
	}
	want := []object{
		{kind: "map", name: "started4", body: []string{"typeof ip saddr : meta priority", "size 65536", "flags dynamic,timeout"},
			elements: []string{"10.9.0.2 timeout 10s expires 9s488ms : 0:1", "10.9.0.3 timeout 10s expires 1s : 0:1a", "10.9.0.4 timeout 10s expires 2ms : 0:3"}},
		{kind: "set", name: "service", body: []string{"typeof meta l4proto . th dport", "flags interval"}, elements: []string{"udp . 7", "tcp . 22"}},
		{kind: "chain", name: "about", body: []string{`return comment "policy abc"`}},
		{kind: "chain", name: "input", body: []string{"type filter hook input priority filter; policy accept;",
			`icmpv6 type { 130, 131 } accept comment "neighbour discovery"`}},
	}
	if diff := cmp.Diff(want, l.objects, cmp.AllowUnexported(object{})); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func TestParseListingTruncated(t *testing.T) {
	lines := strings.SplitAfter(sample, "\n")
	for n := 2; n < len(lines)-3; n++ {
		cut := strings.Join(lines[:n], "")
		l, err := parseListing(cut)
		if err != nil {
			continue
		}
		// Whole objects may have been read, never a half one.
		for _, o := range l.objects {
			if whole := mustParse(t).find(o.name); !cmp.Equal(*whole, o, cmp.AllowUnexported(object{})) {
				t.Errorf("cut after line %d: %s is read as %v", n, o.name, o)
			}
		}
	}
}

func mustParse(t *testing.T) *listing {
	t.Helper()
	l, err := parseListing(sample)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestParseElement(t *testing.T) {
	for _, c := range []struct {
		text string
		want element
	}{
		{"10.9.0.2 timeout 10s expires 9s488ms : 0:1", element{[]string{"10.9.0.2"}, "0:1", 9488 * time.Millisecond}},
		{"10.9.0.2 . 64 timeout 10s expires 1s : none", element{[]string{"10.9.0.2", "64"}, "none", time.Second}},
		{"10.9.0.2 limit rate over 20/second burst 40 packets timeout 2s expires 1s500ms", element{[]string{"10.9.0.2"}, "", 1500 * time.Millisecond}},
		{"2001:db8::7 . 8000:1bc timeout 30s expires 29s", element{[]string{"2001:db8::7", "8000:1bc"}, "", 29 * time.Second}},
		{"0x20010db800090000 . 63 timeout 1s expires 1ms : 0:2", element{[]string{"0x20010db800090000", "63"}, "0:2", time.Millisecond}},
		{"10.9.0.2 : 0:1", element{[]string{"10.9.0.2"}, "0:1", -1}},
	} {
		got, err := parseElement(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(element{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestParseSource(t *testing.T) {
	for s, want := range map[string]string{
		"10.9.0.2":           "10.9.0.2",
		"2001:db8::1":        "2001:db8::1",
		"0x20010db800090000": "2001:db8:9::",
	} {
		if got, err := parseSource(s); err != nil || got != netip.MustParseAddr(want) {
			t.Errorf("parseSource(%q) = %v, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0x", "0xzz", "localhost", "0x123456789012345678"} {
		if got, err := parseSource(s); err == nil {
			t.Errorf("parseSource(%q) = %v, want an error", s, got)
		}
	}
}

func FuzzParseListing(f *testing.F) {
	f.Add(sample)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseListing(text)
		if err != nil {
			return
		}
		for _, o := range l.objects {
			for _, e := range o.elements {
				parsed, err := parseElement(e)
				if err != nil {
					continue
				}
				if _, _, err := parsed.source(true); err == nil && len(parsed.key) < 2 {
					t.Fatalf("%q has a TTL out of nothing", e)
				}
				parseHandle(parsed.value)
			}
		}
	})
}

// FuzzSnapshot writes listings and transactions between two of them.
func FuzzSnapshot(f *testing.F) {
	f.Add(sample, sample, int64(time.Second))
	f.Add("table inet tirl {\n\tset grant4 {\n\t\telements = { 10.9.0.20 . 1:1 timeout 30s expires 7s }\n\t}\n\tchain door {\n\t}\n}\n", sample, int64(1))
	f.Fuzz(func(t *testing.T, old, current string, passed int64) {
		was, err := parseListing(old)
		if err != nil {
			return
		}
		again, err := parseListing(was.String())
		if err != nil || again.String() != was.String() {
			t.Fatalf("%q became %q: %v", old, was.String(), err)
		}
		is, err := parseListing(current)
		if err != nil {
			is = nil
		}
		for line := range strings.Lines(restore(was, is, time.Duration(passed))) {
			w := strings.Fields(line)
			if len(w) > 3 && w[0] == "delete" && strings.Join(w[2:4], " ") != table {
				t.Fatalf("touches another table: %q", line)
			}
		}
	})
}
