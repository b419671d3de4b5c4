package audit

import (
	"math"
	"testing"
)

func TestSpanString(t *testing.T) {
	const day, year = 86400, 365.25 * 86400
	tests := []struct {
		span Span
		want string
	}{
		{0, "less than a second"},
		{0.4, "less than a second"},
		{Span(math.NaN()), "less than a second"},
		{1, "1 second"},
		{1.26, "1.3 seconds"},
		{59, "59 seconds"},
		{90, "1.5 minutes"},
		{27 * 60, "27 minutes"},
		{3600, "1 hour"},
		{4 * day, "4 days"},
		{29 * day, "29 days"},
		{200 * day, "6.6 months"},
		{year, "1 year"},
		{123 * year, "120 years"},
		{999 * year, "1000 years"},
		{1234 * year, "1200 years"},
		{670000 * year, "670000 years"},
		{1.23e6 * year, "1.2 million years"},
		{999.9e6 * year, "1 billion years"},
		{4.5e9 * year, "4.5 billion years"},
		{3e14 * year, "300 trillion years"},
		{2e15 * year, "10^15 years"},
		{Span(math.Exp2(255)), "10^69 years"},
		{Span(math.MaxFloat64), "10^300 years"},
	}
	for _, tt := range tests {
		if got := tt.span.String(); got != tt.want {
			t.Errorf("%g seconds are %q, want %q", float64(tt.span), got, tt.want)
		}
	}
}
