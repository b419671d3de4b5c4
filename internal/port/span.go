package port

import (
	"fmt"
	"strings"
)

// Span is the port numbers from First to Last, both included, of whatever
// protocol.
type Span struct{ First, Last uint16 }

// ParseSpan reads 40213 or 1024-65535.
func ParseSpan(s string) (Span, error) {
	low, high, isRange := strings.Cut(s, "-")
	first, err := parseNumber(low)
	if err != nil {
		return Span{}, err
	}
	last := first
	if isRange {
		if last, err = parseNumber(high); err != nil {
			return Span{}, err
		}
	}
	if last < first {
		return Span{}, fmt.Errorf("the range %s ends before it begins", s)
	}
	return Span{first, last}, nil
}

// String gives the form that ParseSpan reads.
func (s Span) String() string {
	if s.First == s.Last {
		return fmt.Sprint(s.First)
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

// Contains says whether a number is in the span.
func (s Span) Contains(number uint16) bool { return s.First <= number && number <= s.Last }

// Size counts the numbers of the span.
func (s Span) Size() int { return int(s.Last) - int(s.First) + 1 }
