package port

import "testing"

func TestSpan(t *testing.T) {
	for _, test := range []struct {
		text, canonical string
		size            int
	}{
		{"1024-65535", "1024-65535", 64512}, {"53", "53", 1}, {"53-53", "53", 1}, {"1-2", "1-2", 2},
		{"", "", 0}, {"2-1", "", 0}, {"0-5", "", 0}, {"1-65536", "", 0}, {"01", "", 0}, {"1-", "", 0}, {"udp/1", "", 0},
	} {
		s, err := ParseSpan(test.text)
		if (err == nil) != (test.size > 0) {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		if err == nil && (s.String() != test.canonical || s.Size() != test.size || !s.Contains(s.First) || !s.Contains(s.Last) || s.Contains(s.First-1) || s.Contains(s.Last+1) && s.Last < 65535) {
			t.Errorf("%q: %v of %d", test.text, s, s.Size())
		}
	}
}
