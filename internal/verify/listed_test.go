package verify_test

import (
	"slices"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/verify"
	"tirl/internal/verify/nft"
)

// A kernel lists times in whole jiffies. They are the policy's if they are rounded down
// by one rate, and no others.
func TestListed(t *testing.T) {
	const source = "[knocking]\nstep_timeout = \"2.204s\"\n" +
		"[door.a]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1001\", \"udp/2047\"]\nopen_for = \"1.879s\"\n" +
		"[door.b]\nopens = [\"tcp/23\"]\nknocks = [\"udp/1002\", \"udp/2047\"]\nopen_for = \"5s\"\n"
	p, found := policy.Parse("policy.toml", []byte(source))
	if found.HasErrors() {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	files, err := nftables.New(nil).Render(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, open, step string
		proved           bool
		assumed          string
	}{
		{"exact, or 1000 a second", "1s879ms", "2s204ms", true, ""},
		{"250 a second", "1s876ms", "2s204ms", true, "250 in a second"},
		{"100 a second", "1s870ms", "2s200ms", true, "100 in a second"},
		{"300 a second", "1s876ms", "2s203ms", true, "300 in a second"},
		{"two rates", "1s870ms", "2s204ms", false, ""},
		{"longer than the policy's", "1s880ms", "2s204ms", false, ""},
		{"another time", "1s", "2s204ms", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.NewReplacer("1s879ms", c.open, "2s204ms", c.step).Replace(files[0].Text)
			rs, err := nft.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			r := verify.Listed(g, rs, verify.Options{})
			if r.Proved != c.proved {
				t.Errorf("proved: %v, want %v: %v", r.Proved, c.proved, r.Unproved)
			}
			if told := slices.ContainsFunc(r.Assumptions, func(s string) bool { return strings.Contains(s, c.assumed) }); c.assumed != "" && !told {
				t.Errorf("assumed: %q, want one of %q", r.Assumptions, c.assumed)
			}
			if got := verify.Verify(g, rs, verify.Options{}).Proved; got != (c.open == "1s879ms") {
				t.Errorf("as written it is proved: %v", got)
			}
		})
	}
}
