package nftables

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{time.Millisecond, "1ms"},
		{1500 * time.Millisecond, "1s500ms"},
		{90 * time.Second, "1m30s"},
		{24 * time.Hour, "1d"},
		{25*time.Hour + 61*time.Minute, "1d2h1m"},
	} {
		if got := span(c.d); got != c.want {
			t.Errorf("span(%v) = %q, want %q", c.d, got, c.want)
		}
	}
}

func TestSpanRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(60*24*time.Hour/time.Millisecond)).Draw(t, "ms")) * time.Millisecond
		if got, err := parseSpan(span(d)); err != nil || got != d {
			t.Fatalf("parseSpan(%q) = %v, %v; want %v", span(d), got, err, d)
		}
	})
}

func TestParseSpanErrors(t *testing.T) {
	for _, s := range []string{"s", "10", "10x", "1s-", "s10", "99999999999s"} {
		if d, err := parseSpan(s); err == nil {
			t.Errorf("parseSpan(%q) = %v, want an error", s, d)
		}
	}
}

func TestHandleRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint32().Draw(t, "n")
		if got, err := parseHandle(handle(n)); err != nil || got != n {
			t.Fatalf("parseHandle(%q) = %x, %v; want %x", handle(n), got, err, n)
		}
	})
}

func TestParseHandle(t *testing.T) {
	for _, c := range []struct {
		s    string
		want uint32
		bad  bool
	}{
		{s: "none", want: 0},
		{s: ":1", want: 1},
		{s: "8f3a:", want: 0x8f3a0000},
		{s: "0:1", want: 1},
		{s: "root", bad: true},
		{s: "1", bad: true},
		{s: "12345:1", bad: true},
	} {
		got, err := parseHandle(c.s)
		if (err != nil) != c.bad || got != c.want {
			t.Errorf("parseHandle(%q) = %x, %v", c.s, got, err)
		}
	}
}
