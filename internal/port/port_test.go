package port

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want Port
		err  string // a part of the error
	}{
		{"tcp/22", Port{TCP, 22}, ""},
		{"udp/1", Port{UDP, 1}, ""},
		{"udp/65535", Port{UDP, 65535}, ""},
		{"udp/0", Port{}, "outside 1 to 65535"},
		{"udp/65536", Port{}, "outside 1 to 65535"},
		{"udp/4294967297", Port{}, "outside 1 to 65535"},
		{"udp/99999999999999999999", Port{}, "outside 1 to 65535"},
		{"udp/022", Port{}, "leading zero"},
		{"udp/00", Port{}, "outside 1 to 65535"},
		{"udp/", Port{}, "not a port number"},
		{"udp/+1", Port{}, "not a port number"},
		{"udp/-1", Port{}, "not a port number"},
		{"udp/1 ", Port{}, "not a port number"},
		{" udp/1", Port{}, "neither tcp nor udp"},
		{"udp/0x1", Port{}, "not a port number"},
		{"udp/1_0", Port{}, "not a port number"},
		{"udp/١", Port{}, "not a port number"},
		{"udp/1-2", Port{}, "not a port number"},
		{"udp/1/2", Port{}, "not a port number"},
		{"udp/domain", Port{}, "not a port number"},
		{"UDP/1", Port{}, "neither tcp nor udp"},
		{"icmp/1", Port{}, "neither tcp nor udp"},
		{"proto/17", Port{}, "neither tcp nor udp"},
		{"/1", Port{}, "neither tcp nor udp"},
		{"22", Port{}, "not of the form"},
		{"udp", Port{}, "not of the form"},
		{"", Port{}, "not of the form"},
	}
	for _, tt := range tests {
		got, err := Parse(tt.text)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("Parse(%q) is %v, %v; want %v, %s", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func TestParseRange(t *testing.T) {
	tests := []struct {
		text string
		want Range
		err  string
	}{
		{"tcp/22", Range{TCP, 22, 22}, ""},
		{"tcp/8000-8010", Range{TCP, 8000, 8010}, ""},
		{"udp/1-65535", Range{UDP, 1, 65535}, ""},
		{"udp/5-5", Range{UDP, 5, 5}, ""},
		{"udp/0-5", Range{}, "outside"},
		{"udp/5-65536", Range{}, "outside"},
		{"udp/6-5", Range{}, "ends before it begins"},
		{"udp/5-", Range{}, "not a port number"},
		{"udp/-5", Range{}, "not a port number"},
		{"udp/-", Range{}, "not a port number"},
		{"udp/1-2-3", Range{}, "not a port number"},
		{"udp/1:2", Range{}, "not a port number"},
		{"udp/1 - 2", Range{}, "not a port number"},
		{"udp/01-2", Range{}, "leading zero"},
		{"gre", Range{}, "not of the form"},
	}
	for _, tt := range tests {
		got, err := ParseRange(tt.text)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseRange(%q) is %v, %v; want %v, %s", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func TestString(t *testing.T) {
	tests := []struct{ got, want string }{
		{TCP.String(), "tcp"},
		{UDP.String(), "udp"},
		{ICMP.String(), "icmp"},
		{ICMPv6.String(), "icmpv6"},
		{Proto(0).String(), "proto/0"},
		{Proto(50).String(), "proto/50"},
		{Port{TCP, 22}.String(), "tcp/22"},
		{Port{UDP, 0}.String(), "udp/0"},
		{Port{ICMP, 0}.String(), "icmp"},
		{Port{50, 0}.String(), "proto/50"},
		{Range{TCP, 22, 22}.String(), "tcp/22"},
		{Range{TCP, 22, 23}.String(), "tcp/22-23"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestContains(t *testing.T) {
	r := Range{UDP, 10, 20}
	for p, want := range map[Port]bool{
		{UDP, 9}: false, {UDP, 10}: true, {UDP, 15}: true, {UDP, 20}: true, {UDP, 21}: false, {TCP, 15}: false,
	} {
		if r.Contains(p) != want {
			t.Errorf("%s contains %s: %v", r, p, !want)
		}
	}
}

func anyPort(t *rapid.T) Port {
	return Port{rapid.SampledFrom([]Proto{TCP, UDP}).Draw(t, "proto"), rapid.Uint16Min(1).Draw(t, "number")}
}

// What is written is read back, and is one range of one port.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPort(t)
		if got, err := Parse(p.String()); got != p || err != nil {
			t.Fatalf("Parse(%q) is %v, %v", p, got, err)
		}
		r := Range{p.Proto, p.Number, rapid.Uint16Min(p.Number).Draw(t, "last")}
		if got, err := ParseRange(r.String()); got != r || err != nil {
			t.Fatalf("ParseRange(%q) is %v, %v", r, got, err)
		}
		if got, err := ParseRange(p.String()); err != nil || got != (Range{p.Proto, p.Number, p.Number}) || !got.Contains(p) {
			t.Fatalf("ParseRange(%q) is %v, %v", p, got, err)
		}
	})
}

// The order is total, and that of the parts.
func TestCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyPort(t), anyPort(t)
		if c := a.Compare(b); c != -b.Compare(a) || (c == 0) != (a == b) {
			t.Fatalf("%s, %s: %d, %d", a, b, c, b.Compare(a))
		}
		if (a.Compare(b) < 0) != (a.Proto < b.Proto || a.Proto == b.Proto && a.Number < b.Number) {
			t.Fatalf("%s, %s: %d", a, b, a.Compare(b))
		}
		r, s := Range{a.Proto, a.Number, 65535}, Range{b.Proto, b.Number, 65535}
		if r.Compare(s) != a.Compare(b) || r.Compare(Range{r.Proto, r.First, r.First}) < 0 {
			t.Fatalf("%s, %s: %d", r, s, r.Compare(s))
		}
	})
	got := []Port{{UDP, 1}, {TCP, 9}, {TCP, 2}, {UDP, 0}}
	slices.SortFunc(got, Port.Compare)
	if want := []Port{{TCP, 2}, {TCP, 9}, {UDP, 0}, {UDP, 1}}; !slices.Equal(got, want) {
		t.Errorf("sorted: %v", got)
	}
}

// Whatever is accepted is canonical: it is written as it was read.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"tcp/22", "udp/1-65535", "udp/65536", "tcp/007", "tcp/5-5", "udp/9-3", "icmp", "proto/50", "tcp/", "/", "-", "udp/-1", "tcp/" + strconv.Itoa(1<<40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err == nil && (p.String() != s || p.Number == 0) {
			t.Errorf("Parse(%q) is %v", s, p)
		}
		r, rangeErr := ParseRange(s)
		if err == nil && rangeErr != nil {
			t.Errorf("ParseRange(%q): %v", s, rangeErr)
		}
		if rangeErr != nil {
			return
		}
		if r.First == 0 || r.Last < r.First || (r.Proto != TCP && r.Proto != UDP) {
			t.Errorf("ParseRange(%q) is %v", s, r)
		}
		if written := r.String(); written != s && s != written+"-"+strconv.Itoa(int(r.Last)) {
			t.Errorf("ParseRange(%q) is written %q", s, written)
		}
	})
}
